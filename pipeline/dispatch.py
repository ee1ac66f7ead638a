"""Which function a stage's command calls: most have one; annotated corpora and a released VAST have their own.

The command line and so the workflow are the same at all scales; only settings differ.
"""

from __future__ import annotations

from pipeline.errors import UserError
from pipeline.settings import Settings

TRAIN = "pipeline.training.train.train"

#: With `vast.released`: the released model instead of towers and a model that are trained.
RELEASED = {
    "pipeline.features.extract.extract": "pipeline.features.released.extract",
    "pipeline.vast.train.train": "pipeline.vast.released.load",
    "pipeline.vast.pool.pool": "pipeline.vast.released.pool",
    "pipeline.vast.evidence.evidence": "pipeline.vast.released_evidence.evidence",
    "pipeline.vast.matching.match": "pipeline.vast.released.match",
    "pipeline.captions.caption.caption": "pipeline.captions.released.caption",
}
#: Of runs that train everything: the towers and BERT too.
EVERYTHING = {
    TRAIN: "pipeline.training.everything.train",
    "pipeline.embeddings.embed.embed": "pipeline.embeddings.everything.embed",
}
#: Of a run that is somebody's released model.
ZERO_SHOT = {"pipeline.embeddings.embed.embed": "pipeline.embeddings.zero_shot.embed"}
#: Of a corpus of kind `annotated`.
ANNOTATED = {
    "pipeline.corpora.plan.plan": "pipeline.corpora.annotated.plan",
    "pipeline.corpora.render.render": "pipeline.corpora.annotated.fetch",
}


def resolve(settings: Settings, function: str, subject: str = "") -> str:
    """The function that does `function`'s work under these settings; `subject`: corpus or run it is called for."""
    if function in ANNOTATED and subject and settings.corpus(subject).kind == "annotated":
        return ANNOTATED[function]
    if subject in settings.runs and settings.released(subject):
        if function == TRAIN:
            raise UserError(f"params/runs.yaml: runs.{subject}: is a released model; it is not trained")
        return ZERO_SHOT.get(function, function)
    if function in RELEASED and settings.vast.released is not None:
        return RELEASED[function]
    if function in EVERYTHING and settings.trains(subject) == "everything":
        return EVERYTHING[function]
    return function
