"""Corollaries 1 and 2 as numbers: simulated under Assumption 1, and on trained embeddings, saying where they hold.

Corollary 1 (Eq. 6): zeta = cos(V, Phi) -> 1 with M, if Phi = sum_n (c_n V^ + eps_n) with c_n >= c_0 > 0 and independent
residuals of mean zero. Simulated in its weakest case c_n = c_0, residuals orthogonal to V^ (as the proof takes them)
with E|eps|^2 = 1; the only parameter is r = c_0 / noise. Two departures show what the assumption carries: residuals
that share a direction keep zeta at r / sqrt(r^2 + rho), and without c_0 (c_n of mean zero) zeta stays near 0.

Corollary 2 (Eq. 7-8): E[chi] >= 1 - sqrt((1 + (M - 2) mu) / (M - 1)) -> 1 - sqrt(mu). The statement takes mu over all
pairs m != n; its proof sums over pairs without the anchor. Both are given on trained embeddings: with the proof's mu
the bound is Jensen's inequality and must hold, with the statement's it need not.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from pipeline import figures, paths, tuples
from pipeline.estimates import estimate
from pipeline.files import write_json
from pipeline.geometry import conflict, conflict_bound, unit
from pipeline.loop import generator
from pipeline.settings import Settings

#: c_0 over the residuals' length.
RATIOS = (0.05, 0.1, 0.2, 0.5, 1.0)
MEAN_COSINES = (0.0, 0.25, 0.5, 0.75, 0.9)
#: Share of the residuals' variance that all modalities have in common in the departure.
SHARED = 0.25
TEMPERATURE = 0.07


def simulate_zeta(
    others: int,
    ratio: float,
    draws: int,
    dimension: int,
    source: torch.Generator,
    shared: float = 0.0,
    signed: bool = False,
) -> Tensor:
    """zeta [draws] of M - 1 = `others` modalities: c_n = ratio (`signed`: of random sign), residuals of length about 1.

    `shared` is the share of the residuals' variance that all modalities have in common.
    """

    def residual() -> Tensor:
        return torch.randn(draws, dimension - 1, generator=source, dtype=torch.float64) / (dimension - 1) ** 0.5

    # The sum of `others` independent normal residuals is one normal vector of that many times the variance.
    across = ((1 - shared) * others) ** 0.5 * residual() + others * shared**0.5 * residual()
    signs = torch.ones(draws, others)
    if signed:
        signs = torch.randint(0, 2, (draws, others), generator=source) * 2 - 1
    along = ratio * signs.double().sum(1)
    return along / (along.square() + across.square().sum(1)).sqrt()


def simulate_chi(modalities: int, mean_cosine: float, draws: int, dimension: int, source: torch.Generator) -> Tensor:
    """chi [draws] of unit vectors whose expected cosine is `mean_cosine` for every pair."""
    noise = unit(torch.randn(modalities, draws, dimension - 1, generator=source, dtype=torch.float64))
    common = torch.full((modalities, draws, 1), mean_cosine**0.5, dtype=torch.float64)
    z = torch.cat([common, (1 - mean_cosine) ** 0.5 * noise], -1)
    return torch.cat([conflict(part, 0, TEMPERATURE)[1] for part in z.split(50, 1)])


def on_embeddings(z: Tensor, anchor: int, temperature: float = TEMPERATURE) -> dict[str, float]:
    """Both corollaries on tuples `z [M, B, D]`: chi against its bounds, and what Assumption 1 says of the forces."""
    zeta, chi = conflict(z, anchor, temperature)
    without, _ = conflict(z, anchor, temperature, exclude_self=True)
    cosines = {pair: float((z[pair[0]] * z[pair[1]]).sum(-1).mean()) for pair in combinations(range(len(z)), 2)}
    among = [value for pair, value in cosines.items() if anchor not in pair] or [1.0]
    stated, proved = sum(cosines.values()) / len(cosines), sum(among) / len(among)
    return {
        "zeta": float(zeta.mean()),
        "zeta_without_self": float(without.mean()),
        "chi": float(chi.mean()),
        "mean_cosine_stated": stated,
        "mean_cosine_proved": proved,
        "bound_stated": float(conflict_bound(len(z), max(stated, 0.0))),
        "bound_proved": float(conflict_bound(len(z), max(proved, 0.0))),
    } | assumption(z, anchor, temperature)


def assumption(z: Tensor, anchor: int, temperature: float = TEMPERATURE) -> dict[str, float]:
    """Assumption 1 on tuples `z [M, B, D]`: forces Phi^(n) = c_n V^ + eps_n over negatives alone (k != i).

    How often c_n > 0, its mean and its 5 % quantile (a c_0 > 0 would lie below it); |mean eps| over mean |eps| (0: mean
    zero); the mean cosine of two modalities' residuals (0: independent); and the zeta that independent residuals of
    these lengths would have, sum c_n / sqrt((sum c_n)^2 + sum |eps_n|^2), to be held against `zeta_without_self`.
    """
    others = [m for m in range(len(z)) if m != anchor]
    direction = unit(z[others].sum(0))
    forces = torch.stack([_repulsion(z[anchor], z[n], temperature) for n in others])
    along = (forces * direction).sum(-1)
    residual = forces - along[..., None] * direction
    lengths, ways = residual.norm(dim=-1), unit(residual)
    pairs = [float((ways[i] * ways[j]).sum(-1).mean()) for i, j in combinations(range(len(others)), 2)]
    total = along.sum(0)
    expected = total / (total.square() + lengths.square().sum(0)).sqrt()
    return {
        "systematic_share": float((along > 0).double().mean()),
        "systematic": float(along.mean()),
        "systematic_low": float(along.flatten().double().quantile(0.05)),
        "residual_mean": float((residual.mean(1).norm(dim=-1) / lengths.mean(1)).mean()),
        "residual_cosine": sum(pairs) / len(pairs) if pairs else 0.0,
        "zeta_if_independent": float(expected.mean()),
    }


def _repulsion(anchor: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Phi^(n) of each row over negatives alone (k != i), without the factor 1/T: `[B, D], [B, D] -> [B, D]`."""
    p = (anchor @ other.mT / temperature).softmax(1)
    return (p - p.diagonal().diag()) @ other


def corollaries(settings: Settings) -> None:
    """Write theory/corollaries.json and two figures: simulated, and on the traced runs' embeddings."""
    theory = settings.theory
    first = [
        {"M": m, "ratio": r, "case": case, "limit": limit}
        | estimate(
            simulate_zeta(m - 1, r, theory.draws, theory.dimension, generator(settings.seed, m, n), shared, signed), 0
        )
        for case, shared, signed, limit_of in (
            ("assumption 1", 0.0, False, lambda r: 1.0),
            ("residuals share a direction", SHARED, False, lambda r: r / (r * r + SHARED) ** 0.5),
            ("no systematic part", 0.0, True, lambda r: None),
        )
        for n, r in enumerate(RATIOS)
        for limit in (limit_of(r),)
        for m in theory.counts
    ]
    second = [
        {
            "M": m,
            "mean_cosine": mu,
            "bound": float(conflict_bound(m, mu)),
            "limit": 1 - mu**0.5,
        }
        | estimate(simulate_chi(m, mu, _fitting(theory.draws, m), theory.dimension, generator(settings.seed, m, n)), 0)
        for n, mu in enumerate(MEAN_COSINES)
        for m in theory.counts
    ]
    for row in second:
        row["holds"] = row["value"] >= row["bound"] - 1e-9 or (row["ci_high"] or 0.0) >= row["bound"]
    trained = _trained(settings, settings.theory.trace)
    write_json(
        paths.theory(settings, "corollaries"),
        {
            "corollary1": first,
            "corollary2": second,
            "trained": trained,
            "notes": {
                "intervals": "Student's 95 % over draws (simulation) or seeds (trained embeddings)",
                "temperature": TEMPERATURE,
                "shared": SHARED,
                "holds": "simulated: chi is at least the bound, or its interval reaches it; trained: the interval over "
                "seeds of chi less the bound is not negative (true), all negative (false) or neither (null)",
            },
        },
    )
    _figure1(settings, first)
    _figure2(settings, second, trained)


def _fitting(draws: int, modalities: int) -> int:
    """Fewer draws where one is large: at most two million numbers a cell of 64 dimensions."""
    return max(min(draws, 30_000 // modalities), 30)


def _trained(settings: Settings, runs: Iterable[str]) -> list[dict[str, Any]]:
    rows = []
    for run in runs:
        for corpus in settings.benchmarks():
            seeds = list(range(settings.seeds(run)))
            files = [paths.embeddings(settings, run, seed, corpus) for seed in seeds]
            stacks = [tuples.read(file, limit=settings.theory.trace_rows * 4) for file in files]
            for anchor, name in enumerate(tuples.MODALITIES[: len(stacks[0])]):
                found = [on_embeddings(z, anchor) for z in stacks]
                measures = {key: estimate([one[key] for one in found], len(seeds)) for key in found[0]}
                bounds = ("bound_stated", "bound_proved")
                margins = {b: estimate([one["chi"] - one[b] for one in found], len(seeds)) for b in bounds}
                rows.append(
                    {
                        "run": run,
                        "corpus": corpus,
                        "anchor": name,
                        "M": len(stacks[0]),
                        "captions": stacks[0].shape[1],
                        **{f"{name}_holds": _above(margin) for name, margin in margins.items()},
                        **measures,
                    }
                )
    return rows


def _above(margin: dict[str, Any]) -> bool | None:
    """Whether chi less a bound is not negative over seeds; None where its interval reaches to both sides."""
    low, high = (margin["value"] if margin[end] is None else margin[end] for end in ("ci_low", "ci_high"))
    if low >= -1e-6:
        return True
    return False if high < -1e-6 else None


def _figure1(settings: Settings, rows: list[dict[str, Any]]) -> None:
    cases = list(dict.fromkeys(row["case"] for row in rows))
    figure, panels = figures.canvas(1, len(cases))
    for axes, case in zip(panels, cases, strict=True):
        for ratio, colour in zip(RATIOS, figures.COLOURS, strict=False):
            points = [row for row in rows if row["case"] == case and row["ratio"] == ratio]
            figures.curve(axes, [p["M"] for p in points], points, colour, f"{ratio:g}")
            if points[0]["limit"] is not None:
                axes.axhline(points[0]["limit"], color=colour, linewidth=0.6, linestyle=":")
        axes.set(title=case, xlabel="modalities M", xscale="log", ylim=(-0.1, 1.05))
    panels[0].set_ylabel("E[ζ] (dotted: limit)")
    panels[0].legend(title="c₀ / noise", fontsize=7, title_fontsize=7)
    figures.save(settings, "corollary1", figure)


def _figure2(settings: Settings, rows: list[dict[str, Any]], trained: list[dict[str, Any]]) -> None:
    figure, panels = figures.canvas(1, 2, width=4.6)
    for mu, colour in zip(MEAN_COSINES, figures.COLOURS, strict=False):
        points = [row for row in rows if row["mean_cosine"] == mu]
        counts = [p["M"] for p in points]
        figures.curve(panels[0], counts, points, colour, f"{mu:g}")
        panels[0].plot(counts, [p["bound"] for p in points], color=colour, linestyle="--", linewidth=0.9)
        panels[0].axhline(1 - mu**0.5, color=colour, linewidth=0.6, linestyle=":")
    panels[0].set(xscale="log", xlabel="modalities M", ylabel="E[χ] (dashed: bound, dotted: limit)", title="simulated")
    panels[0].legend(title="mean cosine", fontsize=7, title_fontsize=7)
    for run, colour in zip(dict.fromkeys(row["run"] for row in trained), figures.COLOURS, strict=False):
        chosen = [row for row in trained if row["run"] == run]
        x, y = [row["bound_stated"]["value"] for row in chosen], [row["chi"]["value"] for row in chosen]
        panels[1].scatter(x, y, color=colour, s=16, label=run)
    top = max([row["chi"]["value"] for row in trained] + [0.3]) * 1.1
    panels[1].plot([0, top], [0, top], color="grey", linewidth=0.8)
    panels[1].set(xlabel="bound with the mean cosine as stated", ylabel="χ", title="trained (fails below the line)")
    if trained:
        panels[1].legend(fontsize=7)
    figures.save(settings, "corollary2", figure)
