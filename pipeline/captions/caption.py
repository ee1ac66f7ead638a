"""Captions that the initial model writes for a corpus's clips, from cached features: `captions.jsonl`, one line a clip.

Each line: clip_id, split, caption (beam search), samples (top-k), captioner (digest of its weights), decoding settings.
Lines are appended block by block to a file of resume state and moved to their place at the end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from pipeline import files, paths
from pipeline.digests import digest
from pipeline.errors import UserError
from pipeline.models import captioner
from pipeline.models import vast as models
from pipeline.settings import Settings

#: Clips that are captioned at once, the unit that is resumed.
BLOCK = 64
DECODING = {
    "beams": captioner.BEAMS,
    "length": captioner.LENGTH,
    "length_penalty": captioner.PENALTY,
    "top_k": captioner.TOP_K,
    "samples": captioner.SAMPLES,
}


def caption(settings: Settings, corpus: str, splits: Sequence[str] = paths.SPLITS) -> None:
    """Write captions/<scale>/<corpus>.jsonl for the clips of `splits`."""
    model, tokenizer = models.load(settings)
    weights = files.sha256(paths.model(settings, "vast", 0) / "weights.safetensors")[:16]
    towers = [paths.tower_digest(settings, modality) for modality in ("vision", "audio")]
    about = digest([weights, towers, DECODING, settings.seed, list(splits)])
    state = paths.state(settings, "captions", corpus, f"{about}.jsonl")
    state.parent.mkdir(parents=True, exist_ok=True)
    done = _whole_lines(state)
    ids, features = _features(settings, corpus, splits)
    with state.open("a") as stream:
        for start in tqdm(range(0, len(ids), BLOCK), f"captions {corpus}", unit="block", mininterval=1.0):
            if start < done:
                continue
            rows = slice(start, start + BLOCK)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                condition = model.tokens({name: value[rows] for name, value in features.items()})
                best = captioner.beam(model, tokenizer, condition)
                drawn = captioner.sample(model, tokenizer, condition, seed=settings.seed + start)
            for (split, clip), one, several in zip(ids[rows], best, drawn, strict=True):
                line = {
                    "clip_id": clip,
                    "split": split,
                    "caption": tokenizer.decode(one),
                    "samples": captioner.texts(tokenizer, several),
                    "captioner": weights,
                    "decoding": DECODING,
                }
                stream.write(json.dumps(line) + "\n")
            stream.flush()
    with files.atomic(paths.captions(settings, corpus)) as temporary:
        temporary.write_bytes(state.read_bytes())
    state.unlink()


def _whole_lines(state: Path) -> int:
    """Lines of whole blocks that an earlier run wrote; what follows them is cut off."""
    lines = state.read_bytes().splitlines(keepends=True) if state.is_file() else []
    whole = [line for line in lines if line.endswith(b"\n")]
    kept = len(whole) // BLOCK * BLOCK
    state.write_bytes(b"".join(whole[:kept]))
    return kept


def _features(
    settings: Settings, corpus: str, splits: Sequence[str]
) -> tuple[list[tuple[str, str]], dict[str, torch.Tensor]]:
    """(split, clip) of the splits' clips and their features by modality, the first stored frame of each chunk."""
    ids: list[list[tuple[str, str]]] = []
    found = {}
    for modality in ("vision", "audio"):
        path = paths.features(settings, modality, corpus)
        if not path.is_file():
            raise UserError(
                f"{path}: missing; run: python -m pipeline features --modality {modality} --corpus {corpus}"
            )
        tensors, by_split = files.load_tensors(path), files.load_metadata(path)["ids"]
        parts = [tensors[split][:, :, 0] if modality == "vision" else tensors[split] for split in splits]
        found[modality] = torch.cat(parts)
        ids.append([(split, clip) for split in splits for clip in by_split[split]])
    if ids[0] != ids[1]:
        raise UserError(
            f"{paths.features(settings, 'audio', corpus)}: other clips than the vision features'; delete both"
        )
    return ids[0], found
