"""LanguageBind's video, audio and text towers (Zhu et al., arXiv 2310.01852): CLIPs that share a frozen text tower.

A released folder holds `config.json` beside the weights, under transformers' CLIP names; sizes, activation and audio
constants are read there, so that ViT-L/14 (`LanguageBind_Video_FT`, `…_V1.5_FT`, `LanguageBind_Audio_FT`) and ViT-H/14
(`LanguageBind_Video_Huge_V1.5_FT`, the paper's row) are one class. The huge one embeds to 1,024 beside a text tower of
its own, the audio model to 768: such a pair is refused, and without an audio model the model is deaf. Video: every
layer first adds a temporal embedding and lets each patch attend over the frames, pre-norm, then is CLIP's; [CLS] is
averaged over frames. Audio: a log-mel of bins x frames as an image whose three channels are three clips. LoRA
checkpoints are refused: their weights are not merged. Inferred, since no weights were at hand: what `config.json` does
not state is transformers' CLIP default.

Deviation: the released transform crops and flips frames *at random* at evaluation too, and samples them from the first
to the last; here they are the stored frames, in the geometry of the corpus. Weights: MIT.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.models import clip
from pipeline.models.checkpoint import assign, read
from pipeline.models.pixels import prepare
from pipeline.models.spectrograms import languagebind_channels

#: transformers' defaults of what a config leaves out.
TEXT = {
    "hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8, "intermediate_size": 2048,
    "max_position_embeddings": 77, "vocab_size": 49408, "layer_norm_eps": 1e-5, "hidden_act": "quick_gelu",
}  # fmt: skip
VISION = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
    "image_size": 224, "patch_size": 32, "layer_norm_eps": 1e-5, "hidden_act": "quick_gelu", "num_frames": 1,
    "num_mel_bins": 0, "target_length": 0, "add_time_attn": False, "lora_r": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Release:
    """What a folder's config.json says: sizes, frames of the temporal attention (1: none), mean and deviation."""

    vision: clip.Config
    text: clip.TextConfig
    frames: int
    audio: tuple[float, float] | None


def release(folder: Path) -> Release:
    """Read `config.json` of a released folder; a UserError if it is absent or of a checkpoint with LoRA weights."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
        text, vision = TEXT | config["text_config"], VISION | config["vision_config"]
        embedding = int(config["projection_dim"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not the config of a LanguageBind release ({type(error).__name__}: {error})") from None
    if vision["lora_r"]:
        raise UserError(f"{path}: a checkpoint with LoRA weights; take the fully tuned one, its name ends in _FT")
    image: int | tuple[int, int] = vision["image_size"]
    heard = bool(vision["num_mel_bins"] and vision["target_length"])
    if heard:
        image = (int(vision["num_mel_bins"]), int(vision["target_length"]))
    return Release(
        clip.Config(image=image, patch=vision["patch_size"], embedding=embedding, **_shared(vision)),
        clip.TextConfig(
            length=text["max_position_embeddings"], vocabulary=text["vocab_size"], embedding=embedding, **_shared(text)
        ),
        vision["num_frames"] if vision["add_time_attn"] else 1,
        (vision["audio_mean"], vision["audio_std"]) if heard else None,
    )


def _shared(config: dict[str, Any]) -> dict[str, Any]:
    return {
        "width": config["hidden_size"],
        "layers": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "hidden": config["intermediate_size"],
        "epsilon": config["layer_norm_eps"],
        "activation": config["hidden_act"],
    }


class TimeLayer(ResidualAttentionBlock):
    """CLIP's layer after an attention of each patch over the frames."""

    def __init__(self, config: clip.Config, frames: int) -> None:
        super().__init__(config.width, config.heads, config.hidden / config.width, **clip.parts(config))
        self.frames = frames
        self.temporal_embedding = nn.Parameter(torch.zeros(1, frames, config.width))
        self.temporal_layer_norm1 = nn.LayerNorm(config.width, config.epsilon)
        self.temporal_attn = nn.MultiheadAttention(config.width, config.heads, batch_first=True)

    def forward(self, q_x: Tensor, *others: Any, **options: Any) -> Tensor:
        """Tokens [B · frames, N, width] to the same."""
        tokens = q_x.unflatten(0, (-1, self.frames)).transpose(1, 2).flatten(0, 1)
        tokens = tokens + self.temporal_embedding
        normed = self.temporal_layer_norm1(tokens)
        tokens = tokens + self.temporal_attn(normed, normed, normed, need_weights=False)[0]
        tokens = tokens.unflatten(0, (-1, q_x.shape[1])).transpose(1, 2).flatten(0, 1)
        mixed: Tensor = super().forward(tokens, *others, **options)
        return mixed


def tower(config: clip.Config, frames: int = 1) -> clip.ClipVision:
    """CLIP's image encoder, with temporal attention for more than one frame."""
    made = clip.ClipVision(config)
    if frames > 1:
        made.visual.transformer.resblocks = nn.ModuleList(TimeLayer(config, frames) for _ in range(config.layers))
    return made


class LanguageBind(nn.Module):
    """Frames, sounds and texts to unit embeddings of one space; without an audio model no sound has an embedding."""

    def __init__(self, video: Release, audio: Release | None = None) -> None:
        super().__init__()
        self.frames = video.frames
        self.video = tower(video.vision, video.frames)
        self.audio = None
        if audio:
            if audio.audio is None:
                raise UserError(
                    "LanguageBind: the audio folder's config.json names no mel bins; it is not the audio model"
                )
            self.audio, (self.mean, self.deviation) = tower(audio.vision), audio.audio
        self.text_config = video.text
        self.text = clip.textual(video.text)

    def embed_vision(self, frames: Tensor) -> Tensor:
        """[B, embedding] of uint8 frames [B, F, H, W, 3]; F must be the frames of the temporal attention."""
        if self.frames > 1 and frames.shape[1] != self.frames:
            raise UserError(
                f"media.chunks: {frames.shape[1]} frames a clip; this LanguageBind attends over {self.frames}"
            )
        assert isinstance(self.video.config.image, int)
        pixels = prepare(frames.flatten(0, 1), self.video.config.image, "crop")
        return F.normalize(self.video(pixels).float().unflatten(0, frames.shape[:2]).mean(1), dim=-1)

    def embed_audio(self, waves: Sequence[Tensor]) -> Tensor:
        """[B, embedding] of waveforms [samples] at 16 kHz; zeros, which mean no sound, without an audio model."""
        if self.audio is None:
            return torch.zeros(len(waves), self.video.width)
        assert isinstance(self.audio.config.image, tuple)
        size, device = self.audio.config.image, self.text.positional_embedding.device
        images = [languagebind_channels(wave, *size, self.mean, self.deviation) for wave in waves]
        return F.normalize(self.audio(torch.stack(images).to(device)).float(), dim=-1)

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """[N, embedding] of texts."""
        ids = clip.tokens(texts, self.text_config.length).to(self.text.positional_embedding.device)
        return F.normalize(self.text(ids).float(), dim=-1)


def load(video: Path, audio: Path | None = None, video_sha256: str = "", audio_sha256: str = "") -> LanguageBind:
    """The towers of a video and an audio file, each with its config.json beside it; text is the video file's.

    A UserError names what is missing, unexpected or reshaped, and two files that embed to different widths. The audio
    file's text half is left out by name: the text tower was frozen, so that both hold the same [inferred].
    """
    both = [release(file.parent) for file in (video, audio) if file]
    widths = [one.vision.embedding for one in both]
    if audio and widths[0] != widths[1]:
        raise UserError(
            f"{audio}: embeds to {widths[1]}, {video} to {widths[0]}: they share no space; take models whose "
            "config.json have one projection_dim, or leave audio_weights out"
        )
    with torch.device("meta"):
        model = LanguageBind(*both)
    seen = read(video, video_sha256)
    _assign(model.video.visual, seen, "vision", video)
    _assign(model.text, seen, "text", video)
    if audio and model.audio:
        _assign(model.audio.visual, read(audio, audio_sha256), "vision", audio)
    model.text.attn_mask = model.text.build_causal_mask()  # a constant that no file holds
    return model.eval()


def _assign(tower: nn.Module, state: dict[str, Tensor], half: Literal["vision", "text"], path: Path) -> None:
    assign(tower, clip.from_transformers(state, tower.state_dict(), half, str(path)), str(path))
