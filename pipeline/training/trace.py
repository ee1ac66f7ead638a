"""A run followed through its training: conflicts (Eq. 3-4), divergence, gap and collapse every few steps, from step 0.

Training is a function of (seed, step) that validation does not touch, so the training is played again with a denser
validation and passes through the very same weights (tested). Where runs train everything, the heads alone are traced,
as in tuning: a proxy, said in the file. Measured on a fixed part of each val split. zeta and chi are InfoNCE's forces
at temperature 0.07 on whatever the embeddings are, the mean over anchors; `force` is what every objective has,
cos(-grad attraction, grad repulsion) of its own two terms at the unit embeddings that it trains (modalities, or text
and fused conditions), hence in the sphere's tangent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pipeline import paths
from pipeline.collapse import collapse
from pipeline.digests import code_digest, digest
from pipeline.estimates import estimate
from pipeline.files import sha256, write_json
from pipeline.geometry import conflict, force_conflict, holder_divergence
from pipeline.models.heads import Heads
from pipeline.objectives import FUSED, OBJECTIVES
from pipeline.pooled import Pooled, dense, read
from pipeline.settings import Settings
from pipeline.training.data import load
from pipeline.training.train import Recipe, begin, fit, initial_heads, lines, recipe
from pipeline.tuples import distinct

TEMPERATURE = 0.07


def trace(settings: Settings, run: str) -> None:
    """Play the first seeds of a run again and write its measures by step to theory/traces/<run>.json."""
    theory = settings.theory
    how = recipe(settings, run)
    optimisation = how.optimisation.model_copy(update={"validate_every": theory.trace_every})
    how = replace(how, optimisation=optimisation)
    origin = settings.initial(run)
    files = {corpus: paths.pooled(settings, corpus, origin) for corpus in how.corpora}
    data = load(list(files.values()), how.modalities)
    watched = {corpus: rows(read(file, "val", how.modalities), theory.trace_rows) for corpus, file in files.items()}
    weights = paths.model(settings, origin, 0) / "weights.safetensors"
    initial = initial_heads(weights)
    stamps = [how.plain(), code_digest("pipeline.training.trace"), sha256(weights), theory.trace_rows]
    stamps += [[sha256(file) for file in files.values()]]

    def measure(heads: Heads) -> dict[str, float]:
        return measures(heads, how, watched)

    series: list[list[dict[str, Any]]] = []
    for seed in range(theory.trace_seeds):
        with torch.no_grad():
            first = {"step": 0} | measure(begin(how, data, initial, seed))
        state = paths.state(settings, "trace", run, digest([*stamps, seed]))
        fit(how, data, initial, measure, state, seed, f"trace of {run} seed {seed}")
        series.append([first, *(line for line in lines(state) if "mean/zeta" in line)])
    steps = [line["step"] for line in series[0]]
    keys = [key for key in series[0][0] if key != "step"]
    seeds = len(series)
    write_json(
        paths.trace(settings, run),
        {
            "run": run,
            "steps": steps,
            "seeds": seeds,
            "temperature": TEMPERATURE,
            "trace_trains": "heads",
            "runs_train": settings.trains(run),
            "captions": {corpus: len(features["text"]) for corpus, features in watched.items()},
            "measures": {
                key: [estimate([one[at][key] for one in series], seeds) for at in range(len(steps))] for key in keys
            },
        },
    )


def rows(split: Pooled, limit: int) -> dict[str, Tensor]:
    """Features [B, width] by modality of the first distinct captions and their clips, all of whose modalities exist."""
    items = {name: dense(tensor)[split.clip] for name, tensor in split.items.items()}
    whole = torch.stack([tensor.ne(0).any(1) for tensor in items.values()]).all(0).nonzero()[:, 0]
    whole = whole[distinct(split.text[whole])][:limit]
    return {"text": split.text[whole]} | {name: tensor[whole] for name, tensor in items.items()}


def measures(heads: Heads, how: Recipe, watched: Mapping[str, dict[str, Tensor]]) -> dict[str, float]:
    """All measures as `<corpus>/<measure>` and, over corpora, `mean/<measure>`."""
    found = {}
    for corpus, features in watched.items():
        for key, value in _measured(heads, how, features).items():
            found[f"{corpus}/{key}"] = value
    names = dict.fromkeys(key.split("/", 1)[1] for key in found)
    means = {f"mean/{name}": sum(found[f"{corpus}/{name}"] for corpus in watched) / len(watched) for name in names}
    return found | means


def _measured(heads: Heads, how: Recipe, features: dict[str, Tensor]) -> dict[str, float]:
    embeddings, fused = heads(features, how.objective in FUSED)
    z = torch.stack(list(embeddings.values()))
    anchors = range(len(z))
    printed = [conflict(z, anchor, TEMPERATURE) for anchor in anchors]
    without = [conflict(z, anchor, TEMPERATURE, exclude_self=True)[0] for anchor in anchors]
    return {
        "zeta": float(torch.stack([zeta for zeta, _ in printed]).mean()),
        "zeta_without_self": float(torch.stack(without).mean()),
        "chi": float(torch.stack([chi for _, chi in printed]).mean()),
        "force": force(embeddings, fused, heads.temperature.detach(), how),
        "holder": float(holder_divergence(z, TEMPERATURE)),
        **collapse(embeddings, how.objective),
    }


def force(embeddings: Mapping[str, Tensor], fused: Mapping[str, Tensor], temperature: Tensor, how: Recipe) -> float:
    """Mean of cos(-grad attraction, grad repulsion) over the rows of all embeddings that the objective pulls."""
    with torch.enable_grad():
        leaves = {name: z.detach().requires_grad_() for name, z in embeddings.items()}
        conditions = {name: z.detach().requires_grad_() for name, z in fused.items()}
        _, terms = OBJECTIVES[how.objective](leaves, conditions, temperature, how.settings)
        cosines = [
            force_conflict(terms["attraction"], terms["repulsion"], leaf)
            for leaf in (*leaves.values(), *conditions.values())
        ]
    pulled = [cosine for cosine in cosines if bool(cosine.ne(0).any())]
    return float(torch.cat(pulled).mean()) if pulled else 0.0
