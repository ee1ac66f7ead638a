"""Captions that the released VAST writes, from decoded clips and its whole token sets (layout: writing.py).

What the paper's VGGSound captions are written from is unstated; VAST's own captioner sees frames alone
(`captions.modalities: [vision]`). On an accelerator in bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from pipeline import low_precision, paths
from pipeline.captions.writing import write
from pipeline.clips import Clips
from pipeline.models import released
from pipeline.models.decoder import Decoder
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pandas import DataFrame


def caption(settings: Settings, corpus: str, splits: Sequence[str] = paths.SPLITS) -> None:
    """Write captions/<scale>/<corpus>.jsonl for the clips of `splits`."""
    device = released.device()
    model = released.stored(settings).requires_grad_(False).to(device)
    words = released.tokenizer(settings)

    def begin(block: DataFrame) -> Callable[[], Decoder]:
        clips = Clips(settings, {corpus: block})
        vision, audio = clips.inputs(range(len(clips)))
        tokens = model.encode(
            vision=vision.to(device) if "vision" in settings.captions.modalities else None,
            audio=audio.to(device) if "audio" in settings.captions.modalities else None,
        )
        return partial(Decoder, model.text.bert, model.text.predict, model.condition(tokens), words.mask)

    with low_precision.autocast(device, "fp32" if device.type == "cpu" else "auto"):
        write(settings, corpus, splits, begin, words, paths.tower_digest(settings, "vision"))
