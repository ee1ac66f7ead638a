"""Names of the released VAST and GRAM checkpoints beside ours: one table that covers all 1,287.

`TABLE` pairs prefixes, ours and theirs; `WEIGHT_NORM` the older names of torch's weight norm. Nothing is ignored:
what a file holds beyond the table, lacks, or holds in another shape is named. Two entries are not parameters of ours
and are checked instead: BERT's `position_ids` (a constant), GRAM's `contra_head_d` (its depth head).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.models.beats import WEIGHT_NORM
from pipeline.models.checkpoint import check, renamed, shapes

#: ours, theirs
TABLE = (
    ("temperature", "contra_temp"),
    ("frames.vision", "vision_frame_embedding"),
    ("frames.audio", "audio_frame_embedding"),
    ("types.vision", "vision_type_embeddings"),
    ("types.audio", "audio_type_embeddings"),
    ("types.subtitle", "subtitle_type_embeddings"),
    ("vision.visual.", "vision_encoder.visual."),
    ("vision.text.", "vision_encoder.text."),
    ("vision.logit_scale", "vision_encoder.logit_scale"),
    ("audio.", "audio_encoder."),
    ("text.bert.", "multimodal_encoder.bert."),
    ("text.cls.", "multimodal_encoder.cls."),
    ("heads.text.", "contra_head_t.linear."),
    ("heads.subtitle.", "contra_head_s.linear."),
    ("heads.vision.", "contra_head_v.linear."),
    ("heads.audio.", "contra_head_a.linear."),
    ("fused.va.", "contra_head_va."),
    ("fused.vs.", "contra_head_vs."),
    ("fused.vas.", "contra_head_vas."),
    ("matching.0.", "itm_head.linear1."),
    ("matching.2.", "itm_head.layernorm."),
    ("matching.3.", "itm_head.linear2."),
    ("project.vision.", "hidden_trans_vision_multimodal."),
    ("project.audio.", "hidden_trans_audio_multimodal."),
    ("project.subtitle.", "hidden_trans_subtitle_multimodal."),
)
#: their older names and present ones
RENAMED = (("video", "vision"), ("evaclip_model", "vision_encoder"), ("clip_model", "vision_encoder"))
STRETCHED = ("vision_frame_embedding", "audio_frame_embedding")
POSITIONS = "multimodal_encoder.bert.embeddings.position_ids"
DEPTH_HEAD = "contra_head_d.linear.weight"
#: two names of one tensor in a BERT whose decoder is tied
TIED = ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight")


def theirs(name: str) -> str:
    """The released name of our parameter `name`."""
    return renamed(name, TABLE, WEIGHT_NORM)


def released(model: nn.Module) -> dict[str, Tensor]:
    """Our model's tensors under all of the released names: what an export to VAST's format holds."""
    state = {theirs(name): value for name, value in model.state_dict().items()}
    length = state["multimodal_encoder.bert.embeddings.position_embeddings.weight"].shape[0]
    return state | {POSITIONS: torch.arange(length)[None]}


def current(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """A released state dict with its older names renamed; a UserError when two become one."""
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        new = name
        for old, present in RENAMED:
            new = new.replace(old, present)
        if new in renamed:
            raise UserError(f"{source}: two tensors become {new} by renaming, one of them {name}")
        renamed[new] = value
    return renamed


def ours(state: Mapping[str, Tensor], model: nn.Module, source: str) -> dict[str, Tensor]:
    """A released state dict (names as `current` gives them) under our names; misfits are named as theirs."""
    found = dict(state)
    expected = {theirs(name): name for name in model.state_dict()}
    wanted = shapes(released(model))
    if POSITIONS not in found:
        del wanted[POSITIONS]
    for name in STRETCHED:
        if name in found and found[name].ndim == 3 and found[name].shape[1] != wanted[name][1]:
            found[name] = stretch(found[name], wanted[name][1])
    vision_head = wanted["contra_head_v.linear.weight"]
    check(wanted | ({DEPTH_HEAD: vision_head} if DEPTH_HEAD in found else {}), shapes(found), source)
    found.pop(DEPTH_HEAD, None)
    positions = found.pop(POSITIONS, None)
    if positions is not None and not torch.equal(positions[0], torch.arange(positions.shape[1])):
        raise UserError(f"{source}: {POSITIONS} is not 0, 1, 2, …; these are not BERT's positions")
    return {expected[name]: value for name, value in found.items()}


def stretch(frames: Tensor, count: int) -> Tensor:
    """Frame embeddings [1, F, D] as [1, count, D], each the nearest of the given."""
    if frames.shape[1] == count:
        return frames
    return F.interpolate(frames.float().transpose(1, 2), size=count, mode="nearest").transpose(1, 2).to(frames.dtype)
