"""Typed view of `params/`: one load for Snakemake, DVC and every stage; a wrong key or value is one line that names it.

`params/default.yaml` names the scale and holds what all scales share; `params/<scale>.yaml` is laid over it;
`corpora.yaml`, `methods.yaml` and `runs.yaml` are registries.
"""

from pipeline.settings.loading import load
from pipeline.settings.registries import Corpus, Dimension, Method, Run, Split, Table
from pipeline.settings.resolved import RERANKED, Scale, Settings
from pipeline.settings.stages import (
    AudioTower,
    Captions,
    Media,
    Modalities,
    Optimisation,
    Retrieval,
    Study,
    Text,
    Theory,
    Training,
    Tuning,
    Vast,
    VisionTower,
    Weights,
    ZeroShot,
)
from pipeline.settings.strict import Strict

__all__ = [
    "RERANKED",
    "AudioTower",
    "Captions",
    "Corpus",
    "Dimension",
    "Media",
    "Method",
    "Modalities",
    "Optimisation",
    "Retrieval",
    "Run",
    "Scale",
    "Settings",
    "Split",
    "Strict",
    "Study",
    "Table",
    "Text",
    "Theory",
    "Training",
    "Tuning",
    "Vast",
    "VisionTower",
    "Weights",
    "ZeroShot",
    "load",
]
