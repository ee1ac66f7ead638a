"""Which function a stage's command calls: most have one; annotated corpora and a released VAST have their own.

The command line and so the workflow are the same at all scales; only settings differ.
"""

from __future__ import annotations

from pipeline.settings import Settings

#: With `vast.released`: the released model instead of towers and a model that are trained.
RELEASED = {
    "pipeline.features.convert.convert": "pipeline.features.released.convert",
    "pipeline.features.tower.train": "pipeline.features.released.convert_audio",
    "pipeline.features.extract.extract": "pipeline.features.released.extract",
    "pipeline.vast.train.train": "pipeline.vast.released.load",
    "pipeline.vast.pool.pool": "pipeline.vast.released.pool",
    "pipeline.vast.evidence.evidence": "pipeline.vast.released.evidence",
    "pipeline.vast.matching.match": "pipeline.vast.released.match",
    "pipeline.captions.caption.caption": "pipeline.captions.released.caption",
}
#: With `training.trains: everything`: the towers and BERT too.
EVERYTHING = {
    "pipeline.training.train.train": "pipeline.training.everything.train",
    "pipeline.embeddings.embed.embed": "pipeline.embeddings.everything.embed",
}
#: Of a corpus of kind `annotated`.
ANNOTATED = {
    "pipeline.corpora.plan.plan": "pipeline.corpora.annotated.plan",
    "pipeline.corpora.render.render": "pipeline.corpora.annotated.fetch",
}


def resolve(settings: Settings, function: str, corpus: str = "") -> str:
    """The function that does `function`'s work under these settings; `corpus`: the one it is called for, if any."""
    if function in ANNOTATED and corpus and settings.corpus(corpus).kind == "annotated":
        return ANNOTATED[function]
    if function in RELEASED and settings.vast.released is not None:
        return RELEASED[function]
    if function in EVERYTHING and settings.training.trains == "everything":
        return EVERYTHING[function]
    return function
