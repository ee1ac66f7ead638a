"""Embeddings by somebody's released model as it is: the stored frames, sounds and captions pass its own towers.

The file has the layout of pipeline/embeddings/embed.py, without fused embeddings.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm

from pipeline import low_precision, paths, written
from pipeline.clips import Clips
from pipeline.embeddings.embed import SPLITS
from pipeline.errors import UserError
from pipeline.files import save_tensors, sha256
from pipeline.models import zero_shot
from pipeline.models.released import device
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pandas import DataFrame

#: Texts that pass the text tower at once.
TEXTS = 256


def embed(settings: Settings, run: str, seeds: list[int]) -> None:
    """Write the embeddings of every corpus of the scale by the model of a run; it has one seed, 0."""
    if seeds != [0]:
        raise UserError(f"--seeds: {run} is a released model: it has seed 0 alone")
    entry = settings.zero_shot[settings.run(run).method]
    model = zero_shot.load(entry)
    digest = hashlib.sha256()
    for file in (entry.weights, entry.audio_weights):
        digest.update(sha256(Path(file.path)).encode() if file else b"")
    for corpus in settings.corpora:
        tensors: dict[str, Tensor] = {}
        ids: dict[str, list[str]] = {}
        for split in SPLITS:
            table = written.usable(settings, corpus, split)
            ids[split] = table["clip_id"].tolist()
            found = embedded(model, settings, corpus, table, entry.batch)
            tensors |= {f"{split}/{name}": tensor for name, tensor in found.items()}
        about = {"ids": ids, "run": run, "seed": 0, "corpus": corpus, "model": digest.hexdigest()}
        about |= {"manifest": written.digest(settings, corpus)}
        save_tensors(paths.embeddings(settings, run, 0, corpus), tensors, about)


@torch.inference_mode()
def embedded(
    model: zero_shot.Model, settings: Settings, corpus: str, table: DataFrame, batch: int
) -> dict[str, Tensor]:
    """Unit embeddings of a split's clips, fp32 on the CPU; a clip without sound has a row of zeros for it."""
    clips = Clips(settings, {corpus: table})
    found: dict[str, list[Tensor]] = {"vision": [], "audio": [], "text": []}
    with low_precision.autocast(device(), "auto" if device().type == "cuda" else "fp32"):
        for start in tqdm(range(0, len(clips), batch), f"embed {corpus}", mininterval=2.0):
            rows = range(start, min(start + batch, len(clips)))
            read = [clips.read(row) for row in rows]
            heard = torch.tensor([clips.heard[row] for row in rows])[:, None]
            frames = torch.stack([frames[:, 0] for frames, _ in read]).to(device())
            found["vision"].append(model.embed_vision(frames).cpu())
            found["audio"].append(model.embed_audio([wave for _, wave in read]).cpu() * heard)
        texts = [caption for captions in clips.captions for caption in captions]
        number = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        distinct = list(number)
        for start in range(0, len(distinct), TEXTS):
            found["text"].append(model.embed_text(distinct[start : start + TEXTS]).cpu())
    whole = {name: torch.cat(blocks).float() for name, blocks in found.items()}
    # Equal captions have one embedding.
    whole["text"] = whole["text"][torch.tensor([number[text] for text in texts])]
    owner = [row for row, captions in enumerate(clips.captions) for _ in captions]
    return whole | {"text_clip": torch.tensor(owner)}
