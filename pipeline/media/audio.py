"""Sound for users of the package: waveforms out of files, and the audio towers' log-mel features of them.

The stages import `pipeline.media.waves` and `pipeline.models.spectrograms` themselves: decoding never waits for torch.
"""

from __future__ import annotations

from pipeline.media.waves import NoAudio, read_waves
from pipeline.models.spectrograms import Tower, fbank

__all__ = ["NoAudio", "Tower", "fbank", "read_waves"]
