"""`scenes`: a controlled benchmark whose captions' content is shared out between picture and sound.

Content is six factors: shape, colour and motion of a body; rhythm, register and timbre of a sound. `sharing` says who
tells them:

* `redundant`   picture and sound each tell all six (the sound has a second voice for the body, the picture a row of
  marks for the sound);
* `unique`      the picture tells the body alone, the sound the tones alone;
* `synergistic` both have six values and the caption's is their sum modulo the factor's size: neither alone says
  anything.

Every split has its own share of the 30,720 contents, whatever the sizes and the sharing, and draws from it without
replacement: no combination crosses splits, not even those of two corpora of this kind, and captions are distinct.
"""

from __future__ import annotations

import numpy as np

from pipeline.corpora.clip import Clip
from pipeline.errors import UserError
from pipeline.paths import SPLITS
from pipeline.settings import Settings

FACTORS: dict[str, tuple[str, ...]] = {
    "shape": ("square", "triangle", "star", "heart", "moon", "cross", "arrow", "house"),
    "colour": ("red", "yellow", "green", "blue", "purple", "pink", "white", "black"),
    "motion": ("resting", "growing", "spinning", "flashing", "crossing"),
    "rhythm": ("slow", "steady", "fast", "galloping"),
    "register": ("low", "middle", "high"),
    "timbre": ("flute", "trumpet", "clarinet", "harp", "bell", "drum", "siren", "organ"),
}
SIZES = tuple(len(words) for words in FACTORS.values())
BODY = 3
"""The first three factors belong to the body, the others to the sound."""
SHARES = {"test": 0.5, "val": 0.1, "train": 0.4}
"""Of the contents."""
TEMPLATES = (
    "a {colour} {shape} {motion} to a {rhythm} {register} {timbre}",
    "{rhythm} {register} {timbre} with a {colour} {shape} {motion}",
    "a {colour} {shape} is {motion}, a {rhythm} {register} {timbre} plays",
)


def clips(settings: Settings, corpus: str) -> list[Clip]:
    """All clips of the corpus."""
    entry = settings.corpora[corpus]
    sharing = str(entry.options.get("sharing", "unique"))
    rng = np.random.default_rng([settings.seed, 101])
    possible = int(np.prod(SIZES))
    bounds = (np.cumsum(list(SHARES.values())) * possible).round().astype(int)
    parts = dict(zip(SHARES, np.split(rng.permutation(possible), bounds[:-1]), strict=True))
    made: list[Clip] = []
    for split in SPLITS:
        count = getattr(entry, split)
        if count > len(parts[split]):
            raise UserError(
                f"params/{settings.scale}.yaml: corpora.{corpus}.{split}: {count} clips asked, "
                f"there are {len(parts[split])} contents"
            )
        for content in np.stack(np.unravel_index(parts[split][:count], SIZES), 1):
            words = {name: FACTORS[name][value] for name, value in zip(FACTORS, content, strict=True)}
            picture, sound = _share(sharing, content, rng)
            caption = TEMPLATES[int(rng.integers(len(TEMPLATES)))].format(**words)
            recipe = {
                "kind": "scenes",
                "picture": picture,
                "sound": sound,
                "noise": float(entry.options.get("noise", 0)),
                "clutter": float(entry.options.get("clutter", 0)),
                "seed": int(rng.integers(2**31)),
            }
            made.append(Clip(split, caption, caption, list(words.values()), recipe))
    return made


def _share(sharing: str, content: np.ndarray, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Values that the picture and the sound tell; three values mean the body (picture) or the tones (sound) alone."""
    if sharing == "unique":
        return content[:BODY].tolist(), content[BODY:].tolist()
    if sharing == "redundant":
        return content.tolist(), content.tolist()
    if sharing == "synergistic":
        shown = rng.integers(0, SIZES)
        return shown.tolist(), ((content - shown) % SIZES).tolist()
    raise UserError(
        f"params/corpora.yaml: scenes.options.sharing: '{sharing}' is none of redundant, unique, synergistic"
    )
