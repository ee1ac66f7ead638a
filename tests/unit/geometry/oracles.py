"""Naive float64 loops that the fast functions are compared with: the printed equations, one sum at a time."""

import math

import torch


def tuples(modalities=3, batch=7, width=6, seed=0, unit=True):
    """Random embeddings `[M, B, D]` in float64."""
    z = torch.randn(modalities, batch, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return z / z.norm(dim=-1, keepdim=True) if unit else z


def determinant_volume(vectors):
    """sqrt(det G) of one tuple."""
    g = [[float(a @ b) for b in vectors] for a in vectors]
    return math.sqrt(max(float(torch.linalg.det(torch.tensor(g, dtype=torch.float64))), 0.0))


def every_pair(function, queries, items):
    """`function(query, item's vectors)` for all pairs."""
    rows = [[function(q, [v[j] for v in items]) for j in range(items.shape[1])] for q in queries]
    return torch.tensor(rows, dtype=torch.float64)


def squared(x, y, space):
    """Squared distance of two vectors in one of the two spaces."""
    if space == "euclidean":
        return float(((x - y) ** 2).sum())
    return math.acos(max(-1.0, min(1.0, float(x @ y)))) ** 2


def uniformity(z, width, space="euclidean", same=None):
    """Eq. 9 with the kernels of Table 4."""
    values = []
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i and not (same is not None and same[i, j])]
        if others:
            kernels = [math.exp(-squared(z[i], z[j], space) / (2 * width**2)) for j in others]
            values.append(math.log(sum(kernels) / len(others)))
    return sum(values) / len(values)


def alignment(z, anchor, space="euclidean"):
    """Eq. 10."""
    total = 0.0
    for i in range(z.shape[1]):
        for n in range(z.shape[0]):
            if n != anchor:
                total += squared(z[anchor, i], z[n, i], space)
    return total / (z.shape[1] * (z.shape[0] - 1))


def cross_entropy(logits, smoothing=0.0, same=None):
    """Row-wise cross entropy with the diagonal as target; equal captions leave the candidates."""
    total = 0.0
    for i in range(len(logits)):
        allowed = [j for j in range(logits.shape[1]) if j == i or same is None or not same[i, j]]
        normaliser = math.log(sum(math.exp(float(logits[i, j])) for j in allowed))
        for j in allowed:
            target = (1 - smoothing) * (j == i) + smoothing / len(allowed)
            total -= target * (float(logits[i, j]) - normaliser)
    return total / len(logits)


def symmetric(logits, smoothing=0.0, same=None):
    """Mean of both directions."""
    return (cross_entropy(logits, smoothing, same) + cross_entropy(logits.T, smoothing, same)) / 2


def holder(z, widths, leave_one_out=False, anchors=(0,)):
    """Eq. 20-24 with normalised kernels, outside log space."""
    modalities, batch, width = z.shape

    def kernel(x, y, tau):
        return math.exp(-squared(x, y, "euclidean") / (2 * tau**2)) / (2 * math.pi * tau**2) ** (width / 2)

    first = 0.0
    for m in range(modalities):
        powers = []
        for i in range(batch):
            near = [k for k in range(batch) if not (leave_one_out and k == i)]
            powers.append((sum(kernel(z[m, i], z[m, k], widths[m]) for k in near) / len(near)) ** (modalities - 1))
        first += math.log(sum(powers) / batch) / modalities
    joint = []
    for a in anchors:
        for i in range(batch):
            product = 1.0
            for m in range(modalities):
                if m != a:
                    product *= sum(kernel(z[a, i], z[m, k], widths[m]) for k in range(batch)) / batch
            joint.append(product)
    return first - math.log(sum(joint) / len(joint))


def conflict(z, anchor, temperature, exclude_self=False):
    """Eq. 3-4."""
    zetas, chis = [], []
    modalities, batch, width = z.shape
    for i in range(batch):
        pull, push = torch.zeros(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
        for n in range(modalities):
            if n == anchor:
                continue
            pull += z[n, i] / temperature
            weights = [math.exp(float(z[anchor, i] @ z[n, k]) / temperature) for k in range(batch)]
            for k in range(batch):
                if not (exclude_self and k == i):
                    push += weights[k] / sum(weights) * z[n, k] / temperature
        zetas.append(float(pull @ push / (pull.norm() * push.norm())))
        chis.append(1 - float(pull.norm()) / ((modalities - 1) / temperature))
    return torch.tensor(zetas, dtype=torch.float64), torch.tensor(chis, dtype=torch.float64)
