"""The stage `vast` at paper scale: the released checkpoint instead of a training, and what the later stages need of it.

`load` writes it under our names, with its heads by the names that all runs share, and its towers apart; `pool` the text
features beside the towers'; `match` the probabilities of a fixed gallery, from the whole token sets.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from pipeline import files, low_precision, manifest, paths, written
from pipeline.clips import Clips
from pipeline.digests import code_digest, digest
from pipeline.errors import UserError
from pipeline.models import bert, released, vast_full
from pipeline.pooled import origin
from pipeline.settings import Settings
from pipeline.vast import data, matching

TEXTS = 256


def load(settings: Settings, run: str = "vast") -> None:
    """Write weights.safetensors, run.json and an empty metrics.jsonl of the initial model, and its frozen towers."""
    started = time.monotonic()
    if settings.run(run).shuffle_text:
        raise UserError(f"run {run}: released weights cannot be trained on shuffled text; leave out vast.released")
    assert settings.vast.released is not None
    model = released.read(settings)
    folder = paths.model(settings, run, 0)
    whole = {f"{released.WHOLE}{name}": value.clone() for name, value in model.state_dict().items()}
    record = {
        "run": run,
        "settings": settings.vast.model_dump(),
        "released": settings.vast.released.path,
        "sha256": files.sha256(Path(settings.vast.released.path)),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": time.monotonic() - started,
    }
    with files.atomic(folder / "metrics.jsonl") as temporary:
        temporary.write_text("")
    files.write_json(folder / "run.json", record)
    for modality, tensors in released.tower_weights(model).items():
        files.save_tensors(paths.tower_weights(settings, modality), tensors)
    files.save_tensors(folder / "weights.safetensors", whole | released.heads(model))


def pool(settings: Settings, run: str = "vast") -> None:
    """Write the pooled features of all corpora (layout: pipeline/pooled.py)."""
    model = released.stored_text(settings, run).to(released.device())
    words = released.tokenizer(settings)
    for corpus in settings.corpora:
        tensors: dict[str, Tensor] = {}
        ids: dict[str, list[str]] = {}
        for name in paths.SPLITS:
            split = data.read(settings, corpus, name, words)
            ids[name] = split.clips
            tensors[f"text-{name}"] = text(model, split)
            tensors[f"text-clip-{name}"] = split.clip
            tensors[f"vision-{name}"] = split.vision
            tensors[f"audio-{name}"] = split.audio.float().mean(1)
        files.save_tensors(paths.pooled(settings, corpus, run), tensors, {"ids": ids, **origin(settings, corpus, run)})


@torch.inference_mode()
def text(model: bert.Bert, split: data.Split) -> Tensor:
    """[CLS] [C, width] of all captions, fp32; equal captions have equal rows."""
    device, rows, parts = released.device(), split.distinct(), []
    for block in rows.split(TEXTS):
        longest = int(split.lengths[block].max())
        mask = torch.arange(longest) < split.lengths[block, None]
        with low_precision.autocast(device):
            encoded = model.encode(split.ids[block, :longest].to(device), mask.to(device))
        parts.append(encoded[:, 0].float().cpu())
    return torch.cat(parts)[split.number]


def match(settings: Settings, corpus: str) -> None:
    """Write matching/<scale>/vast/<corpus>.safetensors: all pairs of the fixed gallery, resumed a caption block."""
    model = released.stored(settings).to(released.device())
    words = released.tokenizer(settings)
    weights = files.sha256(paths.model(settings, "vast", 0) / "weights.safetensors")
    made_of = [weights, written.digest(settings, corpus), settings.retrieval.gallery, settings.seed]
    seen = [paths.decode_digest(settings, corpus), *(paths.tower_digest(settings, one) for one in ("vision", "audio"))]
    how = [settings.vast.text.length, low_precision.name("auto", released.device())]
    key = digest([made_of, seen, how, code_digest("pipeline.vast.released")])
    state = paths.state(settings, "matching", corpus, key)
    split = data.read(settings, corpus, "test", words)
    rows, captions = matching.gallery(split, settings.retrieval.gallery, settings.seed)
    clips = Clips(settings, {corpus: manifest.usable(manifest.read(paths.manifest(settings, corpus)), "test")})
    found = _pairs(model, split, clips, rows, captions, settings, state)
    tensors = {"clips": rows, "captions": captions, "probability": found}
    files.save_tensors(
        paths.matching(settings, corpus), tensors, matching.about(settings, corpus, split, rows, weights)
    )
    shutil.rmtree(state, ignore_errors=True)


@torch.inference_mode()
def _pairs(
    model: vast_full.VastFull,
    split: data.Split,
    clips: Clips,
    rows: Tensor,
    captions: Tensor,
    settings: Settings,
    state: Path,
) -> Tensor:
    """Matching probability [Q, G] of captions and clips, a clip at a time against all captions."""
    device, size = released.device(), settings.retrieval.matching_batch
    ids, lengths = split.ids[captions], split.lengths[captions]
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    columns = []
    for row in tqdm(rows.tolist(), "matching", unit="clip", mininterval=2.0):
        path = state / f"{row:06d}.safetensors"
        if not path.is_file():
            with low_precision.autocast(device):
                vision, audio = clips.inputs([row])
                condition = model.condition(model.encode(vision=vision.to(device), audio=audio.to(device)))
                logits = [
                    model.match(one.to(device), seen.to(device), condition.expand(len(one), -1, -1)).float().cpu()
                    for one, seen in zip(ids.split(size), mask.split(size), strict=True)
                ]
            files.save_tensors(path, {"probability": torch.cat(logits).softmax(1)[:, 1]})
        columns.append(files.load_tensors(path)["probability"])
    return torch.stack(columns, 1)
