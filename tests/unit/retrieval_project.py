"""A tiny project on disk: manifest, embeddings of a run, matching. Shared by the tests of retrieval and reporting."""

from collections.abc import Container
from pathlib import Path

import numpy as np
import torch

from pipeline import manifest, paths, ranks
from pipeline.files import load_metadata, load_tensors, save_tensors, sha256
from pipeline.geometry import unit
from pipeline.retrieval import write_embeddings
from pipeline.retrieval.runs import origin, run_gallery
from pipeline.settings import Settings, load

ROOT = Path(__file__).parents[2]


def settings(seeds: int = 2) -> Settings:
    """The smoke scale with `seeds` seeds of its trained runs."""
    whole = load("smoke", ROOT)
    runs = [run for run in whole.tables["table1"].runs if not whole.released(run)]
    table = whole.tables["table1"].model_copy(update={"seeds": seeds, "runs": runs})
    return whole.model_copy(update={"tables": {"table1": table}})


def clip_rows(n: int = 24, split: str = "test", equal: int = 2, silent: Container[int] = ()) -> list[dict]:
    """Manifest rows; each caption is carried by `equal` clips; those of `silent` have no sound."""
    return [
        {
            "clip_id": f"{split}{i}", "split": split, "captions": [f"{split} caption {i // equal}"],
            "media": f"{split}{i}.mp4", "tracks": "{}", "language": "",
            "modalities": ["text", "vision"] if i in silent else ["text", "vision", "audio"],
            "duration": 2.5, "status": "no_audio" if i in silent else "ok", "reason": "", "source": "made up",
            "licence": "MIT", "sha256": "",
            "shard": f"{split}-0", "row": i, "concepts": [f"thing{i % 5}"], "group": f"{split}{i // equal}",
        }
        for i in range(n)
    ]  # fmt: skip


def write_manifest(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest.write(path, manifest.frame(rows))


def features(n: int, noise: float, seed: int, equal: int = 2, width: int = 16) -> dict[str, torch.Tensor]:
    """Unit embeddings around one direction a caption: equal captions have equal texts."""
    torch.manual_seed(1000)
    truth = unit(torch.randn(n // equal + 1, width))[torch.arange(n) // equal]
    torch.manual_seed(seed)
    spread = {name: unit(truth + noise * torch.randn(n, width)) for name in ("vision", "audio")}
    return {"text": truth, **spread}


def write_run(settings: Settings, run: str, seed: int, corpus: str, noise: float) -> None:
    """Embeddings of both splits of a corpus (clips: 24 test, 12 val), of weights that name run and seed."""
    path, manifest = paths.embeddings(settings, run, seed, corpus), paths.manifest(settings, corpus)
    weights = paths.model(settings, run, seed) / "weights.safetensors"
    save_tensors(weights, {"weights": torch.tensor(float(seed))}, {"run": run})
    path.unlink(missing_ok=True)
    for split, n in (("test", 24), ("val", 12)):
        z = features(n, noise, seed)
        fused = {"va": unit(z["vision"] + z["audio"]), "v": z["vision"], "a": z["audio"]}
        names = [f"{split}{i}" for i in range(n)]
        write_embeddings(path, names, z.pop("text"), z, fused=fused, split=split, manifest=manifest)
    about = {"run": run, "seed": seed, "corpus": corpus, "model": sha256(weights)}
    save_tensors(path, load_tensors(path), load_metadata(path) | about)


def write_matching(settings: Settings, corpus: str) -> None:
    """A perfect matching by `vast` of 10 test clips and their 5 captions (each row twice)."""
    clips, captions = torch.arange(10), torch.arange(10)
    probability = (clips[None] // 2 == captions[:, None] // 2).float()
    tensors = {"clips": clips, "captions": captions, "probability": probability}
    weights = paths.model(settings, "vast", 0) / "weights.safetensors"
    save_tensors(weights, {"weights": torch.zeros(1)}, {"run": "vast"})
    about = {"ids": [f"test{i}" for i in range(10)], "manifest": sha256(paths.manifest(settings, corpus))}
    about |= {"model": sha256(weights)}
    save_tensors(paths.matching(settings, corpus), tensors, about)


def write_own_matching(settings: Settings, run: str, seed: int, corpus: str) -> None:
    """A perfect matching by a run of all pairs of its test gallery."""
    gallery, about = run_gallery(settings, run, seed, corpus), origin(settings, run, seed, corpus)
    right = torch.zeros(len(gallery.text_ids), len(gallery.ids))
    for text, clips in enumerate(gallery.hits):
        right[text, clips] = 1
    text, clip = torch.ones_like(right).nonzero(as_tuple=True)
    tensors = {"text": text.int(), "clip": clip.int(), "probability": right.flatten()}
    about |= {"ids": gallery.ids, "texts": gallery.text_ids, "k": settings.retrieval.rerank}
    save_tensors(paths.own_matching(settings, run, seed, corpus), tensors, about)


def write_project(
    settings: Settings, noise: dict[str, float], corpus: str = "scenes", silent: Container[int] = ()
) -> None:
    """Manifest, matching and embeddings of all seeds of the runs in `noise`; `silent`: test clips without sound."""
    rows = clip_rows(24, "test", silent=silent) + clip_rows(12, "val") + clip_rows(8, "train")
    write_manifest(paths.manifest(settings, corpus), rows)
    write_matching(settings, corpus)
    for run, level in noise.items():
        for seed in range(settings.seeds(run)):
            write_run(settings, run, seed, corpus, level)
            if settings.matched_by(run) == "own":
                write_own_matching(settings, run, seed, corpus)


def write_ranks(
    settings: Settings, levels: dict[str, float], corpus: str = "scenes", n: int = 200, own: bool = False
) -> None:
    """Ranks with known answers: a run at level l finds the first l * n queries of every ranking and no other.

    `own`: whole galleries and their items with audio re-ranked by the runs' own matching, not fixed ones by `vast`'s.
    """
    rows = clip_rows(n, "test", 1) + clip_rows(n, "val", 1) + clip_rows(8, "train", 1)
    write_manifest(paths.manifest(settings, corpus), rows)
    digest = sha256(paths.manifest(settings, corpus))
    for run, level in levels.items():
        for seed in range(settings.seeds(run)):
            found = [
                (
                    key,
                    _ranking(key, n, level + BONUS[key.score.removesuffix("+itm")] + 0.1 * key.score.endswith("+itm")),
                )
                for key in _keys(own)
            ]
            metadata = {"run": run, "seed": seed, "corpus": corpus, "manifest": digest}
            ranks.write(paths.ranks(settings, run, seed, corpus), found, metadata)


#: What a score finds beyond the run's level: `residual` is the best on validation.
BONUS = {"cosine": 0.0, "fused": -0.05, "volume": 0.0, "residual": 0.05}


def _keys(own: bool) -> list[ranks.Key]:
    joint, single = ("T2VA", "VA2T"), ("T2V", "V2T", "T2A", "A2T")
    full = [ranks.Key(s, ranks.FULL, d, b) for s in ("val", "test") for d in (*joint, *single) for b in BONUS]
    parts = ((ranks.FULL, ranks.ITM), (ranks.WITH_AUDIO, ""), (ranks.WITH_AUDIO, ranks.ITM))
    if not own:
        parts = ((ranks.MATCHED, ""), (ranks.MATCHED, ranks.ITM))
    return full + [ranks.Key("test", kind, d, b + step) for kind, step in parts for d in joint for b in BONUS]


def _ranking(key: ranks.Key, n: int, level: float) -> ranks.Ranking:
    names = np.array([f"{key.split}{i}" for i in range(n)])
    single = 0 if "VA" in key.direction else 0.2 + 0.1 * ("A" in key.direction)
    rank = np.where(np.arange(n) < round((level - single) * n), 1.0, 7.0)
    ones = np.ones(n, np.int64)
    return ranks.Ranking(names, names, rank, 0 * ones, 1 / rank, ones, n)
