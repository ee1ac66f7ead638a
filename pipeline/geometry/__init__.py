"""Pure functions of embeddings: volumes, kernels, uniformity, alignment, gaps, conflicts, divergences, scores, ranks.

Imports torch alone. Shapes: one modality `[B, D]`, tuples `[M, B, D]`, queries `[N, D]` with items `[K, N', D]`.
"""

from pipeline.geometry.alignment import alignment
from pipeline.geometry.centroid import centroid
from pipeline.geometry.conflict import conflict, conflict_bound, force_conflict
from pipeline.geometry.contrast import contrast
from pipeline.geometry.dense import dense_ranks
from pipeline.geometry.explicit import dot
from pipeline.geometry.gap import collinearity, effective_rank, frechet_distance, modality_gap
from pipeline.geometry.holder import holder_divergence, holder_terms
from pipeline.geometry.hubness import Hubness, hubness, hubness_both
from pipeline.geometry.kernels import log_kernel, log_kernel_means, squared_geodesic
from pipeline.geometry.metrics import mean_rank, median_rank, mrr, recall_at
from pipeline.geometry.precision import unit
from pipeline.geometry.ranking import Ranks, ranks
from pipeline.geometry.residual import pairwise_residual
from pipeline.geometry.scores import SCORES, cosine_score, flipped, residual_score, volume_score
from pipeline.geometry.simplex import pairwise_area
from pipeline.geometry.subsets import SUBSET_SCORES
from pipeline.geometry.uniformity import uniformity
from pipeline.geometry.unit_volume import unit_volume
from pipeline.geometry.volume import factorised_volume, gram, pairwise_volume, volume

__all__ = [
    "SCORES", "SUBSET_SCORES", "Hubness", "Ranks", "alignment", "centroid", "collinearity", "conflict",
    "conflict_bound", "contrast", "cosine_score", "dense_ranks", "dot", "effective_rank", "factorised_volume",
    "flipped", "force_conflict", "frechet_distance", "gram", "holder_divergence", "holder_terms", "hubness",
    "hubness_both", "log_kernel", "log_kernel_means", "mean_rank", "median_rank", "modality_gap", "mrr",
    "pairwise_area", "pairwise_residual", "pairwise_volume", "ranks", "recall_at", "residual_score",
    "squared_geodesic", "uniformity", "unit", "unit_volume", "volume", "volume_score",
]  # fmt: skip
