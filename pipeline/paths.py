"""Where every artefact lies, relative to the project: the contract between stages, shared with the Snakefile."""

from __future__ import annotations

from pathlib import Path

from pipeline.digests import digest
from pipeline.settings import Settings

SPLITS = ("train", "val", "test")


def corpus_dir(settings: Settings, corpus: str) -> Path:
    """Folder of a corpus."""
    return Path("data") / settings.folder / corpus


def plan(settings: Settings, corpus: str) -> Path:
    """What is to be rendered or downloaded: one row a clip."""
    return corpus_dir(settings, corpus) / "plan.parquet"


def media(settings: Settings, corpus: str) -> Path:
    """Folder of a corpus's media files; what is not rendered but downloaded is the same for all presets."""
    folder = settings.scale if settings.corpus(corpus).kind == "annotated" else settings.folder
    return Path("data") / folder / corpus / "media"


def fetched(settings: Settings, corpus: str, shard: str) -> Path:
    """What became of a shard's downloads, which lie in `media`."""
    return Path("state") / settings.scale / "fetch" / corpus / f"{shard}.jsonl"


def shards(settings: Settings, corpus: str) -> list[str]:
    """Names of a corpus's shards, `<split>-<number>`, in the order of the plan."""
    entry = settings.corpus(corpus)
    return [f"{split}-{number}" for split in SPLITS for number in range(entry.shards.get(split, 0))]  # type: ignore[call-overload]


def rendered(settings: Settings, corpus: str, shard: str) -> Path:
    """Outcome of rendering (or fetching) a shard's clips."""
    return corpus_dir(settings, corpus) / "rendered" / f"{shard}.parquet"


def shard(settings: Settings, corpus: str, name: str) -> Path:
    """Decoded frames and waveforms of a shard."""
    return (
        corpus_dir(settings, corpus)
        / "shards"
        / f"{name}.{'safetensors' if settings.media.storage == 'raw' else 'tar'}"
    )


def decoded(settings: Settings, corpus: str, name: str) -> Path:
    """Outcome of decoding a shard's clips."""
    return corpus_dir(settings, corpus) / "shards" / f"{name}.parquet"


def manifest(settings: Settings, corpus: str) -> Path:
    """The clip table of a corpus."""
    return corpus_dir(settings, corpus) / "manifest.parquet"


def coverage(settings: Settings, corpus: str) -> Path:
    """Usable clips of a corpus by split, and the galleries that they make."""
    return corpus_dir(settings, corpus) / "coverage.json"


def decode_digest(settings: Settings, corpus: str) -> str:
    """Digest of all settings that a corpus's decoded frames and waveforms depend on: each of its shards carries it."""
    media = settings.media.model_dump(exclude={"time_limit", "workers", "coverage"})
    return digest([media, settings.geometry(corpus), settings.seed])


def tower_digest(settings: Settings, modality: str) -> str:
    """Name of a tower with the digest of all that its outputs depend on (but the data)."""
    tower = settings.vision if modality == "vision" else settings.audio
    media = settings.media.model_dump(exclude_defaults=True)  # a setting that is added later renames nothing
    released = settings.vast.released
    # The released model holds the towers: another file, other towers.
    made_of = [tower.model_dump(), media, settings.seed, *([released.model_dump()] if released else [])]
    return f"{modality}-{tower.name}-{digest(made_of, 8)}"


def tower_weights(settings: Settings, modality: str) -> Path:
    """Weights of a frozen tower, converted or trained once."""
    return Path("models") / settings.folder / "towers" / modality / "weights.safetensors"


def features(settings: Settings, modality: str, corpus: str) -> Path:
    """Outputs of a frozen tower on a corpus."""
    return Path("features") / settings.folder / tower_digest(settings, modality) / f"{corpus}.safetensors"


def model(settings: Settings, run: str, seed: int) -> Path:
    """Folder of a trained model: weights.safetensors, run.json, metrics.jsonl."""
    return Path("models") / settings.folder / run / str(seed)


def pooled(settings: Settings, corpus: str, initial: str = "vast") -> Path:
    """Pooled features of a corpus by an initial model: what the runs train on."""
    return Path("models") / settings.folder / initial / "pooled" / f"{corpus}.safetensors"


def evidence(settings: Settings) -> Path:
    """What the initial model has learnt, part by part."""
    return Path("results") / settings.folder / "tables" / "vast.json"


def captions(settings: Settings, corpus: str) -> Path:
    """Captions that the initial model wrote."""
    return Path("captions") / settings.folder / f"{corpus}.jsonl"


def embeddings(settings: Settings, run: str, seed: int, corpus: str) -> Path:
    """Embeddings of a corpus by a trained model."""
    return Path("embeddings") / settings.folder / run / str(seed) / f"{corpus}.safetensors"


def matching(settings: Settings, corpus: str) -> Path:
    """Matching probabilities of a fixed gallery by the initial model."""
    return Path("matching") / settings.folder / "vast" / f"{corpus}.safetensors"


def own_matching(settings: Settings, run: str, seed: int, corpus: str) -> Path:
    """Matching probabilities of what a run's first stage finds, by the run itself."""
    return Path("matching") / settings.folder / run / str(seed) / f"{corpus}.safetensors"


def ranks(settings: Settings, run: str, seed: int, corpus: str) -> Path:
    """Ranks of the truth of each query."""
    return Path("ranks") / settings.folder / run / str(seed) / f"{corpus}.parquet"


def study(settings: Settings, run: str, seed: int, corpus: str) -> Path:
    """Ranks where clips lose modalities, hubness and collinearity: the study of the scores."""
    return Path("ranks") / settings.folder / run / str(seed) / "study" / f"{corpus}.parquet"


def table(settings: Settings, name: str, kind: str) -> Path:
    """A table as json, csv or md."""
    return Path("results") / settings.folder / "tables" / f"{name}.{kind}"


def figure(settings: Settings, name: str, kind: str) -> Path:
    """A figure as png or svg."""
    return Path("results") / settings.folder / "figures" / f"{name}.{kind}"


def theory(settings: Settings, name: str) -> Path:
    """Measurements of a part of the theory."""
    return Path("results") / settings.folder / "theory" / f"{name}.json"


def trace(settings: Settings, run: str) -> Path:
    """Conflicts and collapse of a run, followed through its training."""
    return Path("results") / settings.folder / "theory" / "traces" / f"{run}.json"


def tuning(settings: Settings, method: str) -> Path:
    """All trials of a method's tuning and its winner."""
    return Path("models") / settings.folder / "tuning" / f"{method}.json"


def polyglot(settings: Settings) -> Path:
    """Picture, caption and speech in all languages of the clips that have them all."""
    return Path("data") / settings.folder / "polyglot" / "tracks.safetensors"


def polyglot_features(settings: Settings) -> Path:
    """Frozen features of the same."""
    return Path("features") / settings.folder / "polyglot.safetensors"


def state(settings: Settings, *parts: str) -> Path:
    """Folder of resume state, outside all declared outputs."""
    return Path("state") / settings.folder / Path(*parts)
