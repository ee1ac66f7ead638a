"""Search the test clips of a corpus by text: hits in the terminal and a contact sheet.

The query goes through the text encoder of the initial model and the run's text head; the clips' embeddings are the
stored ones. A sheet has a row a hit: the frames that the model saw, the clip's id, score and caption.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from pipeline import paths, written
from pipeline.errors import UserError
from pipeline.files import atomic, load_tensors
from pipeline.geometry import SCORES
from pipeline.models import vast
from pipeline.models.heads import restore
from pipeline.retrieval.gallery import Gallery
from pipeline.retrieval.runs import run_gallery
from pipeline.settings import Settings
from pipeline.shards import Shard

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

MARGIN, LINE = 8, 16


class Hit(NamedTuple):
    """A clip that was found."""

    clip_id: str
    score: float
    caption: str
    media: str


def search(
    settings: Settings,
    query: str,
    corpus: str,
    run: str = "unialign",
    score: str = "residual",
    k: int = 5,
    seed: int = 0,
    output: Path | None = None,
) -> list[Hit]:
    """The k best clips for `query`; prints them, writes the sheet (png) and returns them."""
    if score in settings.stale(run):
        raise UserError(f"--score {score}: {run} does not train that head, it is stale; there are {', '.join(SCORES)}")
    if not query.strip():
        raise UserError("the query is empty; say what to look for, e.g. 'a red circle'")
    gallery, clips = run_gallery(settings, run, seed, corpus), written.usable(settings, corpus, "test")
    scores = scored(gallery, embed_text(settings, run, seed, query), score)
    table = clips.set_index("clip_id")
    best = scores.topk(min(k, len(scores)))
    hits = [
        Hit(clip, value, "; ".join(table["captions"][clip]), str(table["media"][clip]))
        for value, clip in zip(best.values.tolist(), [gallery.ids[row] for row in best.indices.tolist()], strict=True)
    ]
    print(f"'{query}' in {corpus} ({len(gallery.ids)} test clips) by {run} seed {seed}, {score}:")
    for number, hit in enumerate(hits, start=1):
        print(f"{number:3d}. {hit.clip_id}  {hit.score:.4f}  {hit.caption}  [{hit.media}]")
    name = re.sub(r"[^a-z0-9]+", "-", query.lower()).strip("-")[:40] or "query"
    sheet = output or Path("results") / settings.folder / "search" / f"{corpus}-{run}-{score}-{name}.png"
    frames = []
    for hit in hits:
        shard = Shard(paths.shard(settings, corpus, table["shard"][hit.clip_id]))
        frames.append(shard.frames([table["row"][hit.clip_id]], [0])[0, :, 0])
    contact_sheet(sheet, query, hits, frames)
    print(f"contact sheet: {sheet}")
    return hits


@torch.no_grad()
def embed_text(settings: Settings, run: str, seed: int, text: str) -> Tensor:
    """Unit embedding [1, D] of a text by a run."""
    weights = paths.model(settings, run, seed) / "weights.safetensors"
    if not weights.is_file():
        raise UserError(f"{weights}: missing; train {run} with seed {seed} first")
    if settings.vast.released is None:
        model, tokenizer = vast.load(settings)
        ids, lengths = tokenizer.encode([text], settings.vast.text.length)
        pooled = model.text(model.lower(ids, lengths), lengths).float()
    else:
        from pipeline import encoded
        from pipeline.models import released

        owner = (run, seed) if settings.trains(run) == "everything" else ("vast", 0)
        pooled = encoded.text(released.stored_text(settings, *owner), released.tokenizer(settings), settings, [text])
    return restore(load_tensors(weights)).embed(text=pooled)["text"]


def scored(gallery: Gallery, text: Tensor, score: str) -> Tensor:
    """Score [n] of each clip for a text embedding [1, D], by all modalities."""
    joint, names = next(iter(gallery.conditions().items()))
    if score == "fused" and joint.lower() in gallery.fused:
        return SCORES["cosine"](text.double(), gallery.fused[joint.lower()][None].double())[0]
    if score not in SCORES:
        raise UserError(f"--score {score}: there are {', '.join([*SCORES, *(['fused'] if gallery.fused else [])])}")
    return SCORES[score](text.double(), torch.stack([gallery.items[name] for name in names]).double())[0]


def contact_sheet(path: Path, query: str, hits: list[Hit], frames: list[Tensor]) -> None:
    """Write a png: a row a hit of its frames uint8 [chunks, H, W, 3] with a caption under it."""
    from PIL import Image
    from PIL.ImageDraw import Draw

    chunks, height, width = frames[0].shape[:3]
    cell = height + 2 * LINE + MARGIN
    size = (max(chunks * (width + 4), 480) + 2 * MARGIN, len(hits) * cell + 2 * LINE + MARGIN)
    sheet = Image.new("RGB", size, "white")
    draw = Draw(sheet)
    draw.text((MARGIN, MARGIN), query, fill="black", font_size=14)
    for number, (hit, clip) in enumerate(zip(hits, frames, strict=True)):
        top = 2 * LINE + number * cell
        for place, frame in enumerate(clip.numpy()):
            sheet.paste(Image.fromarray(frame), (MARGIN + place * (width + 4), top))
        below = top + height + 2
        draw.text((MARGIN, below), f"{number + 1}. {hit.clip_id}  {hit.score:.4f}", fill="black", font_size=12)
        caption = _short(draw, hit.caption, size[0] - 2 * MARGIN)
        draw.text((MARGIN, below + LINE), caption, fill="#444444", font_size=12)
    with atomic(path) as temporary:
        sheet.save(temporary)


def _short(draw: ImageDraw, text: str, width: int) -> str:
    """`text`, cut to the width of the sheet."""
    while text and draw.textlength(text, font_size=12) > width:
        text = text[:-2].rstrip(" …") + "…"
    return text
