"""Everything in `params/`, resolved for one scale."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.errors import UserError, instead
from pipeline.objectives import FUSED
from pipeline.settings.registries import Corpus, Dimension, Method, Run, Table
from pipeline.settings.stages import (
    AudioTower,
    Captions,
    Job,
    Media,
    Retrieval,
    Study,
    Theory,
    Training,
    Tuning,
    Vast,
    VisionTower,
    ZeroShot,
)
from pipeline.settings.strict import Strict

Scale = Literal["smoke", "mini", "paper"]
#: Stages whose jobs may ask a cluster for more than others.
Asking = Literal["features", "vast", "train", "tune", "trace", "embed", "match", "rank", "leakage"]
#: Tables in the shape of the paper's Table 1, which is re-ranked by matching.
RERANKED = ("table1", "table1_all", "table1_tuned")


class Settings(Strict):
    """Everything in `params/`, resolved for one scale."""

    scale: Scale
    preset: str = Field(default="", description="overlay of params/presets/ that was laid over the scale")
    seed: int
    threads: int = Field(gt=0)
    threads_beside: int = Field(gt=0)
    jobs: dict[Asking, Job] = Field(default={}, description="by stage: what its jobs ask a cluster for")
    media: Media
    vision: VisionTower
    audio: AudioTower
    audio_candidates: list[str] = Field(description="audio towers that are compared on validation")
    vast: Vast
    captions: Captions
    zero_shot: dict[str, ZeroShot] = Field(default={}, description="methods that are released models, not trained")
    training: Training
    table1_runs_per_job: int = Field(default=1, gt=0, description="runs of Table 1 that one job serves")
    sweeps_train: Literal["heads", "everything"] | None = Field(
        default=None, description="what runs outside Table 1 change of the initial model; none: as training.trains"
    )
    retrieval: Retrieval
    study: Study
    tuning: Tuning
    theory: Theory
    corpora: dict[str, Corpus]
    probes: dict[str, Corpus] = Field(default={}, description="corpora outside all tables, made for one question")
    spaces: dict[str, dict[str, Dimension]]
    methods: dict[str, Method]
    runs: dict[str, Run]
    tables: dict[str, Table]

    @property
    def folder(self) -> str:
        """Name of the folders that hold what these settings make: the scale's, with a preset `<scale>-<preset>`."""
        return f"{self.scale}-{self.preset}" if self.preset else self.scale

    def run(self, name: str) -> Run:
        """The run called `name`; a UserError names the nearest ones."""
        if name not in self.runs:
            raise UserError(f"params/runs.yaml: no run '{name}'; {instead(name, self.runs)}")
        return self.runs[name]

    def seeds(self, run: str) -> int:
        """Seeds that a run is trained with: the most that any table asks for; what is not trained has one."""
        if not self.trained(run):
            return 1
        return max((table.seeds for table in self.tables.values() if run in table.runs), default=1)

    def initial(self, run: str) -> str:
        """The initial model that a run is trained from; its own for an initial model."""
        return run if self.run(run).method == "vast" else self.run(run).initial

    def trained(self, run: str) -> bool:
        """Whether a run is trained from an initial model: neither such a model itself nor somebody's released one."""
        return self.run(run).method != "vast" and self.released(run) is None

    def released(self, run: str) -> ZeroShot | None:
        """The released model that a run is, if it is one."""
        return self.zero_shot.get(self.run(run).method)

    def random(self) -> list[str]:
        """Files of random weights that the DAG makes, since the settings ask for them."""
        named = [self.vast.released, *(entry.weights for entry in self.zero_shot.values())]
        return [weights.path for weights in named if weights and weights.random]

    def trains(self, run: str) -> Literal["heads", "everything"]:
        """What a run changes of its initial model."""
        swept = run in self.runs and run not in self.tables["table1"].runs
        return self.sweeps_train if swept and self.sweeps_train else self.training.trains

    def matched_by(self, run: str) -> Literal["own", "vast"] | None:
        """Whose matching re-ranks a run: its own where it trains that (and a table shows it), else `vast`'s.

        None for somebody's released model and for a run that comes from another initial model.
        """
        if self.released(run) or self.initial(run) != "vast":
            return None
        if self.trains(run) == "heads":
            return "vast"
        return "own" if any(run in self.tables[name].runs for name in RERANKED if name in self.tables) else None

    def stale(self, run: str) -> tuple[str, ...]:
        """Scores that a run's training leaves behind, so never its headline: `fused`, if no term trains it."""
        return ("fused",) if self.trained(run) and self.methods[self.run(run).method].objective not in FUSED else ()

    def train_corpora(self, run: str) -> list[str]:
        """The corpora a run is trained on; a UserError names one that the scale does not have."""
        for name in self.run(run).corpora or self.training.corpora:
            if name not in self.corpora and name not in self.probes:
                others = instead(name, [*self.corpora, *self.probes])
                raise UserError(f"params/runs.yaml: runs.{run}.corpora: scale {self.scale} has no '{name}'; {others}")
        every = [name for name, corpus in self.corpora.items() if corpus.train]
        return self.run(run).corpora or self.training.corpora or every

    def benchmarks(self) -> list[str]:
        """The corpora that tables compare and average: all but those marked `options.benchmark: false`."""
        return [name for name, entry in self.corpora.items() if entry.options.get("benchmark", True)]

    def corpus(self, name: str) -> Corpus:
        """The corpus or probe called `name`."""
        return self.corpora[name] if name in self.corpora else self.probes[name]

    def captioned(self, corpus: str) -> bool:
        """Whether the initial model writes a corpus's captions, since it comes without."""
        return self.corpus(corpus).options.get("captions") == "written"

    def captioned_corpora(self) -> dict[str, Corpus]:
        """The corpora and probes that come without captions."""
        return {name: entry for name, entry in (self.corpora | self.probes).items() if self.captioned(name)}

    def coverage(self, corpus: str) -> float:
        """Least share of a corpus's clips, in each split, that must be usable."""
        own = self.corpus(corpus).coverage
        return self.media.coverage if own is None else own

    def geometry(self, corpus: str) -> Literal["squash", "crop"]:
        """How the frames of a corpus become squares."""
        return self.corpus(corpus).geometry or self.vision.geometry

    def slices(self, corpus: str) -> int:
        """How many slices of 10.24 s the released VAST hears of a corpus's sounds."""
        return self.corpus(corpus).slices or self.audio.slices

    def only(self, probe: str) -> Settings:
        """These settings with a probe as their only corpus, the others beside it: what a stage sees that makes it."""
        others = {name: entry for name, entry in (self.corpora | self.probes).items() if name != probe}
        return self.model_copy(update={"corpora": {probe: self.corpus(probe)}, "probes": others})
