"""Embeddings of a split as queries and gallery: reading, checking, writing.

The file (ours and anybody's): safetensors with, for a split such as `test`,
  `test/text`        [C, D]   one row a caption
  `test/text_clip`   [C]      row of the clip that the caption describes (optional: caption i describes clip i)
  `test/<modality>`  [n, D]   one row a clip for `vision`, `audio` or any other name; a row of zeros: the clip lacks it
  `test/fused_<c>`   [n, D]   optional: one embedding a clip for the modalities with these letters, e.g. `fused_va`
                              (directions are named by these first letters, so no two modalities may share one)
and metadata, JSON: `ids` {split: [n clip ids]} and, optional, `manifest` (SHA-256 of the manifest it was made from) and
`stale` (scores that the training left behind, e.g. `["fused"]`: shown, never the headline).

Rows may have any length: they are read as unit vectors, since a volume depends on lengths and a lacking modality counts
as one. Rows that are unit within float32's rounding stay what they are, bit for bit.

Captions come from the manifest: the k-th row of a clip is its k-th caption. Equal captions are one text, which every
clip that carries it answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pipeline import manifest as manifests
from pipeline.errors import UserError
from pipeline.files import load_metadata, load_tensors, save_tensors, sha256
from pipeline.retrieval.embedding_file import check_ids, check_tensors, read_split, same_letter, split_ids, unit_rows

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Gallery:
    """C distinct texts and n clips: `text` [C, D], `hits` (clips a text), `items` and `fused` [n, D], groups.

    Rows of embeddings are unit, or zero where a clip lacks the modality.

    `captions` are the texts' strings, `text_ids` their names, `row` maps rows of the file's texts to distinct ones;
    `heard`: which clips have sound by the manifest; `expected` is the number of usable clips in its split.
    """

    ids: list[str]
    text_ids: list[str]
    captions: list[str]
    text: Tensor
    hits: list[list[int]]
    items: dict[str, Tensor]
    fused: dict[str, Tensor]
    text_groups: list[str]
    item_groups: list[str]
    row: list[int]
    heard: list[bool]
    expected: int

    def conditions(self) -> dict[str, tuple[str, ...]]:
        """Letters → modalities: all together, then each alone."""
        names = tuple(sorted(self.items, key=_order))
        joint = {letters(names): names}
        return joint | {letters((name,)): (name,) for name in names}

    def tuples(self, modalities: Sequence[str]) -> Tensor:
        """Embeddings [1 + M, n, D] of the clips that have all `modalities`, each after its first text."""
        answers = {clip: text for text, right in reversed(list(enumerate(self.hits))) for clip in right}
        texts = self.text[[answers[clip] for clip in range(len(self.ids))]]
        found = torch.stack([texts, *(self.items[name] for name in modalities)])
        return found[:, found.any(-1).all(0)]

    def part(self, clips: Sequence[int], texts: Sequence[int]) -> Gallery:
        """The gallery of some clips and distinct texts."""
        place = {clip: number for number, clip in enumerate(clips)}
        return Gallery(
            [self.ids[clip] for clip in clips],
            [self.text_ids[text] for text in texts],
            [self.captions[text] for text in texts],
            self.text[list(texts)],
            [[place[clip] for clip in self.hits[text] if clip in place] for text in texts],
            {name: tensor[list(clips)] for name, tensor in self.items.items()},
            {name: tensor[list(clips)] for name, tensor in self.fused.items()},
            [self.text_groups[text] for text in texts],
            [self.item_groups[clip] for clip in clips],
            list(range(len(texts))),
            [self.heard[clip] for clip in clips],
            self.expected,
        )

    def with_audio(self) -> tuple[list[int], list[int]]:
        """Rows of the clips that have sound and of the texts that describe one: the items that GRAM's loader keeps."""
        clips = [clip for clip, heard in enumerate(self.heard) if heard]
        return clips, [text for text, right in enumerate(self.hits) if any(self.heard[clip] for clip in right)]


def _order(modality: str) -> tuple[int, str]:
    known = ("vision", "audio")
    return (known.index(modality) if modality in known else len(known)), modality


def letters(modalities: Sequence[str]) -> str:
    """`VA` for vision and audio."""
    return "".join(name[0].upper() for name in modalities)


def write_embeddings(
    path: Path | str,
    ids: Sequence[str],
    text: Tensor,
    items: Mapping[str, Tensor],
    *,
    text_clip: Tensor | None = None,
    fused: Mapping[str, Tensor] | None = None,
    split: str = "test",
    manifest: Path | str | None = None,
) -> None:
    """Write a split in the format above; `items` and `fused` are keyed by modality and by letters (`va`).

    Other splits that the file holds already stay: write `val` and `test` one after the other, in any order. ValueError
    if lengths do not fit, if two modalities share their first letter, or if a split that stays was made from another
    manifest or is of another width. Values are checked when they are evaluated.
    """
    if problem := same_letter(items):
        raise ValueError(problem)
    for name, tensor in {**items, **(fused or {})}.items():
        if len(tensor) != len(ids):
            raise ValueError(f"{name}: {len(tensor)} rows for {len(ids)} ids")
    clips = torch.arange(len(text)) if text_clip is None else text_clip.long()
    if clips.dim() != 1:
        raise ValueError(f"text_clip is {list(clips.shape)}; expected the row of a clip for each text, [texts]")
    if len(clips) != len(text):
        raise ValueError(f"text_clip: {len(clips)} rows for {len(text)} texts")
    named = {"text": text, **items, **{f"fused_{name}": tensor for name, tensor in (fused or {}).items()}}
    # Copies, since one tensor may be given under two names and safetensors refuses shared memory.
    tensors = {f"{split}/{name}": tensor.detach().float().clone() for name, tensor in named.items()}
    tensors[f"{split}/text_clip"] = clips
    digest = None if manifest is None else sha256(Path(manifest))
    others, metadata = _other_splits(Path(path), split, digest, text.shape[-1])
    metadata["ids"] = metadata.get("ids", {}) | {split: list(ids)}
    if digest is not None:
        metadata["manifest"] = digest
    save_tensors(Path(path), others | tensors, metadata)


def _other_splits(path: Path, split: str, manifest: str | None, width: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of the other splits that a file holds, and the metadata that they come with."""
    if not path.is_file():
        return {}, {}
    tensors = {name: one for name, one in load_tensors(path).items() if not name.startswith(f"{split}/")}
    metadata = load_metadata(path) if tensors else {}
    again = "remove the file and write all splits again"
    if tensors and metadata.get("manifest") != manifest:
        raise ValueError(f"{path}: its other splits were made from another manifest than {split}; {again}")
    for name, tensor in tensors.items():
        if name.endswith("/text") and tensor.shape[-1] != width:
            raise ValueError(f"{path}: {name} is {tensor.shape[-1]} wide, {split}/text {width}; {again}")
    return tensors, metadata


def read_gallery(path: Path, manifest: Path, split: str = "test", clips: DataFrame | None = None) -> Gallery:
    """Read and check a split; a UserError names the file and what is wrong with which clip.

    `clips`: the split's usable clips with their captions, if these are not the manifest's own.
    """
    tensors, metadata = read_split(path, split)
    ids = split_ids(path, metadata, split)
    table = (manifests.usable(manifests.read(manifest), split) if clips is None else clips).set_index("clip_id")
    made_from = metadata.get("manifest")
    if made_from and made_from != sha256(manifest):
        digest = str(made_from)[:12]
        raise UserError(f"{path}: made from another manifest than {manifest} (digest {digest}); embed again")
    check_ids(path, ids, table.index, manifest, split)
    if problem := same_letter(sorted(n for n in tensors if n not in ("text", "text_clip") and n[:6] != "fused_")):
        raise UserError(f"{path}: split {split}: {problem}")
    text, clip = tensors.pop("text"), tensors.pop("text_clip", None)
    clip = check_tensors(path, split, text, clip, tensors, ids)
    text, tensors = unit_rows(text), {name: unit_rows(tensor) for name, tensor in tensors.items()}

    # Plain dictionaries: a lookup in pandas costs as much as ranking a query.
    captions, group, modalities = (table[column].to_dict() for column in ("captions", "group", "modalities"))
    given = set(ids)
    # A text is named after the first clip of the manifest that carries it, whatever the order of the file.
    names: dict[str, str] = {}
    for clip_id, own in captions.items():
        for number, caption in enumerate(own if clip_id in given else ()):
            names.setdefault(caption, f"{clip_id}#{number}")
    seen: dict[str, int] = {}
    first: list[int] = []
    row: list[int] = []
    hits: list[list[int]] = []
    text_ids: list[str] = []
    used = [0] * len(ids)
    for index, owner in enumerate(clip.tolist()):
        own, number = captions[ids[owner]], used[owner]
        used[owner] += 1
        if number >= len(own):
            raise UserError(f"{path}: clip '{ids[owner]}' has more texts than {manifest} has captions ({len(own)})")
        caption = own[number]
        if caption not in seen:
            seen[caption] = len(first)
            first.append(index)
            text_ids.append(names[caption])
            hits.append([])
        row.append(seen[caption])
        if owner not in hits[seen[caption]]:
            hits[seen[caption]].append(owner)
    if 0 in used:
        raise UserError(
            f"{path}: clip '{ids[used.index(0)]}' has no text; give at least one caption's embedding a clip"
        )
    groups = [str(group[name]) for name in ids]
    return Gallery(
        ids=list(ids),
        text_ids=text_ids,
        captions=list(seen),
        text=text[first],
        hits=hits,
        items={name: tensor for name, tensor in tensors.items() if not name.startswith("fused_")},
        fused={name.removeprefix("fused_"): tensor for name, tensor in tensors.items() if name.startswith("fused_")},
        text_groups=[str(group[name.rpartition("#")[0]]) for name in text_ids],
        item_groups=groups,
        row=row,
        heard=["audio" in modalities[name] for name in ids],
        expected=len(table),
    )
