"""Entries of the registries: `params/corpora.yaml`, `methods.yaml`, `spaces.yaml` and `runs.yaml` with its tables."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline.settings.strict import Strict

Split = Literal["train", "val", "test"]


class Corpus(Strict):
    """A corpus: where it comes from, what it stands for, how large its splits are."""

    kind: Literal["stamps", "stories", "scenes", "sounds", "annotated"]
    stands_for: str
    source: str
    licence: str
    train: int = Field(ge=0, description="clips")
    val: int = Field(ge=0)
    test: int = Field(ge=0)
    shards: dict[Split, int]
    options: dict[str, float | int | str | bool] = Field(default={}, description="of its kind of corpus")
    coverage: float | None = Field(default=None, ge=0, le=1, description="least share of usable clips; none: media's")
    geometry: Literal["squash", "crop"] | None = Field(default=None, description="of its frames; none: vision's")
    slices: int | None = Field(default=None, gt=0, description="10.24 s slices of its sounds; none: audio's")


class Options(Strict):
    """What any kind of corpus may be told."""

    benchmark: bool = Field(default=True, description="whether it counts in averages, contrasts and choices of a score")
    captions: Literal["written"] | None = Field(default=None, description="by the initial model: it comes without")


class Rendered(Options):
    """How hard the clips are made: weight of the noise under the sound, share of other things in the picture."""

    noise: float = Field(default=0.0, ge=0)
    clutter: float = Field(default=0.0, ge=0)


class Stamps(Rendered):
    """The language that the recordings are spoken in, and the digest of the package that they come from."""

    language: str = Field(min_length=2)
    sha256: str = ""


class Scenes(Rendered):
    """How a caption's content is shared out between picture and sound."""

    sharing: Literal["redundant", "unique", "synergistic"] = "unique"


class Annotated(Options):
    """Annotation files in a known layout (none: the corpus's name), or `own` with a csv and a folder; downloading."""

    annotations: str = Field(default="", min_length=1)
    csv: str = ""
    folder: str = ""
    download: bool = False
    bytes_per_second: float | None = Field(default=None, gt=0)
    pause: float | None = Field(default=None, ge=0, description="seconds between downloads")
    cookies: str = ""


#: The options that a kind of corpus knows.
OPTIONS: dict[str, type[Options]] = {
    "stamps": Stamps, "stories": Stamps, "sounds": Stamps, "scenes": Scenes, "annotated": Annotated,
}  # fmt: skip


class Method(Strict):
    """A training objective and the constants of its paper."""

    objective: str
    settings: dict[str, Any] = Field(default={}, description="of the objective, see pipeline/objectives/settings.py")
    temperature: float = Field(gt=0)
    learn_temperature: bool
    source: str


class Dimension(Strict):
    """What a search draws: log-uniformly between two bounds, or one of a list."""

    low: float | None = Field(default=None, gt=0)
    high: float | None = Field(default=None, gt=0)
    choices: list[float | str] = Field(default=[])

    @model_validator(mode="after")
    def _one_kind(self) -> Dimension:
        bounds = self.low is not None and self.high is not None and self.low < self.high
        if bounds == bool(self.choices) or (self.choices and (self.low is not None or self.high is not None)):
            raise ValueError("give either low < high or choices")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """The two bounds; a ValueError for a list of choices."""
        if self.low is None or self.high is None:
            raise ValueError("a list of choices has no bounds")
        return self.low, self.high


class Run(Strict):
    """A trained model: a method, what it is trained on, what it changes."""

    method: str
    tuned: bool = Field(default=False, description="with the winner of the method's tuning")
    corpora: list[str] = Field(default=[], description="training corpora; empty: all of the scale")
    modalities: list[Literal["text", "vision", "audio"]] = Field(default=["text", "vision", "audio"], min_length=2)
    settings: dict[str, Any] = Field(default={}, description="laid over the method's")
    learning_rate: float | None = Field(default=None, gt=0)
    temperature: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, gt=0)
    initial: str = Field(default="vast", description="the run of method `vast` that it is trained from")
    shuffle_text: bool = Field(
        default=False, description="control: captions dealt out anew by the seed, heads start at random"
    )


class Table(Strict):
    """A table: its runs in order and how many seeds each has."""

    runs: list[str]
    seeds: int = Field(gt=0)
    title: str
    labels: dict[str, str] = Field(default={}, description="run → its row's name, the paper's where it has the row")
    notes: list[str] = Field(default=[], description="lines under the table")
