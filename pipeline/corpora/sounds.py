"""`sounds` (stands for VGGSound): one stamp a clip as in `stamps`, without caption; its class is the stamp's category.

Only train concepts of `stamps` take part, so that the initial model, which is to write the captions, knows them; the
renderings are new, and so are the recordings: each clip says its stamp in a language that no other corpus speaks, each
recording (by its bytes) is in one clip alone and in no other corpus. Stamps' sound effects stay out, since the other
corpora use them. `concepts` holds the caption that `stamps` has and, last, the class; VGGSound's holds its class.
"""

from __future__ import annotations

import numpy as np

from pipeline.corpora.clip import Clip
from pipeline.corpora.stamps import split_concepts
from pipeline.corpora.stamps_source import LANGUAGES, ROOT, Library, library, recording
from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.settings import Settings


def clips(settings: Settings, corpus: str) -> list[Clip]:
    """All clips of the corpus."""
    entry = settings.corpora[corpus]
    source = library()
    concepts = split_concepts(settings, source).captions["train"]
    found = recordings(source, set(concepts), str(entry.options["language"]))
    rng = np.random.default_rng([settings.seed, 501])
    order = [sorted(found)[place] for place in rng.permutation(len(found))]
    wanted = {split: getattr(entry, split) for split in ("test", "val", "train")}
    if sum(wanted.values()) > len(order):
        raise UserError(
            f"params/{settings.scale}.yaml: {corpus}: {sum(wanted.values())} clips asked, {len(order)} recordings are "
            "left; lower train, val or test"
        )
    made: list[Clip] = []
    for split in [split for split, count in wanted.items() for _ in range(count)]:
        stamps = found[order[len(made)]]
        row, language = stamps[int(rng.integers(len(stamps)))]
        stamp = source.stamps[row]
        recipe = {
            "kind": "stamps",
            "shown": [row],
            "voice": recording(stamp.name, language),
            "noise": float(entry.options.get("noise", 0)),
            "clutter": float(entry.options.get("clutter", 0)),
            "seed": int(rng.integers(2**31)),
        }
        names = [stamp.caption, stamp.category]
        made.append(Clip(split, "", stamp.caption, names, recipe, language, [stamp.component]))
    return made


def recordings(source: Library, captions: set[str], spoken: str) -> dict[str, list[tuple[int, str]]]:
    """SHA-256 of a recording -> (row of a stamp with one of the captions, language); none that is heard as `spoken`."""
    folder = ROOT / "stamps"
    heard = {sha256(folder / stamp.speech) for stamp in source.stamps}
    found: dict[str, list[tuple[int, str]]] = {}
    for row, stamp in enumerate(source.stamps):
        for language in LANGUAGES if stamp.caption in captions else ():
            file = folder / recording(stamp.name, language)
            if language != spoken and file.is_file() and (key := sha256(file)) not in heard:
                found.setdefault(key, []).append((row, language))
    return found
