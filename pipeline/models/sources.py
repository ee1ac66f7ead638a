"""Where the paper's weights come from, how large they are, under which licence. The paths are settings."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pipeline.settings import Settings, Weights


@dataclass(frozen=True)
class Source:
    """A weights file that a user brings by hand."""

    what: str
    where: str
    licence: str
    gigabytes: float


#: The setting `vast.released`: its towers are in the file.
VAST = Source(
    "VAST, pretrained: pretrain_vast/ckpt/model_step_204994.pt (GRAM's files load too)",
    "https://github.com/TXH-mercury/VAST, its README's drive folder",
    "MIT",
    5.6,
)
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


def needed(settings: Settings, target: str) -> dict[str, tuple[Weights, Source]]:
    """Weights files that a table's runs need, by setting, with their sources."""
    released = settings.vast.released
    found: dict[str, tuple[Weights, Source]] = {}
    if released and not released.random:
        found["vast.released"] = released, VAST
    return found | zero_shot(settings, {settings.run(run).method for run in settings.tables[target].runs})


def zero_shot(settings: Settings, methods: Collection[str]) -> dict[str, tuple[Weights, Source]]:
    """Weights files of the released models among `methods`, by setting, with their sources."""
    found = {}
    for name, entry in settings.zero_shot.items():
        if name in methods and not entry.weights.random and entry.model in ZERO_SHOT:
            found[f"zero_shot.{name}.weights"] = entry.weights, ZERO_SHOT[entry.model]
        if name in methods and entry.audio_weights:
            found[f"zero_shot.{name}.audio_weights"] = entry.audio_weights, ZERO_SHOT[f"{entry.model} audio"]
    return found
