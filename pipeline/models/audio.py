"""Audio towers: a small transformer on 64-mel log-mel (`logmel`, trained by the features stage) and aiSFX's CNN.

Both take int16 waveforms [B, samples] at 16 kHz and give tokens [B, tokens, width]. `logmel`: three strided
convolutions over the mel frames, then pre-norm transformer layers; tokens are means over equal stretches of time.
aiSFX (Ma & Lerch, ISMIR 2022): 96-mel, 44.1 kHz, 1,024 hop; one token a clip as in its release, except that the whole
clip is one block.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline import files, low_precision, paths
from pipeline.errors import UserError
from pipeline.models import weights
from pipeline.settings import AudioTower, Settings

MELS = 64
#: Largest value of the spectrograms that aiSFX was trained on, its constant of normalisation.
AISFX_PEAK = 9.457798957824707


class LogMel(nn.Module):
    """Batched log-mel spectrogram: 25 ms windows every 10 ms, normalised a clip (mean 0, deviation 1)."""

    bank: Tensor
    hann: Tensor

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        from torchaudio.functional import melscale_fbanks

        self.window, self.hop = int(0.025 * sample_rate), int(0.010 * sample_rate)
        self.bins = 1 << (self.window - 1).bit_length()
        bank = melscale_fbanks(self.bins // 2 + 1, 50.0, sample_rate / 2, MELS, sample_rate)
        self.register_buffer("bank", bank.T.contiguous(), persistent=False)
        self.register_buffer("hann", torch.hann_window(self.window), persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        """Waveforms [B, samples] in [-1, 1] -> [B, MELS, frames]."""
        return normalise(self.power(waves))

    def power(self, waves: Tensor) -> Tensor:
        """Waveforms [B, samples] in [-1, 1] -> mel power [B, MELS, frames], in blocks that stay in the cache."""
        blocks = []
        for block in waves.split(16):
            spectrum = torch.stft(block, self.bins, self.hop, self.window, self.hann, center=True, return_complex=True)
            blocks.append(self.bank @ spectrum.abs().square())
        return torch.cat(blocks)


def normalise(power: Tensor) -> Tensor:
    """Mel power [B, MELS, frames] -> its logarithm with mean 0 and deviation 1 a clip."""
    mel = (power + 1e-5).log()
    return (mel - mel.mean((1, 2), keepdim=True)) / mel.std((1, 2), keepdim=True).clamp_min(1e-3)


class Stride(nn.Module):
    """A convolution over time, kernel 5, stride 2, written as one product (its backward is faster so on CPUs), ReLU."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(5 * channels, out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, channels] -> [B, ceil(T / 2), out]."""
        half = -(-x.shape[1] // 2)
        padded = functional.pad(x, (0, 0, 2, 2))
        patches = torch.cat([padded[:, tap : tap + 2 * half - 1 : 2] for tap in range(5)], 2)
        return functional.relu(self.linear(patches))


class Layer(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.rise, self.fall = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, width] -> [B, T, width]."""
        b, t, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        # Written out: for so few tokens torch's fused kernel has a slower backward on CPUs.
        attended = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1).to(v.dtype) @ v
        x = x + self.out(attended.transpose(1, 2).reshape(b, t, width))
        return x + self.fall(functional.relu(self.rise(self.norm2(x))))  # type: ignore[no-any-return]


class LogMelTransformer(nn.Module):
    """The `logmel` tower (and, small, `tiny`)."""

    def __init__(self, tower: AudioTower, sample_rate: int, seconds: float) -> None:
        super().__init__()
        self.width, self.tokens = tower.width, tower.tokens
        self.mel = LogMel(sample_rate)
        widths = (MELS, tower.width, tower.width, tower.width)
        self.stem = nn.Sequential(*(Stride(i, o) for i, o in pairwise(widths)))
        # 100 frames a second and one for the centred last window; an eighth after the strides, rounded up.
        self.positions = nn.Parameter(torch.randn(-(-(int(seconds * 100) + 1) // 8), tower.width) * 0.02)
        self.layers = nn.Sequential(*(Layer(tower.width, tower.heads) for _ in range(tower.layers)))
        self.norm = nn.LayerNorm(tower.width)

    def forward(self, mel: Tensor) -> Tensor:
        """Log-mel [B, MELS, frames] -> tokens [B, tokens, width]."""
        x = self.stem(mel.transpose(1, 2))
        x = self.norm(self.layers(x + self.positions))
        return functional.adaptive_avg_pool1d(x.transpose(1, 2).float(), self.tokens).transpose(1, 2)

    @torch.inference_mode()
    def encode(self, batch: Tensor) -> Tensor:
        """int16 [B, samples] -> [B, tokens, width], bf16."""
        mel = self.mel(batch.float() / 32768)
        with low_precision.autocast(mel.device):
            return self(mel).to(torch.bfloat16)  # type: ignore[no-any-return]


class AiSfx(nn.Module):
    """aiSFX's embedding network: four blocks of two 3x3 convolutions, maximum over time."""

    bank: Tensor
    hann: Tensor

    def __init__(self, sample_rate: int, channels: int = 64) -> None:
        super().__init__()
        from torchaudio.functional import melscale_fbanks

        self.sample_rate = sample_rate
        self.width = 8 * channels
        sizes = [1, channels, 2 * channels, 4 * channels, 8 * channels]
        for number in range(1, 5):
            self.add_module(f"conv_block{number}", AiSfxBlock(sizes[number - 1], sizes[number], 2 if number < 4 else 1))
        # librosa's norm=1.0 scales each filter to a sum of one.
        bank = melscale_fbanks(1025, 0.0, 22050.0, 96, 44100)
        self.register_buffer("bank", bank / bank.sum(0, keepdim=True).clamp_min(1e-10), persistent=False)
        self.register_buffer("hann", torch.hann_window(2048), persistent=False)

    def spectrogram(self, waves: Tensor) -> Tensor:
        """Waveforms [B, samples] in [-1, 1] -> [B, frames, 96] in [0, 1]."""
        from torchaudio.functional import resample

        waves = resample(waves, self.sample_rate, 44100)
        waves = waves / waves.abs().amax(1, keepdim=True).clamp_min(1e-8)
        spectrum = torch.stft(waves, 2048, 1024, 2048, self.hann, center=True, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        return torch.log10(power.transpose(1, 2) @ self.bank * 10000 + 1) / AISFX_PEAK

    def forward(self, spectrogram: Tensor) -> Tensor:
        """[B, frames, 96] -> [B, 512]."""
        x = spectrogram.unsqueeze(1)
        for number in range(1, 5):
            x = getattr(self, f"conv_block{number}")(x)
        return x.mean(3).amax(2)

    @torch.inference_mode()
    def encode(self, batch: Tensor) -> Tensor:
        """int16 [B, samples] -> [B, 1, 512], bf16."""
        spectrogram = self.spectrogram(batch.float() / 32768)
        with low_precision.autocast(spectrogram.device):
            return self(spectrogram).unsqueeze(1).to(torch.bfloat16)  # type: ignore[no-any-return]


class AiSfxBlock(nn.Module):
    """Two convolutions with batch norm and ReLU, then max-pooling; names are the checkpoint's."""

    def __init__(self, channels: int, out: int, pool: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(out), nn.BatchNorm2d(out)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T, F] -> [B, out, T / pool, F / pool]."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        return functional.max_pool2d(x, self.pool) if self.pool > 1 else x


def build(settings: Settings) -> LogMelTransformer | AiSfx:
    """The audio tower of the settings, random."""
    if settings.audio.name == "aisfx":
        return AiSfx(settings.media.sample_rate)
    return LogMelTransformer(settings.audio, settings.media.sample_rate, settings.media.seconds)


def aisfx(sample_rate: int) -> AiSfx:
    """aiSFX with its released weights, frozen."""
    tower = AiSfx(sample_rate)
    tower.load_state_dict(weights.aisfx())
    return tower.to(memory_format=torch.channels_last).requires_grad_(False).eval()  # type: ignore[call-overload, no-any-return]


def load(settings: Settings) -> LogMelTransformer | AiSfx:
    """The frozen audio tower of the settings, from the weights that the features stage trained or converted."""
    tower = build(settings)
    path = paths.tower_weights(settings, "audio")
    if not path.is_file():
        raise UserError(f"{path}: missing; run: python -m pipeline tower --modality audio")
    tower.load_state_dict(files.load_tensors(path))
    return tower.requires_grad_(False).eval()
