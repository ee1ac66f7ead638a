"""Is a file that somebody else made whole? Decoded once from end to end with ffmpeg told to stop at any error.

Decoders return wrong frames for many damaged files without a word (facts: 36 of 60 corruptions), and a fetched file has
no sha256 to compare with unless its source gives one. Damage that still is a valid stream passes: only a checksum
finds it (`SHA256SUMS` in the drop folder, column `sha256` of one's own csv).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from pipeline.ffmpeg_process import binary


def damage(path: Path, seconds: float) -> str:
    """Why the file cannot be trusted, in one line; empty if it decodes whole within `seconds`."""
    command = [binary(), "-nostdin", "-v", "error", "-xerror", "-err_detect", "explode", "-threads", "1"]
    # `file:` keeps a name from being read as a protocol or an option.
    command += ["-i", f"file:{path}", "-map", "0:v:0", "-map", "0:a:0?", "-f", "null", "-"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"damaged: decoding took longer than {seconds:g} s"
    words = " ".join(done.stderr.decode(errors="replace").split())
    return f"damaged: {words[:300] or f'exit code {done.returncode}'}" if done.returncode or words else ""


def checksums(path: Path) -> dict[str, str]:
    """File name → sha256 of a file as `sha256sum` writes it; empty if there is none."""
    if not path.is_file():
        return {}
    pairs = (line.split(maxsplit=1) for line in path.read_text().splitlines() if line.strip())
    return {name.lstrip("*").rsplit("/", 1)[-1].strip(): digest for digest, name in pairs}
