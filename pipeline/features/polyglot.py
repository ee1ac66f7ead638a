"""Frozen features of the clips that have up to ten modalities: picture, caption, speech in eight languages.

Text: MiniLM as released, mean over word pieces (that is how it was trained), not the initial model's text encoder.
Speech: the scale's audio tower, mean over its tokens, beside aiSFX where it is a candidate; neither was trained on
these languages as such. Written: `<modality>-<split>` [n, width]; modalities `text`, `vision`, `<language>`; metadata
`captions` by split, `modalities`, `real`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline import paths
from pipeline.errors import UserError
from pipeline.files import load_metadata, load_tensors, save_tensors
from pipeline.models import audio, efficientnet, tokenizer
from pipeline.models.spectrograms import vast_slices
from pipeline.models.text import Bert
from pipeline.settings import Settings

BLOCK = 64
Encoder = Callable[[Tensor], Tensor]


def polyglot(settings: Settings) -> None:
    """Write features/<scale>/polyglot.safetensors."""
    source = paths.polyglot(settings)
    if not source.is_file():
        raise UserError(f"{source}: missing; run: python -m pipeline polyglot")
    tracks, about = load_tensors(source), load_metadata(source)
    see, hear = _towers(settings)
    tensors = {}
    for split, captions in about["captions"].items():
        tensors[f"text-{split}"] = encoded_text(settings, captions)
        tensors[f"vision-{split}"] = torch.cat([see(b).float() for b in tracks[f"picture-{split}"].split(BLOCK)])
        for language in about["languages"]:
            parts = [
                torch.cat([encode(block).float().mean(1) for encode in hear], 1)
                for block in tracks[f"{language}-{split}"].split(BLOCK)
            ]
            tensors[f"{language}-{split}"] = torch.cat(parts)
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise UserError(f"{source}: features {name} are not finite; delete the towers' weights and make them again")
    modalities = ["text", "vision", *about["languages"]]
    about = {"captions": about["captions"], "modalities": modalities, "real": about["real"]}
    save_tensors(paths.polyglot_features(settings), tensors, about)


def _towers(settings: Settings) -> tuple[Encoder, list[Encoder]]:
    """What encodes pictures uint8 [N, H, W, 3] -> [N, width] and waveforms int16 [N, T] -> [N, tokens, width]."""
    if settings.vast.released is not None:
        from pipeline.models import released

        beats, entry = released.tower(settings, "audio"), settings.audio

        def slices(waves: Tensor) -> Tensor:
            return beats.encode(torch.stack([vast_slices(wave, entry.slices, bins=entry.bins) for wave in waves]))

        return released.tower(settings, "vision").encode, [slices]
    hear: list[Encoder] = [audio.load(settings).encode]
    if "aisfx" in settings.audio_candidates and settings.audio.name != "aisfx":
        hear.append(audio.aisfx(settings.media.sample_rate).encode)
    return efficientnet.load(settings).encode, hear


@torch.inference_mode()
def encoded_text(settings: Settings, captions: list[str]) -> Tensor:
    """Mean of the word pieces' last activations [N, width], by the released weights (smoke: random)."""
    torch.manual_seed(settings.seed)
    pieces = tokenizer.load(settings.vast.text.weights)
    model = Bert(settings.vast.text, pieces.size)
    model.initialise(settings.vast.text.weights)
    model.eval()
    ids, lengths = pieces.encode(captions, settings.vast.text.length)
    return model.upper(model.lower(ids, lengths), lengths).sum(1) / lengths[:, None]
