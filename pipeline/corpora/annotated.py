"""Corpora with public annotations: plan and fetch, in the place of the procedural corpora's plan and render.

`plan` writes the same table as `pipeline.corpora.plan`; `fetch` the same outcome as `pipeline.corpora.render`, so that
decoding and merging know no difference. Splits: the official test list is the test split; validation is drawn from the
training list by SHA-256 (`vggsound_test.order`), since selection on the test set is what this project does not do.
VGGSound has labels and no captions: VAST writes them (`options.captions: written`), and the label is the clip's class.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from tqdm import tqdm

from pipeline import parquet, paths
from pipeline.corpora import annotations as public
from pipeline.corpora import own, sources, verify, vggsound_test
from pipeline.corpora.annotations import Item
from pipeline.corpora.download import Outcome, Politeness, download
from pipeline.corpora.journal import DAYS, Journal
from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.settings import Corpus, Settings


@dataclass(frozen=True)
class Planned:
    """An item with its split and, for own data, its file."""

    item: Item
    split: str
    file: str = ""
    language: str = ""
    sha256: str = ""


def plan(settings: Settings, corpus: str) -> None:
    """Write the plan of an annotated corpus; sizes must be those of `params/<scale>.yaml`, or a UserError."""
    entry = settings.corpora[corpus]
    listed = _own(settings, corpus) if _registry(settings, corpus) == "own" else _public(settings, corpus)
    rows = []
    for split in paths.SPLITS:
        chosen = [one for one in listed if one.split == split]
        wanted = getattr(entry, split)
        where = f"params/{settings.scale}.yaml: corpora.{corpus}.{split}"
        if len(chosen) < wanted or (split == "test" and len(chosen) != wanted):
            raise UserError(f"{where}: {wanted} clips asked, the annotations have {len(chosen)}")
        shards = [name for name in paths.shards(settings, corpus) if name.startswith(f"{split}-")]
        if wanted and not shards:
            raise UserError(
                f"params/{settings.scale}.yaml: corpora.{corpus}.shards.{split}: missing; give a number ≥ 1"
            )
        for name, part in zip(shards, np.array_split(np.arange(wanted), max(len(shards), 1)), strict=False):
            rows += [_row(chosen[number], name, entry, settings.captioned(corpus)) for number in part]
    if not rows:
        raise UserError(f"params/{settings.scale}.yaml: corpora.{corpus}: all sizes are 0; take the corpus out")
    table = pandas.DataFrame(rows)
    table.insert(0, "index", np.arange(len(table)))
    parquet.write(paths.plan(settings, corpus), table)


def fetch(settings: Settings, corpus: str, shard: str) -> None:
    """Bring a shard's media to their place and write `rendered/<shard>.parquet` (clip_id, sha256, status, reason).

    A file is taken from the plan (own data), else from the drop folder, else by download if `options.download` is on.
    Outcomes of downloads are kept in `state/`, so that an interrupted shard continues and the gone are not asked again.
    While a download's failure may pass, the table is not written, so that the next run tries it again: a UserError.
    Each file is compared with its sha256 where one is given, a download with that of its first fetch, and decoded once,
    so that a damaged one is a row.
    """
    table = parquet.read(paths.plan(settings, corpus))
    table = table[table["shard"] == shard]
    if not len(table):
        known = ", ".join(paths.shards(settings, corpus))
        raise UserError(f"{paths.plan(settings, corpus)}: no shard '{shard}'; there are {known}")
    options = settings.corpora[corpus].options
    online = bool(options.get("download", False))
    registry = _registry(settings, corpus)
    brought = {} if registry == "own" else dropped(sources.media_folder(registry))
    if registry != "own" and not online and not brought:
        raise UserError(f"corpus {corpus}: no videos; {sources.instructions(registry)}")
    politeness = Politeness(
        bytes_per_second=float(options.get("bytes_per_second", Politeness.bytes_per_second)),
        pause=float(options.get("pause", Politeness.pause)),
        longest_pause=3 * float(options.get("pause", Politeness.pause)),
        cookies=str(options.get("cookies", "")),
    )
    sums = {} if registry == "own" else verify.checksums(sources.DROP / registry / "SHA256SUMS")
    journal = Journal(paths.fetched(settings, corpus, shard))
    folder = paths.media(settings, corpus)
    rows: list[dict[str, str]] = []
    passing: dict[str, str] = {}
    for clip in tqdm(table.to_dict("records"), unit="clip", desc=f"fetch {corpus} {shard}", mininterval=2):
        name, recipe = str(clip["clip_id"]), json.loads(clip["recipe"])
        target = folder / f"{name}.mp4"
        given = Path(recipe["file"]) if recipe["file"] else brought.get(name)
        first = given is None and not target.is_file()
        outcome = _bring(name, recipe, target, given, online, journal, politeness)
        if outcome.passing:
            passing[name] = outcome.reason
        known = sums.get(given.name, "") if given else "" if first else journal.sums.get(name, "")
        called = given.name if given else target.name
        asked = 0.0 if given else recipe["end"] - recipe["start"]
        expected = recipe["sha256"] or known
        outcome, digest = _checked(outcome, target, called, expected, settings.media.time_limit, asked)
        if given is None and outcome.status == "decode_error":
            remedy = f"to fetch it again delete {target} and {paths.rendered(settings, corpus, shard)}"
            outcome = replace(outcome, reason=f"{outcome.reason}; {remedy}")
        if digest and given is None and not known:
            journal.keep(name, digest)
        rows.append({"clip_id": name, "sha256": digest, "status": outcome.status, "reason": outcome.reason})
    if passing:
        name, reason = next(iter(passing.items()))
        raise UserError(
            f"corpus {corpus}, shard {shard}: {len(passing)} of {len(table)} downloads failed for now (first {name}: "
            f"{reason}); run again: only these are asked, and one that failed on {DAYS} days counts as gone"
        )
    parquet.write(paths.rendered(settings, corpus, shard), pandas.DataFrame(rows))


def _bring(
    name: str,
    recipe: dict[str, Any],
    target: Path,
    given: Path | None,
    online: bool,
    journal: Journal,
    politeness: Politeness,
) -> Outcome:
    if given is not None:
        return _place(given, target)
    if target.is_file() and target.stat().st_size:
        return Outcome("ok")
    if not online:
        return Outcome("gone", "not in the drop folder, and options.download is off")
    if not recipe["url"]:
        return Outcome("gone", "not in the drop folder, and the annotations give no address")
    if name in journal.known and journal.known[name].status != "ok":
        return journal.known[name]
    return journal.add(name, download(recipe["url"], target, recipe["start"], recipe["end"], politeness))


def _checked(
    outcome: Outcome, target: Path, called: str, expected: str, seconds: float, asked: float
) -> tuple[Outcome, str]:
    """The outcome after a look into the file, and the file's sha256; `called`: its name where it came from."""
    if outcome.status != "ok":
        return outcome, ""
    digest = sha256(target)
    if expected and digest != expected:
        return Outcome("decode_error", f"sha256 is {digest}, its source or first fetch says {expected}"), ""
    reason = verify.damage(target, seconds, called, asked)
    return (Outcome("decode_error", reason), "") if reason else (outcome, digest)


def _place(given: Path, target: Path) -> Outcome:
    """Link (or copy) a given file to its place under a temporary name, then rename."""
    if not given.is_file() or not given.stat().st_size:
        return Outcome("gone", f"{given}: {'empty' if given.is_file() else 'no such file'}")
    if target.is_file() and (target.samefile(given) or target.stat().st_mtime_ns == given.stat().st_mtime_ns):
        return Outcome("ok")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(given.resolve(), temporary)
    except OSError:  # another file system, or one without links
        shutil.copy2(given, temporary)
    os.replace(temporary, target)
    temporary.unlink(missing_ok=True)  # replacing a link by itself leaves both
    return Outcome("ok")


def dropped(folder: Path) -> dict[str, Path]:
    """Clip id → video below the drop folder; a UserError for two of one name. Other files are passed over."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in verify.ENDINGS and not path.name.startswith(".") and path.is_file():
            if path.stem in found:
                raise UserError(f"{path}: {found[path.stem]} is a video of clip '{path.stem}' too; keep one")
            found[path.stem] = path
    return found


def wanted(settings: Settings, corpus: str) -> list[str]:
    """Ids of the clips of a public corpus that the scale asks for; a UserError if its lists are not there or wrong."""
    planned, entry = _public(settings, corpus), settings.corpora[corpus]
    found: list[str] = []
    for split in paths.SPLITS:
        found += [one.item.clip_id for one in planned if one.split == split][: getattr(entry, split)]
    return found


def _registry(settings: Settings, corpus: str) -> str:
    entry = settings.corpora[corpus]
    if entry.kind != "annotated":
        raise UserError(f"params/corpora.yaml: {corpus}.kind: '{entry.kind}' is rendered, not annotated")
    return str(entry.options.get("annotations", corpus))


def _public(settings: Settings, corpus: str) -> list[Planned]:
    """The items of a public corpus with their splits."""
    entry, registry = settings.corpora[corpus], _registry(settings, corpus)
    files = {file.split for file in sources.source(registry).files}
    planned: list[Planned] = []
    test: list[Item] = []
    if "test" in files:
        path = sources.annotation(registry, "test")
        test = public.read(path)
        for note in public.check(registry, "test", test, path):
            print(note, file=sys.stderr)
        whole, test = len(test), public.published(registry, test, entry.test)
        if len(test) < whole:
            note = f"{registry} test: {len(test)} of {whole} clips, as in the published numbers"
            print(f"{note}; left out is {public.DIDEMO_MISSING}", file=sys.stderr)
        if registry == "vggsound":
            kept = set(vggsound_test.shipped())
            if missing := sorted(kept - {item.clip_id for item in test}):
                raise UserError(f"{path}: lacks the shipped test clip '{missing[0]}'; get the official test.csv")
            test = [item for item in test if item.clip_id in kept]
        planned += [Planned(item, "test") for item in test]
    if entry.train or entry.val or (entry.test and not test):
        # VGGSound's other official test clips are in its full list, and are trained on.
        tested = {item.clip_id for item in test}
        rest = [i for i in public.read(sources.annotation(registry, "train")) if i.clip_id not in tested]
        # A corpus without an official test list has one drawn, as its validation.
        planned += [Planned(i, split) for i, split in _drawn(corpus, rest, entry.val, 0 if test else entry.test)]
    if registry == "activitynet":
        planned = [replace(one, item=public.youtube(one.item)) for one in planned]
    for one in planned:
        if not one.item.captions:
            raise UserError(f"corpus {corpus}: clip '{one.item.clip_id}' has no caption in the annotations")
    return planned


def _own(settings: Settings, corpus: str) -> list[Planned]:
    """The clips of a user's csv with their splits: the csv's, or drawn to the scale's sizes."""
    entry = settings.corpora[corpus]
    clips = own.listed(corpus, entry.options)
    splits = {clip.item.clip_id: clip.item.split for clip in clips}
    if not all(splits.values()):
        if any(splits.values()):
            name = next(name for name, split in splits.items() if not split)
            raise UserError(
                f"{entry.options['csv']}: clip '{name}' has no split, others have; fill the column or drop it"
            )
        drawn = _drawn(corpus, [clip.item for clip in clips], entry.val, entry.test)
        splits = {item.clip_id: split for item, split in drawn}
    return [Planned(clip.item, splits[clip.item.clip_id], str(clip.file), clip.language, clip.sha256) for clip in clips]


def _key(corpus: str) -> Any:
    return lambda item: vggsound_test.order(item.clip_id, f"{corpus}-val")


def _drawn(corpus: str, items: list[Item], val: int, test: int) -> list[tuple[Item, str]]:
    """Items in their order with their splits: by SHA-256 the first `test` for test, the next `val` for validation."""
    ranked = [item.clip_id for item in sorted(items, key=_key(corpus))]
    held = dict.fromkeys(ranked[:test], "test") | dict.fromkeys(ranked[test : test + val], "val")
    return [(item, held.get(item.clip_id, "train")) for item in items]


def _row(one: Planned, shard: str, entry: Corpus, captioned: bool) -> dict[str, Any]:
    item = one.item
    recipe = {"kind": "annotated", "url": item.url, "start": item.start, "end": item.end}
    recipe |= {"file": one.file, "sha256": one.sha256}
    return {
        "clip_id": item.clip_id,
        "split": one.split,
        "shard": shard,
        "captions": [] if captioned else list(item.captions),
        "group": item.url or item.clip_id,  # clips of one video are no independent ones
        "concepts": [item.label] if item.label else [],
        "language": one.language,
        "duration": 0.0,  # known when decoded; no number of frames is expected
        "source": entry.source,
        "licence": entry.licence,
        "components": [],
        "recipe": json.dumps(recipe, sort_keys=True),
    }
