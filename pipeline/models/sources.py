"""Where the paper's weights come from, how large they are, under which licence. The paths are settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A weights file that a user brings by hand."""

    what: str
    where: str
    licence: str
    gigabytes: float


#: setting → source
WEIGHTS = {
    "vision.weights": Source(
        "EVA-CLIP ViT-g/14",
        "https://huggingface.co/QuanSun/EVA-CLIP, file EVA01_CLIP_g_14_psz14_s11B.pt",
        "MIT",
        2.3,
    ),
    "audio.weights": Source(
        "BEATs iter3+ AS2M, self-supervised (no 'cpt' in its name)",
        "https://github.com/microsoft/unilm/tree/master/beats; its links are often dead, a mirror is "
        "https://huggingface.co/Bencr/beats-checkpoints",
        "MIT",
        0.4,
    ),
    "vast.released": Source(
        "VAST, pretrained: pretrain_vast/ckpt/model_step_204994.pt (GRAM's files load too)",
        "https://github.com/TXH-mercury/VAST, its README's drive folder",
        "MIT",
        5.6,
    ),
}
