"""`python -m pipeline STAGE …`: the stages as commands. Heavy libraries are imported by the stage that needs them."""

from __future__ import annotations

import signal
import sys

from pipeline.cli import making, measuring  # noqa: F401  (each registers its commands)
from pipeline.cli.calling import app
from pipeline.errors import UserError

__all__ = ["main"]


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2."""
    # The workflow's shell ignores SIGTERM, and its children would too: only a training answers it otherwise (loop.py).
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        app(standalone_mode=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
