"""Writing of captions.jsonl, whoever the captioner is: one line a clip, a shard at a time.

Each line: clip_id, split, caption (beam search), samples (top-k), captioner (digest of its weights), decoding settings.
A shard's lines are a file of resume state, whole or absent: a killed job goes on with the first shard that has none.
A sample is a function of (seed, clip): neither the batch nor the other clips change it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm

from pipeline import files, loop, manifest, paths
from pipeline.digests import code_digest, digest
from pipeline.errors import UserError
from pipeline.models import captioner
from pipeline.models.decoder import Decoder
from pipeline.models.tokenizer import Tokenizer
from pipeline.settings import Captions, Settings

if TYPE_CHECKING:
    from pandas import DataFrame

#: Makes what makes fresh decoders for the clips of some rows of the manifest.
Begin = Callable[["DataFrame"], Callable[[], Decoder]]


def write(
    settings: Settings, corpus: str, splits: Sequence[str], begin: Begin, tokenizer: Tokenizer, inputs: object
) -> None:
    """Write captions/<scale>/<corpus>.jsonl for the usable clips of `splits`; `inputs` names what is captioned."""
    path = paths.manifest(settings, corpus)
    table = manifest.read(path)
    table = table[table["split"].isin(splits) & table["status"].isin(manifest.USABLE)]
    if not len(table):
        raise UserError(f"{path}: no usable clip in {', '.join(splits)}; give other --splits")
    how, weights = settings.captions, files.sha256(paths.model(settings, "vast", 0) / "weights.safetensors")[:16]
    decoding = how.model_dump(exclude={"batch"})
    about = {"captioner": weights, "decoding": decoding}
    code = code_digest("pipeline.captions.writing")
    key = digest([about, settings.seed, inputs, files.sha256(path), list(splits), code])
    state = paths.state(settings, "captions", corpus, key)
    names = [name for name in paths.shards(settings, corpus) if name in set(table["shard"])]
    for name in tqdm(names, f"captions {corpus}", unit="shard", mininterval=1.0):
        if (state / f"{name}.jsonl").is_file():
            continue
        clips = table[table["shard"] == name]
        lines = []
        for start in range(0, len(clips), how.batch):
            block = clips.iloc[start : start + how.batch].reset_index(drop=True)
            for clip, split, found in zip(
                block["clip_id"], block["split"], _captions(block, begin, tokenizer, how, settings.seed), strict=True
            ):
                lines.append(json.dumps({"clip_id": clip, "split": split} | found | about))
        with files.atomic(state / f"{name}.jsonl") as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines))
    with files.atomic(paths.captions(settings, corpus)) as temporary:
        temporary.write_text("".join((state / f"{name}.jsonl").read_text() for name in names))
    shutil.rmtree(state)


@torch.inference_mode()
def _captions(
    block: DataFrame, begin: Begin, tokenizer: Tokenizer, how: Captions, seed: int
) -> list[dict[str, object]]:
    begun = begin(block)
    best = captioner.beam(begun(), tokenizer, how)
    draws = torch.stack([_draws(seed, clip, how) for clip in block["clip_id"]])
    drawn = captioner.sample(begun(), tokenizer, how, draws)
    return [
        {"caption": tokenizer.decode(one), "samples": captioner.texts(tokenizer, several)}
        for one, several in zip(best, drawn, strict=True)
    ]


def _draws(seed: int, clip: str, how: Captions) -> Tensor:
    """Uniform [samples, length] of a clip."""
    return torch.rand(how.samples, how.length, generator=loop.generator(seed, 6, int(digest(clip), 16)))
