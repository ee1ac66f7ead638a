"""What a file of embeddings holds, read and checked; its format is said in `pipeline.retrieval.gallery`.

Every mistake is a UserError of one line that names the file and the tensor, row or clip.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.errors import UserError
from pipeline.geometry.precision import full

#: Rows whose length is this near to one are unit: float32 rounds no better.
ROUNDING = 1e-6


def same_letter(modalities: Iterable[str]) -> str | None:
    """What is wrong with the names of modalities: two, or one and `text`, would have the same directions."""
    owner = {"T": "text"}
    for name in modalities:
        if (other := owner.setdefault(name[:1].upper(), name)) != name:
            return f"modalities '{other}' and '{name}' share the letter that names their directions; rename one"
    return None


def read_split(path: Path, split: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of a split by their names without it, and the metadata of the file."""
    if not path.is_file():
        raise UserError(f"{path}: missing; embed the run first")
    try:
        with safe_open(path, framework="pt") as stream:
            names = [name for name in stream.keys() if name.startswith(f"{split}/")]  # noqa: SIM118
            tensors = {name.removeprefix(f"{split}/"): stream.get_tensor(name) for name in names}
            metadata = {key: json.loads(value) for key, value in (stream.metadata() or {}).items()}
    except (SafetensorError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: cannot be read as embeddings ({error}); delete it and write it again") from None
    if "text" not in tensors or not set(tensors) - {"text", "text_clip"}:
        raise UserError(
            f"{path}: needs tensors {split}/text and {split}/<modality>; it has {', '.join(names) or 'none'}"
        )
    return tensors, metadata


def split_ids(path: Path, metadata: Mapping[str, Any], split: str) -> list[str]:
    """The split's clip ids as the metadata have them."""
    write = "write it with pipeline.retrieval.write_embeddings"
    every = metadata.get("ids") or {}
    if not isinstance(every, dict):
        raise UserError(f"{path}: metadata: ids is a {type(every).__name__}, expected {{split: [clip ids]}}; {write}")
    if split not in every:
        raise UserError(f"{path}: metadata has no ids of split '{split}'; {write}")
    ids = every[split]
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise UserError(f"{path}: metadata: ids of split '{split}' are no list of clip ids (strings); {write}")
    return ids


def unit_rows(tensor: Tensor) -> Tensor:
    """`tensor [n, D]` with rows of length one, in float32 at least; rows of zeros, and bit for bit those that are unit
    already, stay what they are.
    """
    tensor = full(tensor)
    length = torch.linalg.vector_norm(tensor, dim=1, dtype=torch.float64)
    other = ((length - 1).abs() > ROUNDING) & tensor.any(1)
    if not bool(other.any()):
        return tensor
    rows = tensor[other].double()
    rows = rows / rows.abs().amax(1, keepdim=True)  # whatever their size, their squares can be added up now
    tensor = tensor.clone()
    tensor[other] = (rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)).to(tensor.dtype)
    return tensor


def check_ids(path: Path, ids: Sequence[str], known: Any, manifest: Path, split: str) -> None:
    """A UserError for no ids, an id that appears twice and one that is not among `known`, the split's usable clips."""
    if not ids:
        raise UserError(f"{path}: the gallery of split '{split}' is empty")
    repeated = {one for one in ids if ids.count(one) > 1} if len(set(ids)) < len(ids) else set()
    if repeated:
        raise UserError(f"{path}: clip '{min(repeated)}' appears twice among the ids of split '{split}'")
    strange = next((one for one in ids if one not in known), None)
    if strange is not None:
        raise UserError(f"{path}: clip '{strange}' is no usable clip of split '{split}' in {manifest}")


def check_tensors(
    path: Path, split: str, text: Tensor, clip: Tensor | None, items: Mapping[str, Tensor], ids: Sequence[str]
) -> Tensor:
    """The row of the clip of each text `[C]` (`clip`, or by order); a UserError for tensors that do not fit.

    `text [C, D]` and every one of `items [n, D]` must be floats of one width, finite, and no text zero.
    """
    for name, tensor in {"text": text, **items}.items():
        if tensor.ndim != 2 or not tensor.is_floating_point():
            raise UserError(
                f"{path}: {split}/{name} is {list(tensor.shape)} {tensor.dtype}; expected [rows, width] of floats"
            )
        if tensor.shape[1] != text.shape[1]:
            raise UserError(
                f"{path}: {split}/{name} is {tensor.shape[1]} wide but {split}/text {text.shape[1]}; one width for all"
            )
        if name != "text" and len(tensor) != len(ids):
            raise UserError(f"{path}: {split}/{name} has {len(tensor)} rows for {len(ids)} ids")
    if not len(text):
        raise UserError(f"{path}: {split}/text has no rows")
    clip = torch.arange(len(text)) if clip is None else clip
    if clip.ndim != 1 or clip.is_floating_point():
        shape = f"{list(clip.shape)} {clip.dtype}"
        raise UserError(f"{path}: {split}/text_clip is {shape}; expected a clip's row for each text, [texts] integers")
    if len(clip) != len(text) or int(clip.min()) < 0 or int(clip.max()) >= len(ids):
        raise UserError(f"{path}: {split}/text_clip does not give each of {len(text)} texts one of {len(ids)} clips")
    for name, tensor in {"text": text, **items}.items():
        broken = (~torch.isfinite(tensor)).any(1).nonzero()
        if len(broken):
            number = int(broken[0])
            owner = ids[int(clip[number]) if name == "text" else number]
            raise UserError(f"{path}: {split}/{name} row {number} (clip '{owner}') is not finite")
    zero = (text == 0).all(1).nonzero()
    if len(zero):
        raise UserError(f"{path}: {split}/text row {int(zero[0])} is zero; every text needs an embedding")
    return clip.long()
