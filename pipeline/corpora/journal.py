"""What became of a shard's downloads: kept in `state/`, so that another fetch neither asks again nor trusts blindly."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.corpora.download import Outcome


class Journal:
    """Downloads' final outcomes and sha256 of a shard, one JSON line each; a torn last line is ignored."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, Outcome] = {}
        self.sums: dict[str, str] = {}
        for line in path.read_text().splitlines() if path.is_file() else []:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if "sha256" in row:
                self.sums[row["clip_id"]] = row["sha256"]
            else:
                self.known[row["clip_id"]] = Outcome(row["status"], row["reason"])

    def add(self, name: str, outcome: Outcome) -> None:
        """Keep an outcome that another try would not change."""
        if outcome.passing:
            return
        self.known[name] = outcome
        self._write({"clip_id": name, "status": outcome.status, "reason": outcome.reason})

    def keep(self, name: str, sha256: str) -> None:
        """Keep what a whole file was when it came, to know later that it has changed."""
        self.sums[name] = sha256
        self._write({"clip_id": name, "sha256": sha256})

    def _write(self, row: dict[str, str]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
