"""ImageBind's vision, text and audio towers (Girdhar et al., arXiv 2305.05665), written from their published sizes.

Vision is ViT-H/14 whose stem convolves two frames at once, text the causal transformer of that CLIP: both frozen, both
carried by open_clip's classes, with norms of epsilon 1e-6. Names are those of `imagebind_huge.pth`; a misfit is named
on loading. Its depth, thermal and IMU towers are left out by name. Weights: CC-BY-NC-SA 4.0, research alone.

Released protocol of a video: 5 clips of 2 s, two frames each, three crops of each, the mean of 15 unit embeddings.
Deviation: here the clips are neighbouring pairs of the frames that a shard stores, one view each, in the corpus's
geometry. Sound is as released: the mean of three clips of 2 s. A text longer than 77 tokens keeps its beginning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models import clip, imagebind_audio
from pipeline.models.checkpoint import assign, check, read, renamed, shapes
from pipeline.models.pixels import prepare
from pipeline.models.spectrograms import imagebind_clips

#: Frames that the stem convolves at once.
PAIR = 2


@dataclass(frozen=True)
class Config:
    """Sizes of the three towers."""

    vision: clip.Config
    text: clip.TextConfig
    audio: imagebind_audio.Config


HUGE = Config(
    vision=replace(clip.VIT_H_14, epsilon=1e-6),
    text=clip.TextConfig(width=1024, layers=24, heads=16, hidden=4096, embedding=1024, epsilon=1e-6),
    audio=imagebind_audio.REAL,
)
TINY = Config(
    vision=replace(clip.TINY, epsilon=1e-6),
    text=clip.TextConfig(width=16, layers=2, heads=2, hidden=64, embedding=16, epsilon=1e-6),
    audio=replace(imagebind_audio.REAL, width=24, layers=2, heads=2, embedding=16),
)
#: ours, theirs
TABLE = (
    ("visual.class_embedding", "modality_preprocessors.vision.cls_token"),
    ("visual.positional_embedding", "modality_preprocessors.vision.pos_embedding_helper.pos_embed"),
    ("visual.conv1.", "modality_preprocessors.vision.rgbt_stem.proj.1."),
    ("visual.ln_pre.", "modality_trunks.vision.pre_transformer_layer.0."),
    ("visual.transformer.resblocks.", "modality_trunks.vision.blocks."),
    ("visual.ln_post.", "modality_heads.vision.0."),
    ("visual.proj", "modality_heads.vision.2.weight"),
    ("text.token_embedding.", "modality_preprocessors.text.token_embedding."),
    ("text.positional_embedding", "modality_preprocessors.text.pos_embed"),
    ("text.transformer.resblocks.", "modality_trunks.text.blocks."),
    ("text.ln_final.", "modality_heads.text.proj.0."),
    ("text.text_projection", "modality_heads.text.proj.1.weight"),
    ("audio.layers.", imagebind_audio.THEIR_LAYERS),
    *((f"audio.{mine}", theirs) for mine, theirs in imagebind_audio.NAMES.items()),
)
WITHIN = ((".ln_1.", ".norm_1."), (".ln_2.", ".norm_2."), (".mlp.c_fc.", ".mlp.fc1."), (".mlp.c_proj.", ".mlp.fc2."))
#: Ours that they hold with leading ones, and transposed.
BATCHED = {"visual.class_embedding": 2, "visual.positional_embedding": 1, "text.positional_embedding": 1}
TRANSPOSED = ("visual.proj", "text.text_projection")
#: Theirs that are constants or scales of the logits, without effect on a cosine, and other modalities.
UNUSED = (
    "modality_preprocessors.text.mask", "modality_postprocessors.", *imagebind_audio.of("depth", "thermal", "imu")
)  # fmt: skip


class ImageBind(nn.Module):
    """Frames, sounds and texts to unit embeddings of one space."""

    def __init__(self, config: Config = HUGE) -> None:
        super().__init__()
        self.config = config
        self.visual = clip.visual(config.vision)
        kernel = (PAIR, config.vision.patch, config.vision.patch)
        self.visual.conv1 = nn.Conv3d(3, config.vision.width, kernel, kernel, bias=False)
        self.text = clip.textual(config.text)
        self.audio = imagebind_audio.ImageBindAudio(config.audio)

    def embed_vision(self, frames: Tensor) -> Tensor:
        """[B, embedding] of uint8 frames [B, F, H, W, 3]; an odd last frame is paired with itself."""
        assert isinstance(self.config.vision.image, int)
        count = frames.shape[1]
        frames = frames[:, torch.arange(count + count % PAIR).clamp_max(count - 1)]
        pixels = prepare(frames.flatten(0, 1), self.config.vision.image, "crop")
        pairs = pixels.unflatten(0, (-1, PAIR)).transpose(1, 2)
        return _mean(self.visual(pairs).float().unflatten(0, (len(frames), -1)))

    def embed_audio(self, waves: Sequence[Tensor]) -> Tensor:
        """[B, embedding] of waveforms [samples] at 16 kHz."""
        device = self.audio.cls_token.device
        return F.normalize(
            self.audio(torch.stack([imagebind_clips(wave) for wave in waves]).to(device)).float(), dim=-1
        )

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """[N, embedding] of texts."""
        ids = clip.tokens(texts, self.config.text.length).to(self.text.positional_embedding.device)
        return F.normalize(self.text(ids).float(), dim=-1)


def _mean(embeddings: Tensor) -> Tensor:
    """The unit mean [B, D] of unit embeddings of clips [B, K, D]."""
    return F.normalize(F.normalize(embeddings, dim=-1).mean(1), dim=-1)


def theirs(name: str) -> str:
    """The released name of our parameter `name`."""
    return renamed(name, TABLE, WITHIN)


def released(model: nn.Module) -> dict[str, Tensor]:
    """Our model's tensors under the released names, in their shapes."""
    found = {}
    for name, value in model.state_dict().items():
        value = value[(None,) * BATCHED.get(name, 0)]
        found[theirs(name)] = value.T if name in TRANSPOSED else value
    return found


def ours(state: Mapping[str, Tensor], model: nn.Module, source: str) -> dict[str, Tensor]:
    """A released state dict under our names; a UserError names what misfits by its released name."""
    kept = {name: value for name, value in state.items() if not name.startswith(UNUSED)}
    check(shapes(released(model)), shapes(kept), source)
    found = {}
    for name, own in model.state_dict().items():
        value = kept[theirs(name)]
        found[name] = value.T if name in TRANSPOSED else value.reshape(own.shape)
    return found


def load(path: Path, sha256: str = "", config: Config = HUGE) -> ImageBind:
    """The towers with the weights of an ImageBind file."""
    with torch.device("meta"):
        model = ImageBind(config)
    assign(model, ours(read(path, sha256), model, str(path)), str(path))
    model.text.attn_mask = model.text.build_causal_mask()  # a constant that no file holds
    return model.eval()
