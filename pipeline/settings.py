"""Typed view of `params/`: one load for Snakemake, DVC and every stage; a wrong key or value is one line that names it.

`params/default.yaml` names the scale and holds what all scales share; `params/<scale>.yaml` is laid over it;
`corpora.yaml`, `methods.yaml` and `runs.yaml` are registries.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import UserError
from pipeline.objectives import parse

Scale = Literal["smoke", "mini", "paper"]
Split = Literal["train", "val", "test"]


class Strict(BaseModel):
    """Frozen settings in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Media(Strict):
    """How clips are rendered and decoded."""

    seconds: float = Field(gt=0, description="length of a rendered clip")
    frames_per_second: int = Field(gt=0)
    size: int = Field(gt=0, description="height and width of stored frames, pixels")
    chunks: int = Field(gt=0, description="frames a clip that a model sees")
    train_slots: int = Field(gt=0, description="stored frames a chunk of a training clip")
    sample_rate: int = Field(gt=0)
    time_limit: float = Field(gt=0, description="seconds a clip may take to decode")
    workers: int = Field(gt=0)
    storage: Literal["raw", "archive"] = Field(description="uint8 tensors, or JPEG and FLAC in an indexed tar")
    coverage: float = Field(ge=0, le=1, description="least share of usable clips a split")


class Weights(Strict):
    """A file of somebody's weights that the user brings; `python -m pipeline doctor` says where to get it."""

    path: str
    sha256: str = Field(default="", description="checked when given")


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
    options: dict[str, float | int | str | bool] = {}


class VisionTower(Strict):
    """A frozen image encoder."""

    name: Literal["efficientnet-lite0", "eva01-g-14", "tiny"]
    batch: int = Field(gt=0)
    weights: Weights | None = Field(default=None, description="the tower's own file; VAST's checkpoint holds it too")
    geometry: Literal["squash", "crop"] = Field(default="squash", description="how a frame becomes a square")
    drop_path: float = Field(default=0.0, ge=0, lt=1, description="share of residual branches dropped in training")


class AudioTower(Strict):
    """A frozen audio encoder; `logmel` is trained by the features stage and then frozen."""

    name: Literal["logmel", "aisfx", "beats", "tiny"]
    width: int = Field(gt=0)
    layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    tokens: int = Field(gt=0, description="tokens a clip handed to cross-attention")
    steps: int = Field(ge=0)
    batch: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    noise: float = Field(ge=0, description="largest level of added noise in training")
    weights: Weights | None = Field(default=None, description="the tower's own file; VAST's checkpoint holds it too")
    bins: Literal[64, 128] = Field(default=64, description="mel bins of `beats`: VAST's 64 or its own 128")
    slices: int = Field(default=1, gt=0, description="10.24 s slices a clip that `beats` hears")


class Optimisation(Strict):
    """AdamW with warm-up and linear decay."""

    steps: int = Field(gt=0)
    batch: int = Field(gt=1, description="global batch; the micro-batch never changes a result")
    learning_rate: float = Field(gt=0)
    warmup: float = Field(ge=0, le=1, description="share of the steps")
    weight_decay: float = Field(ge=0)
    beta1: float = Field(ge=0, lt=1)
    beta2: float = Field(ge=0, lt=1)
    epsilon: float = Field(gt=0)
    clip: float = Field(gt=0, description="largest norm of the gradient")
    precision: Literal["fp32", "bf16"]
    validate_every: int = Field(gt=0)
    checkpoint_every: int = Field(gt=0)
    vision_learning_rate: float | None = Field(default=None, gt=0, description="of a trained vision tower")
    decay: Literal["matrices", "vast"] = Field(
        default="matrices", description="`vast`: all but bias and BERT's LayerNorm, so that EVA's norms decay"
    )
    micro_batch: int | None = Field(default=None, gt=0, description="clips a forward pass on a device; none: all")


class Text(Strict):
    """The BERT that is text encoder, matching encoder and decoder."""

    weights: Literal["minilm", "bert-base", "tiny"]
    layers: int = Field(gt=0)
    frozen_layers: int = Field(ge=0)
    width: int = Field(gt=0)
    heads: int = Field(gt=0)
    length: int = Field(gt=0, description="word pieces a caption, with [CLS] and [SEP]")


class Vast(Strict):
    """The initial model: pairwise InfoNCE + matching + captioning."""

    text: Text
    width: int = Field(gt=0, description="embedding width")
    temperature: float = Field(gt=0)
    matching_weight: float = Field(ge=0)
    matching_batch: int = Field(gt=0, description="clips of the batch that take part in matching")
    captioning_weight: float = Field(ge=0)
    captioning_batch: int = Field(gt=0)
    label_smoothing: float = Field(ge=0, lt=1)
    evidence_captions: int = Field(ge=0, description="validation clips a corpus that are captioned as evidence")
    released: Weights | None = Field(default=None, description="a released VAST or GRAM checkpoint instead of training")
    optimisation: Optimisation


class Training(Strict):
    """Training of the runs from the initial model."""

    adapter: int = Field(gt=0, description="hidden units of a modality's adapter")
    seeds_per_job: int = Field(gt=0)
    trains: Literal["heads", "everything"] = Field(
        default="heads", description="what a run changes of the initial model"
    )
    corpora: list[str] = Field(default=[], description="of runs that name none; empty: all with a training split")
    frames: int | None = Field(default=None, gt=0, description="frames of a training clip; none: media.chunks")
    devices: int = Field(default=0, ge=0, description="accelerators that a run needs; 0: none")
    runs_per_job: int = Field(default=1, gt=0, description="runs of a sweep that one job serves")
    optimisation: Optimisation


class Retrieval(Strict):
    """Scores, ranks, statistics."""

    block: int = Field(gt=0)
    rerank: int = Field(gt=0, description="items of a query that matching re-ranks")
    gallery: int = Field(gt=1, description="clips a corpus whose pairs are all matched")
    matching_batch: int = Field(gt=0)
    bootstrap: int = Field(gt=0, description="resamples")


class Method(Strict):
    """A training objective and the constants of its paper."""

    objective: str
    settings: dict[str, Any] = {}
    temperature: float = Field(gt=0)
    learn_temperature: bool
    source: str


class Dimension(Strict):
    """What a search draws: log-uniformly between two bounds, or one of a list."""

    low: float | None = Field(default=None, gt=0)
    high: float | None = Field(default=None, gt=0)
    choices: list[float | str] = []

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


class Tuning(Strict):
    """Equal tuning: the same number of trials for every method, in the spaces of params/spaces.yaml."""

    trials: int = Field(gt=0, description="Sobol points a method; a power of two")
    edge: float = Field(ge=0, lt=0.5, description="outer share of a range that counts as its edge")
    extra: int = Field(ge=0, description="trials of an extension beyond an edge that a winner lies on")
    extensions: int = Field(ge=0, description="most extensions a method")


class Modalities(Strict):
    """M = 2, 3, … modalities on the clips that have all of them."""

    counts: list[int]
    subsets: int = Field(gt=0, description="random sets of languages a count")
    methods: list[str]
    test: int = Field(gt=0, description="most test clips: components that no training has seen")
    width: int = Field(gt=0, description="embedding width")
    adapter: int = Field(ge=0)
    optimisation: Optimisation


class Theory(Strict):
    """The paper's theory as measurements."""

    draws: int = Field(gt=1, description="draws a cell of the corollaries' simulations")
    dimension: int = Field(gt=2, description="dimension of the simulated forces")
    counts: list[int] = Field(description="numbers of modalities M")
    trace: list[str] = Field(description="runs whose conflicts and collapse are followed through training")
    trace_seeds: int = Field(gt=0)
    trace_every: int = Field(gt=0, description="steps between two measurements")
    trace_rows: int = Field(gt=1, description="validation captions a measurement")
    modalities: Modalities


class Run(Strict):
    """A trained model: a method, what it is trained on, what it changes."""

    method: str
    tuned: bool = Field(default=False, description="with the winner of the method's tuning")
    corpora: list[str] = Field(default=[], description="training corpora; empty: all of the scale")
    modalities: list[str] = ["text", "vision", "audio"]
    settings: dict[str, Any] = {}
    learning_rate: float | None = None
    temperature: float | None = None
    steps: int | None = None
    shuffle_text: bool = Field(default=False, description="control: captions dealt out anew, heads start at random")


class Table(Strict):
    """A table: its runs in order and how many seeds each has."""

    runs: list[str]
    seeds: int = Field(gt=0)
    title: str
    labels: dict[str, str] = Field(default={}, description="run → its row's name, the paper's where it has the row")
    notes: list[str] = Field(default=[], description="lines under the table")


class Settings(Strict):
    """Everything in `params/`, resolved for one scale."""

    scale: Scale
    preset: str = Field(default="", description="overlay of params/presets/ that was laid over the scale")
    seed: int
    threads: int = Field(gt=0)
    threads_beside: int = Field(gt=0)
    media: Media
    vision: VisionTower
    audio: AudioTower
    audio_candidates: list[str] = Field(description="audio towers that are compared on validation")
    vast: Vast
    training: Training
    retrieval: Retrieval
    tuning: Tuning
    theory: Theory
    corpora: dict[str, Corpus]
    probes: dict[str, Corpus] = Field(default={}, description="corpora outside all tables, made for one question")
    spaces: dict[str, dict[str, Dimension]]
    methods: dict[str, Method]
    runs: dict[str, Run]
    tables: dict[str, Table]

    def run(self, name: str) -> Run:
        """The run called `name`; a UserError names the known ones."""
        if name not in self.runs:
            raise UserError(f"params/runs.yaml: no run '{name}'; there are {', '.join(self.runs)}")
        return self.runs[name]

    def seeds(self, run: str) -> int:
        """Seeds that a run is trained with: the most that any table asks for; the initial model has one."""
        return (
            max((table.seeds for table in self.tables.values() if run in table.runs), default=1) if run != "vast" else 1
        )

    def train_corpora(self, run: str) -> list[str]:
        """The corpora a run is trained on; a UserError names one that the scale does not have."""
        for name in self.run(run).corpora or self.training.corpora:
            if name not in self.corpora and name not in self.probes:
                known = ", ".join([*self.corpora, *self.probes])
                raise UserError(f"params/runs.yaml: runs.{run}.corpora: scale {self.scale} has no '{name}' but {known}")
        every = [name for name, corpus in self.corpora.items() if corpus.train]
        return self.run(run).corpora or self.training.corpora or every

    def corpus(self, name: str) -> Corpus:
        """The corpus or probe called `name`."""
        return self.corpora[name] if name in self.corpora else self.probes[name]

    def only(self, probe: str) -> Settings:
        """These settings with a probe as their only corpus: what a stage sees that makes the probe."""
        return self.model_copy(update={"corpora": {probe: self.corpus(probe)}})


def load(scale: str | None = None, root: Path | None = None, preset: str | None = None) -> Settings:
    """Settings of a scale and preset (default: those that `params/default.yaml` names)."""
    return _load(scale, (root or Path()).resolve(), preset)


@cache
def _load(scale: str | None, root: Path, preset: str | None) -> Settings:
    params = root / "params"
    default = _yaml(params / "default.yaml")
    scale = scale or default.get("scale")
    overlay_file = params / f"{scale}.yaml"
    if scale not in ("smoke", "mini", "paper") or not overlay_file.is_file():
        raise UserError(f"params/default.yaml: scale: '{scale}' is none of smoke, mini, paper")
    overlay = _yaml(overlay_file)
    preset = default.get("preset", "") if preset is None else preset
    if preset:
        overlay = _merge(overlay, _preset(params, str(preset), scale))
    registries = {name: _yaml(params / f"{name}.yaml") for name in ("corpora", "methods", "runs", "spaces")}
    merged = _merge(default, overlay) | {"scale": scale, "preset": preset}
    merged["corpora"] = _corpora(registries["corpora"], overlay.get("corpora", {}), scale)
    merged["probes"] = _corpora(registries["corpora"], overlay.get("probes", {}), scale)
    merged["methods"], merged["spaces"] = registries["methods"], registries["spaces"]
    merged["runs"] = _merge(registries["runs"].get("runs", {}), overlay.get("runs", {}))
    merged["tables"] = _merge(registries["runs"].get("tables", {}), overlay.get("tables", {}))
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise UserError(_first_error(error, default, overlay, str(scale))) from None
    _check_names(settings)
    return settings


def _preset(params: Path, preset: str, scale: str) -> dict[str, Any]:
    """An overlay of `params/presets/`; it names the scale it is made for. A corpus set to null is taken out."""
    known = sorted(path.stem for path in (params / "presets").glob("*.yaml"))
    if preset not in known:
        raise UserError(f"params/default.yaml: preset: '{preset}' is none of {', '.join(known) or 'params/presets/'}")
    overlay = _yaml(params / "presets" / f"{preset}.yaml")
    made_for = overlay.pop("scale", None)
    if made_for != scale:
        raise UserError(f"params/presets/{preset}.yaml: is made for scale {made_for}, not {scale}")
    return overlay


def _yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: missing; restore it from the repository")
    try:
        value = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a mapping")
    return value


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _corpora(registry: Mapping[str, Any], sizes: Mapping[str, Any], scale: str | None) -> dict[str, Any]:
    for name in sizes:
        if name not in registry:
            raise UserError(
                f"params/{scale}.yaml: corpora.{name}: unknown corpus; params/corpora.yaml has {', '.join(registry)}"
            )
    return {name: _merge(registry[name], size) for name, size in sizes.items() if size is not None}


def _first_error(error: ValidationError, default: dict[str, Any], overlay: dict[str, Any], scale: str) -> str:
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    key = ".".join(where)
    if where[0] in ("methods", "spaces", "runs", "tables"):
        file = f"{where[0]}.yaml" if where[0] in ("methods", "spaces") else "runs.yaml"
    elif where[0] == "corpora":
        file = f"{scale}.yaml or params/corpora.yaml"
    else:
        file = f"{scale}.yaml" if _has(overlay, where) else "default.yaml"
    problem = {"extra_forbidden": "unknown key", "missing": "missing key"}.get(first["type"], first["msg"])
    return f"params/{file}: {key}: {problem}"


def _has(tree: Any, where: list[str]) -> bool:
    for part in where:
        if not isinstance(tree, dict) or part not in tree:
            return False
        tree = tree[part]
    return True


def _check_names(settings: Settings) -> None:
    for name, entry in settings.methods.items():
        _check_objective(f"params/methods.yaml: {name}", entry.objective, entry.settings)
    for name, run in settings.runs.items():
        if run.method != "vast":
            if run.method not in settings.methods:
                known = ", ".join(settings.methods)
                raise UserError(
                    f"params/runs.yaml: runs.{name}.method: unknown method '{run.method}'; there are {known}"
                )
            entry = settings.methods[run.method]
            _check_objective(f"params/runs.yaml: runs.{name}", entry.objective, entry.settings | run.settings)
        if run.tuned and run.method not in settings.spaces:
            raise UserError(f"params/spaces.yaml: no space for '{run.method}', which runs.{name} asks for")
    for name, table in settings.tables.items():
        for row in table.runs:
            if row not in settings.runs:
                raise UserError(f"params/runs.yaml: tables.{name}.runs: unknown run '{row}'")
        for row in table.labels:
            if row not in table.runs:
                raise UserError(f"params/runs.yaml: tables.{name}.labels: '{row}' is no run of the table")
    for method in settings.spaces:
        if method not in settings.methods:
            raise UserError(f"params/spaces.yaml: unknown method '{method}'; there are {', '.join(settings.methods)}")


def _check_objective(where: str, objective: str, values: dict[str, Any]) -> None:
    try:
        parse(objective, values)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
