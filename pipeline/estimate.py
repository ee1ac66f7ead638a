"""`python -m pipeline estimate --scale paper --target table1`: what a target costs, before anything is run.

A row a stage: downloads, disk, CPU hours, accelerator hours. Accelerator hours are counted operations
(`pipeline.costs`) over a stated peak times a stated utilisation; CPU hours are measured seconds a clip times clips.
Then the memory a rank needs, and what is missing on this machine with where to get it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline import checkpoints
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.costs import Costs

#: The paper's accelerator: RTX A6000, dense bf16 without sparsity; the share of it that such training reaches.
DEVICE, PEAK, UTILISATION, MEMORY = "RTX A6000", 154.8e12, 0.35, 48e9
#: CUDA's context, workspaces and fragmentation of a rank, bytes.
OVERHEAD = 3e9
#: Seconds of one core a clip: 8 frames of a 720p clip and its sound (measured), JPEG and FLAC written.
DECODE_SECONDS = 0.5
#: Seconds of one core that the look into a fetched file takes, a second of it (measured, 360p; 720p takes twice that).
VERIFY_SECONDS = 0.05
#: Bytes of a stored frame (JPEG, quality 95, 224 px) and of a second of sound (FLAC, 16 kHz, mono).
FRAME_BYTES, SOUND_BYTES = 30e3, 18e3
#: Share of the registry's videos that a download pauses for and loads at the polite rate.
POLITE_BYTES, POLITE_PAUSE = 4e6, 4.0


@dataclass(frozen=True)
class Row:
    """What one stage costs."""

    stage: str
    what: str
    download: float = 0.0
    disk: float = 0.0
    cpu: float = 0.0
    accelerator: float = 0.0


def estimate(settings: Settings, target: str) -> None:
    """Print the rows of `target` (a table of params/runs.yaml), the memory of a rank, and what is missing here."""
    listed = rows(settings, target)
    header = ("stage", "what", "download GB", "disk GB", "CPU h", f"{DEVICE} h")
    total = Row(
        "total",
        "",
        *(sum(getattr(row, key) for row in listed) for key in ("download", "disk", "cpu", "accelerator")),
    )
    cells = [header]
    for row in (*listed, total):
        numbers = (row.download, row.disk, row.cpu, row.accelerator)
        cells.append((row.stage, row.what, *(f"{value:,.1f}" if value else "–" for value in numbers)))  # type: ignore[arg-type]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]
    for line in cells:
        text = [
            f"{cell:<{width}}" if place < 2 else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(text).rstrip())
    if settings.scale == "paper":
        devices = settings.training.devices
        print(f"\ntime: {total.accelerator / devices:,.0f} h on {devices} × {DEVICE}, one training after the other")
        print(
            f"  {PEAK / 1e12:.1f} TFLOP/s bf16 at {UTILISATION:.0%} utilisation; operations are counted, not measured"
        )
        print(memory(settings))
    _missing(settings, target)


def rows(settings: Settings, target: str) -> list[Row]:
    """The stages of `target` in the order of the data."""
    if settings.scale != "paper":
        return _small(settings, target)
    from pipeline import costs

    runs = [run for run in settings.tables[target].runs if settings.trained(run)]
    seeds = {run: settings.seeds(run) for run in runs}
    frames, slices = settings.media.chunks, settings.audio.slices
    counted = costs.released(frames, slices, settings.audio.bins, settings.vast.text.length)
    how = settings.training.optimisation
    pairs = 3 if settings.vast.matching_weight else 0
    step = counted.step(settings.training.frames or frames, slices, pairs) * how.batch
    trainings = sum(seeds[run] * (settings.run(run).steps or how.steps) for run in runs)
    models = sum(settings.seeds(run) for run in settings.tables[target].runs if not settings.released(run))
    evaluated = sum(corpus.val + corpus.test for corpus in settings.corpora.values())
    return [
        _weights(settings, target),
        *_corpora(settings),
        *_features(settings, target, counted),
        Row("vast", "the released checkpoint, read by name", disk=4 * counted.parameters / 1e9),
        *(
            Row(
                "captions",
                f"{name}: {sum(size)} clips through the towers; decoding is some 3 % of that",
                accelerator=_hours(sum(size) * counted.clip(frames, slices)),
            )
            for name, corpus in settings.captioned_corpora().items()
            for size in [(corpus.train, corpus.val, corpus.test)]
        ),
        Row(
            "training",
            f"{sum(seeds.values())} trainings of {how.steps} steps, batch {how.batch}, {settings.training.trains}",
            disk=sum(seeds.values()) * 4 * counted.parameters / 1e9,
            accelerator=_hours(trainings * step),
        ),
        Row(
            "training",
            f"resume state while one runs: {checkpoints.KEPT} checkpoints and the next",
            disk=(checkpoints.KEPT + 1) * costs.SAVED_BYTES * counted.trained_parameters / 1e9,
        ),
        Row(
            "embeddings",
            f"{evaluated} clips by {models} models",
            accelerator=_hours(models * evaluated * counted.clip(frames, slices)),
        ),
        *_matching(settings, target, counted),
        Row("retrieval", f"ranks of the embeddings by {models} models, streamed on the CPU"),
        Row("reporting", "from stored ranks", cpu=0.1),
    ]


def _features(settings: Settings, target: str, counted: Costs) -> list[Row]:
    """All splits through the frozen towers: what the initial model's evidence (table1) and tuning's trials read."""
    from pipeline.models import eva_clip

    if target != "table1" and not any(settings.run(run).tuned for run in settings.tables[target].runs):
        return []
    sizes, chunks = settings.corpora.values(), settings.media.chunks
    clips = sum(corpus.train + corpus.val + corpus.test for corpus in sizes)
    frames = chunks * (clips + (settings.media.train_slots - 1) * sum(corpus.train for corpus in sizes))
    slices = clips * settings.audio.slices
    what = f"{frames:,} frames, {slices:,} slices through the frozen towers"
    disk = 2 * (frames * eva_clip.REAL.width + clips * settings.audio.width) / 1e9
    operations = frames * counted.frame.forward + slices * counted.slice.forward
    return [Row("features", what, disk=disk, accelerator=_hours(operations))]


def _matching(settings: Settings, target: str, counted: Costs) -> list[Row]:
    """Own matching of the target's runs: each test clip is encoded again and meets what any score finds first."""
    from pipeline.geometry import SCORES

    runs = [run for run in settings.tables[target].runs if settings.matched_by(run) == "own"]
    models, clips = sum(map(settings.seeds, runs)), sum(settings.corpora[one].test for one in settings.benchmarks())
    scores, k = len(SCORES) + 1, settings.retrieval.rerank  # and `fused`
    pairs = 2 * clips * k * scores
    operations = clips * counted.clip(settings.media.chunks, settings.audio.slices) + pairs * counted.pair.forward
    what = f"top {k} of {2 * clips} queries by {scores} scores (≤ {pairs / 1e6:.1f} M pairs), {models} models"
    return [Row("matching", what, accelerator=_hours(models * operations))] if runs else []


def _weights(settings: Settings, target: str) -> Row:
    from pipeline.models.sources import needed

    files = needed(settings, target)
    size = sum(source.gigabytes for _, source in files.values())
    return Row("weights", ", ".join(files), download=size, disk=size)


def _corpora(settings: Settings) -> list[Row]:
    from pipeline.corpora import sources

    listed = []
    for name, corpus in settings.corpora.items():
        clips = corpus.train + corpus.val + corpus.test
        slots = corpus.train * settings.media.train_slots + corpus.val + corpus.test
        registry = str(corpus.options.get("annotations", name))
        length = sources.SOURCES[registry].seconds if registry in sources.SOURCES else settings.media.seconds
        shards = slots * settings.media.chunks * FRAME_BYTES
        shards += clips * min(settings.media.seconds, length) * SOUND_BYTES
        if corpus.kind == "annotated" and registry in sources.SOURCES:
            entry = sources.SOURCES[registry]
            size = entry.media_gigabytes + sum(file.megabytes for file in entry.files) / 1e3
            hours = (entry.media_gigabytes * 1e9 / POLITE_BYTES + clips * POLITE_PAUSE) / 3600
            how = f"download, {hours:,.0f} h politely" if corpus.options.get("download") else "by hand, see below"
            listed.append(
                Row("corpora", f"{name}: {clips:,} clips, {how}", size, size, clips * length * VERIFY_SECONDS / 3600)
            )
        listed.append(
            Row(
                "media",
                f"{name}: {settings.media.chunks} frames and sound",
                0.0,
                shards / 1e9,
                clips * DECODE_SECONDS / 3600,
            )
        )
    return listed


def gigabytes(settings: Settings, target: str) -> float:
    """Disk that a target needs."""
    return sum(row.disk for row in rows(settings, target))


@dataclass(frozen=True)
class Rank:
    """Bytes that one of the processes of a training needs on its accelerator; `clips` pass it at once."""

    weights: float
    conditions: float
    clip: float
    clips: int

    @property
    def needed(self) -> float:
        """All of it."""
        return self.weights + self.conditions + self.clips * self.clip + OVERHEAD

    def fits(self, memory: float) -> int:
        """Clips that can pass an accelerator of `memory` bytes at once."""
        return max(0, int((memory - OVERHEAD - self.weights - self.conditions) // self.clip))


def rank(settings: Settings) -> Rank:
    """What a process of a training at paper scale needs."""
    frames, counted = _training(settings)
    how = settings.training.optimisation
    local = how.batch // max(settings.training.devices, 1)
    return Rank(
        weights=counted.weights(),
        conditions=local * counted.condition if settings.vast.matching_weight else 0.0,
        clip=counted.activations(1, frames, settings.audio.slices),
        clips=min(how.micro_batch or local, local),
    )


def memory(settings: Settings) -> str:
    """The memory of a rank, with the largest micro-batch that fits the paper's accelerator."""
    counted, one = _training(settings)[1], rank(settings)
    return "\n".join(
        (
            f"memory a rank: {one.needed / 1e9:.1f} GB with {one.clips} clips a micro-batch; "
            f"{MEMORY / 1e9:.0f} GB hold {one.fits(MEMORY)}",
            f"  {one.weights / 1e9:.1f} weights, their bf16 copies, gradients and moments "
            f"({counted.trained_parameters / 1e6:.1f} M of {counted.parameters / 1e6:.1f} M parameters trained)",
            f"  {one.clips} × {one.clip / 1e9:.1f} activations of a clip, {one.conditions / 1e9:.1f} condition tokens, "
            f"{OVERHEAD / 1e9:.0f} overhead",
        )
    )


def _training(settings: Settings) -> tuple[int, Costs]:
    """Frames of a training clip and the costs of the model on it."""
    from pipeline import costs

    frames = settings.training.frames or settings.media.chunks
    return frames, costs.released(frames, settings.audio.slices, settings.audio.bins, settings.vast.text.length)


def _small(settings: Settings, target: str) -> list[Row]:
    """Mini and smoke: minutes of two cores, from measured speeds."""
    import torch

    from pipeline import low_precision

    slower = 1.0 if low_precision.multiplies(torch.device("cpu")) else 2.5  # products in float32
    clips = sum(corpus.train + corpus.val + corpus.test for corpus in settings.corpora.values())
    trainings = sum(settings.seeds(run) for run in settings.tables[target].runs if settings.trained(run))
    how = settings.training.optimisation
    return [
        Row(
            "corpora",
            f"{clips} rendered clips",
            download=0.2 if settings.scale == "mini" else 0.0,
            disk=clips * 40e3 / 1e9,
            cpu=clips * 0.02 / 3600,
        ),
        Row("media", "frames and waveforms", disk=clips * 0.4e6 / 1e9, cpu=clips * 0.02 / 3600),
        Row("features", "frozen towers", disk=clips * 30e3 / 1e9, cpu=slower * clips * 0.03 / 3600),
        Row(
            "vast",
            f"{settings.vast.optimisation.steps} steps",
            cpu=slower * settings.vast.optimisation.steps * 1.2 / 3600,
        ),
        Row("training", f"{trainings} trainings of {how.steps} steps", cpu=trainings * how.steps * 0.025 / 3600),
        Row("retrieval", "ranks, matching, table", cpu=0.1),
    ]


def _hours(operations: float) -> float:
    return operations / (PEAK * UTILISATION) / 3600


def _missing(settings: Settings, target: str) -> None:
    from pipeline import doctor

    absent = [check for check in doctor.checks(settings, target) if check.state == "missing"]
    print(f"\nmissing on this machine: {len(absent) or 'nothing'}")
    for check in absent:
        print(doctor.told(check))
