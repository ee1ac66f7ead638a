"""Where the paper's weights come from, how large they are, under which licence. The paths are settings."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.settings import Settings, Weights


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
#: model of `zero_shot` → source; its `audio_weights` have their own. Sizes are those of the parameters in fp32.
ZERO_SHOT = {
    "imagebind-huge": Source(
        "ImageBind, imagebind_huge.pth",
        "https://dl.fbaipublicfiles.com/imagebind/imagebind_huge.pth",
        "CC-BY-NC-SA 4.0, research alone",
        4.8,
    ),
    "languagebind": Source(
        "LanguageBind's video model, pytorch_model.bin with config.json beside it",
        "https://huggingface.co/LanguageBind/LanguageBind_Video_Huge_V1.5_FT (the paper's row, vision alone; the audio "
        "model shares the space of the large LanguageBind_Video_V1.5_FT)",
        "MIT",
        4.8,
    ),
    "languagebind audio": Source(
        "LanguageBind's audio model, pytorch_model.bin with config.json beside it",
        "https://huggingface.co/LanguageBind/LanguageBind_Audio_FT",
        "MIT",
        1.7,
    ),
}


def zero_shot(settings: Settings) -> dict[str, tuple[Weights, Source]]:
    """Weights files of released models by setting, with their sources."""
    found = {}
    for name, entry in settings.zero_shot.items():
        if entry.model in ZERO_SHOT:
            found[f"zero_shot.{name}.weights"] = entry.weights, ZERO_SHOT[entry.model]
        if entry.audio_weights:
            found[f"zero_shot.{name}.audio_weights"] = entry.audio_weights, ZERO_SHOT[f"{entry.model} audio"]
    return found
