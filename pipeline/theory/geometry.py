"""Geometry of a table's stored embeddings: gaps, divergences, collinearity, spread — what stands beside R@1.

Test tuples of each corpus, all seeds. Gap: distance of the modalities' means (Liang et al. 2022), Fréchet distance,
both the mean over pairs of modalities; Hölder divergence (Eq. 24) at the paper's width 0.07 and at 0.5, where kernels
reach beyond the nearest neighbour; lambda_1(G)/M; alignment to the text (Eq. 10), uniformity (Eq. 9) at 0.07 and 0.5,
mean over modalities; effective rank; zeta and chi as printed, mean over anchors.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor

from pipeline import paths, tuples
from pipeline.estimates import estimate
from pipeline.files import write_json
from pipeline.geometry import (
    alignment,
    collinearity,
    conflict,
    effective_rank,
    frechet_distance,
    holder_divergence,
    modality_gap,
    uniformity,
)
from pipeline.settings import Settings

WIDTH, WIDE = 0.07, 0.5
#: Captions a corpus at most: divergences grow quadratically.
LIMIT = 1000


def geometry(settings: Settings, table: str) -> None:
    """Write theory/geometry/<table>.json: all measures of every run, benchmark and the benchmarks' mean, over seeds."""
    entry = settings.tables[table]
    records = []
    for run in entry.runs:
        seeds = range(min(settings.seeds(run), entry.seeds))
        corpora = settings.run(run).corpora or settings.benchmarks()
        values: dict[tuple[str, str], list[float]] = {}
        counts = dict.fromkeys(corpora, 0)
        for corpus in corpora:
            for seed in seeds:
                z = tuples.read(paths.embeddings(settings, run, seed, corpus), limit=LIMIT)
                counts[corpus] = z.shape[1]
                for name, value in measures(z).items():
                    values.setdefault((corpus, name), []).append(value)
        for name in dict.fromkeys(name for _, name in values):
            per_corpus = [values[corpus, name] for corpus in corpora]
            values["average", name] = [sum(one) / len(one) for one in zip(*per_corpus, strict=True)]
        for (corpus, name), found in values.items():
            about = {
                "run": run,
                "corpus": corpus,
                "measure": name,
                "captions": counts.get(corpus, sum(counts.values())),
            }
            records.append(about | estimate(found, len(found)))
    notes = {"intervals": "Student's 95 % over seeds", "width": WIDTH, "wide": WIDE, "split": "test"}
    write_json(paths.theory(settings, f"geometry/{table}"), {"table": table, "records": records, "notes": notes})


@torch.no_grad()
def measures(z: Tensor) -> dict[str, float]:
    """All measures of unit tuples `z [M, B, D]`, text first."""
    conflicts = [conflict(z, anchor, WIDTH) for anchor in range(len(z))]
    return {
        "gap": _over_pairs(z, modality_gap),
        "frechet": _over_pairs(z, frechet_distance),
        "holder": float(holder_divergence(z, WIDTH)),
        "holder_wide": float(holder_divergence(z, WIDE)),
        "collinearity": float(collinearity(z).mean()),
        "alignment": float(alignment(z)),
        "uniformity": sum(float(uniformity(x, WIDTH)) for x in z) / len(z),
        "uniformity_wide": sum(float(uniformity(x, WIDE)) for x in z) / len(z),
        "effective_rank": sum(float(effective_rank(x)) for x in z) / len(z),
        "zeta": float(torch.stack([zeta for zeta, _ in conflicts]).mean()),
        "chi": float(torch.stack([chi for _, chi in conflicts]).mean()),
    }


def _over_pairs(z: Tensor, distance: Callable[[Tensor, Tensor], Tensor]) -> float:
    found = [float(distance(x, y)) for x, y in combinations(z, 2)]
    return sum(found) / len(found)
