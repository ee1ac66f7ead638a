"""What became of a shard's downloads: kept in `state/`, so that another fetch neither asks again nor trusts blindly."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline.corpora.download import Outcome

#: Days on which a download must have failed before a failure that might have passed is final.
DAYS = 3


class Journal:
    """Downloads' final outcomes and sha256 of a shard, one JSON line each; a torn last line is ignored."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, Outcome] = {}
        self.sums: dict[str, str] = {}
        self.failed: dict[str, set[str]] = {}
        for line in path.read_text().splitlines() if path.is_file() else []:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if "sha256" in row:
                self.sums[row["clip_id"]] = row["sha256"]
            elif "failed" in row:
                self.failed.setdefault(row["clip_id"], set()).add(row["failed"])
            else:
                self.known[row["clip_id"]] = Outcome(row["status"], row["reason"])

    def add(self, name: str, outcome: Outcome) -> Outcome:
        """Keep an outcome, or the day of one that may pass; after `DAYS` such days it is final. Returns what holds."""
        if outcome.passing:
            days, today = self.failed.setdefault(name, set()), f"{datetime.now(UTC):%Y-%m-%d}"
            if today not in days:
                days.add(today)
                self._write({"clip_id": name, "failed": today})
            if len(days) < DAYS:
                return outcome
            outcome = replace(outcome, reason=f"{outcome.reason} (on {len(days)} days)", passing=False)
        self.known[name] = outcome
        self._write({"clip_id": name, "status": outcome.status, "reason": outcome.reason})
        return outcome

    def keep(self, name: str, sha256: str) -> None:
        """Keep what a whole file was when it came, to know later that it has changed."""
        self.sums[name] = sha256
        self._write({"clip_id": name, "sha256": sha256})

    def _write(self, row: dict[str, str]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
