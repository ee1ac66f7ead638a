"""One clip from the web by yt-dlp's Python interface: rate-limited, resumable, checked; the outcome is a status.

Nothing is executed that was fetched and no shell is involved. A clip that is gone for good is `gone` with the site's
reason; a passing failure (network, no format just now) is told apart, so that the next run tries it again; a site that
takes no more requests for now is a UserError, since it would answer every further clip alike.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

#: The site's limits and troubles, which say nothing of the clip, though the line may call it unavailable.
LIMITED = re.compile(
    r"rate.?limit|try again later|too many requests|not a bot|captcha|not available on this app|"
    r"latest version of youtube|HTTP Error (429|5\d\d)",
    re.IGNORECASE,
)
PERMANENT = re.compile(
    r"unavailable|private|removed|terminated|deleted|copyright|(?<!format is )not available|does not exist|"
    r"members-only|confirm your age|violat|unsupported url|live event",
    re.IGNORECASE,
)


#: Troubles of this machine, by errno, and as yt-dlp quotes them: no clip is gone for them.
LOCAL = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}
QUOTED = re.compile(rf"\[Errno ({'|'.join(map(str, sorted(LOCAL)))})\]")


@dataclass(frozen=True)
class Politeness:
    """How a site is asked."""

    bytes_per_second: float = 4e6
    pause: float = 2.0
    longest_pause: float = 6.0
    timeout: float = 30.0
    retries: int = 3
    largest: int = 2_000_000_000
    height: int = 480
    cookies: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a clip: `ok`, or `gone` with a reason; `passing`: worth another try."""

    status: str
    reason: str = ""
    passing: bool = False


def download(url: str, target: Path, start: float, end: float, politeness: Politeness) -> Outcome:
    """Fetch seconds `start`–`end` (0–0: all) of `url` to `target`; partial files are kept and continued.

    A UserError if the site takes no more requests for now, or if this machine cannot write: it goes for every clip.
    """
    try:
        import yt_dlp
    except ImportError:
        raise UserError("yt-dlp is not installed; pip install -r envs/requirements.txt") from None
    own = _cookies(politeness.cookies) if politeness.cookies else None
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.stem}.download.mp4")
    try:
        # yt-dlp writes its cookies back: into a copy, since the file is the user's.
        with tempfile.TemporaryDirectory() as folder:
            cookies = None if own is None else Path(folder) / "cookies"
            if cookies and own is not None:
                cookies.write_bytes(own)
            with yt_dlp.YoutubeDL(_parameters(partial, start, end, politeness, cookies)) as client:
                client.download([url])
    except yt_dlp.utils.YoutubeDLError as error:
        reason = " ".join(str(error).replace("ERROR: ", "").split())[:300]
        if LIMITED.search(reason):
            raise UserError(
                f"{url}: the site takes no more requests for now ({reason}); run again in some hours"
            ) from None
        if QUOTED.search(reason):
            raise UserError(f"{target}: cannot be written ({reason}); make room or correct its rights") from None
        return Outcome("gone", reason, passing=not PERMANENT.search(reason))
    except OSError as error:
        if error.errno in LOCAL:
            raise UserError(f"{target}: cannot be written ({error}); make room or correct its rights") from None
        return Outcome("gone", f"{type(error).__name__}: {error}"[:300], passing=True)
    if not partial.is_file() or not partial.stat().st_size:
        return Outcome("gone", f"{url}: nothing came, or more than {politeness.largest} bytes")
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(partial, target)
    return Outcome("ok")


def _cookies(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{file}: no such cookie file; correct options.cookies in params/corpora.yaml") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read as a cookie file ({error.strerror})") from None


def _parameters(
    partial: Path, start: float, end: float, politeness: Politeness, cookies: Path | None
) -> dict[str, Any]:
    import yt_dlp
    from imageio_ffmpeg import get_ffmpeg_exe

    height = politeness.height
    # `%` starts a field in yt-dlp's template; ids may not hold it, folders may.
    name = str(partial.with_suffix("")).replace("%", "%%")
    parameters: dict[str, Any] = {
        "outtmpl": f"{name}.%(ext)s",
        "format": f"bv*[height<={height}][ext=mp4]+ba[ext=m4a]/b[height<={height}][ext=mp4]/b[height<={height}]/b",
        "merge_output_format": "mp4",
        # What comes in another container is put into mp4, whose name is looked for.
        "postprocessors": [{"key": "FFmpegVideoRemuxer", "preferedformat": "mp4"}],
        "final_ext": "mp4",
        "ffmpeg_location": get_ffmpeg_exe(),
        "ratelimit": politeness.bytes_per_second,
        "sleep_interval": politeness.pause,
        "max_sleep_interval": politeness.longest_pause,
        "sleep_interval_requests": politeness.pause / 2,
        "socket_timeout": politeness.timeout,
        "retries": politeness.retries,
        "fragment_retries": politeness.retries,
        "max_filesize": politeness.largest,
        "continuedl": True,
        "noplaylist": True,
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "cachedir": False,
    }
    if cookies:
        parameters["cookiefile"] = str(cookies)
    if end > start:
        parameters["download_ranges"] = yt_dlp.utils.download_range_func(None, [(start, end)])
        parameters["force_keyframes_at_cuts"] = True
    return parameters
