"""Retrieval: scores, ranks, re-ranking, evaluation of anybody's embeddings, search. Importing the package is cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.geometry.ranking import ranks as ranks
    from pipeline.retrieval.gallery import write_embeddings as write_embeddings
    from pipeline.retrieval.subsets import between as between

_WHERE = {
    "between": "pipeline.retrieval.subsets",
    "ranks": "pipeline.geometry.ranking",
    "write_embeddings": "pipeline.retrieval.gallery",
}
__all__ = ["between", "ranks", "write_embeddings"]


def __getattr__(name: str) -> Any:
    """Each function on first use: they import torch."""
    from importlib import import_module

    if name not in _WHERE:
        raise AttributeError(f"module 'pipeline.retrieval' has no attribute '{name}'")
    return getattr(import_module(_WHERE[name]), name)
