"""Settings of the stages: `params/default.yaml` under `params/<scale>.yaml`, a section a class."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline.settings.strict import Strict


class Media(Strict):
    """How clips are rendered and decoded."""

    seconds: float = Field(gt=0, description="length of a rendered clip; longest sound that is kept of any")
    frames_per_second: int = Field(gt=0)
    size: int = Field(gt=0, description="height and width of stored frames, pixels")
    chunks: int = Field(gt=0, description="frames a clip that a model sees")
    train_slots: int = Field(gt=0, description="stored frames a chunk of a training clip")
    sample_rate: int = Field(gt=0)
    time_limit: float = Field(gt=0, description="seconds a clip may take to decode")
    workers: int = Field(gt=0)
    storage: Literal["raw", "archive"] = Field(description="uint8 tensors, or JPEG and FLAC in an indexed tar")
    coverage: float = Field(ge=0, le=1, description="least share of usable clips a split; a corpus may set its own")
    channels: Literal["first", "mean"] = Field(default="mean", description="of the sound: VAST's policy or GRAM's")


class Weights(Strict):
    """A file of somebody's weights that the user brings; `python -m pipeline doctor` says where to get it."""

    path: str
    sha256: str = Field(default="", description="checked when given")
    random: bool = Field(
        default=False, description="made by the DAG in the released layout: random weights, which claim nothing"
    )


class VisionTower(Strict):
    """A frozen image encoder."""

    name: Literal["efficientnet-lite0", "eva01-g-14", "eva01-tiny", "tiny"]
    batch: int = Field(gt=0)
    geometry: Literal["squash", "crop"] = Field(
        default="squash", description="how a frame becomes a square, where its corpus does not say"
    )
    drop_path: float = Field(default=0.0, ge=0, lt=1, description="share of residual branches dropped in training")


class AudioTower(Strict):
    """A frozen audio encoder; `logmel` is trained by the features stage and then frozen."""

    name: Literal["logmel", "aisfx", "beats", "beats-tiny", "tiny"]
    width: int = Field(gt=0)
    layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    tokens: int = Field(gt=0, description="tokens a clip handed to cross-attention")
    steps: int = Field(ge=0)
    batch: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    noise: float = Field(ge=0, description="largest level of added noise in training")
    bins: Literal[64, 128] = Field(default=64, description="mel bins of `beats`: VAST's 64 or its own 128")
    slices: int = Field(default=1, gt=0, description="10.24 s slices a clip that `beats` hears")


#: Number format of products; see pipeline/low_precision.py.
Precision = Literal["fp32", "bf16", "auto"]


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
    precision: Precision = Field(description="auto: bf16 where the device multiplies it")
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

    @model_validator(mode="after")
    def _some_are_trained(self) -> Text:
        if self.frozen_layers >= self.layers:
            raise ValueError(f"frozen_layers {self.frozen_layers}: must be fewer than layers, {self.layers}")
        return self


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
    released: Weights | None = Field(default=None, description="a checkpoint of VAST or GRAM instead of training")
    optimisation: Optimisation


class Captions(Strict):
    """How the initial model writes captions: one by beam search, and samples."""

    modalities: list[Literal["vision", "audio"]] = Field(min_length=1, description="what a caption is written from")
    beams: int = Field(gt=0)
    length: int = Field(gt=0, description="most word pieces a caption")
    length_penalty: float = Field(ge=0, description="a score is a log-probability over length to this power")
    top_k: int = Field(gt=0, description="likeliest pieces that a sample draws from")
    samples: int = Field(gt=0, description="sampled captions a clip")
    batch: int = Field(gt=0, description="clips captioned at once; never changes a result")


class ZeroShot(Strict):
    """Somebody's released model that is evaluated as it is."""

    model: Literal["imagebind-huge", "imagebind-tiny", "languagebind"]
    batch: int = Field(gt=0, description="clips a forward pass")
    weights: Weights
    audio_weights: Weights | None = Field(
        default=None, description="of the sound, where it has a file of its own; LanguageBind without it is deaf"
    )

    @model_validator(mode="after")
    def _of_a_layout_that_is_written(self) -> ZeroShot:
        if (self.weights.random and self.model == "languagebind") or (self.audio_weights and self.audio_weights.random):
            raise ValueError("weights.random: random weights are written in ImageBind's layout alone")
        return self


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
    gallery: int = Field(gt=1, description="clips a corpus whose pairs the initial model matches, all of them")
    matching_batch: int = Field(gt=0, description="pairs that are matched at once")
    bootstrap: int = Field(gt=0, description="resamples")


class Study(Strict):
    """The study of the scores, target `scores`."""

    missing: list[float] = Field(min_length=2, description="shares of test clips that lose one modality, 0 first")
    followed: float = Field(gt=0, description="the one of them at which the fate of lessened clips is followed")
    seeds: int = Field(gt=0, description="seeds a run whose embeddings are studied; retrieval itself uses all")
    neighbours: int = Field(gt=0, description="k of the k-occurrence")

    @model_validator(mode="after")
    def _followed(self) -> Study:
        if self.followed not in self.missing:
            raise ValueError("followed must be one of missing")
        return self


class Tuning(Strict):
    """Equal tuning: the same number of trials for every method, in the spaces of params/spaces.yaml."""

    trials: int = Field(gt=0, description="Sobol points a method; a power of two")
    edge: float = Field(ge=0, lt=0.5, description="outer share of a range that counts as its edge")
    extra: int = Field(ge=0, description="trials of a round more, beyond an edge that the winner lies on")
    rounds: int = Field(ge=0, description="rounds more that every method has")
    methods_per_job: int = Field(default=1, gt=0, description="methods that one job tunes in turn")


class Modalities(Strict):
    """M = 2, 3, … modalities on the clips that have all of them."""

    counts: list[int]
    subsets: int = Field(gt=0, description="random sets of languages a count")
    runs: list[str] = Field(description="whose objective and constants are trained, from random heads")
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


class Job(Strict):
    """What a stage's job asks a cluster for."""

    mem_mb: int = Field(default=16_000, gt=0, description="memory of the host")
    runtime: int = Field(default=240, gt=0, description="minutes; a training that is stopped goes on when tried again")
