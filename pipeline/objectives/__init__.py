"""Training objectives: pure functions of a batch of embeddings, one method a file.

    from pipeline.objectives import OBJECTIVES, parse
    total, terms = OBJECTIVES["unialign"](
        {"text": t, "vision": v, "audio": a}, {}, torch.tensor(0.07), parse("unialign", {"anchor": "text"})
    )

`embeddings [B, D]` by modality and `fused [B, D]` by condition need not be normalised: their rows are. `temperature`
is a scalar tensor that may be learnt. `same [B, B]` marks rows with equal captions, used where the settings say
`equal_captions: masked`. `terms` holds `attraction` and `repulsion` (their sum is the total) and what else the method
names; they are differentiable, so detach before keeping. Under several processes pass the gathered batch. Gradients
exist once (no second derivatives). To add a method: one file, one family in settings.py, one line here.
"""

from collections.abc import Callable

from pipeline.objectives.gram import gram
from pipeline.objectives.holder import holder
from pipeline.objectives.imagebind import imagebind
from pipeline.objectives.infonce import infonce
from pipeline.objectives.inputs import Result
from pipeline.objectives.languagebind import languagebind
from pipeline.objectives.pmrl import pmrl
from pipeline.objectives.settings import TEMPERATURES, parse
from pipeline.objectives.symile import symile
from pipeline.objectives.triangle import triangle
from pipeline.objectives.unialign import unialign
from pipeline.objectives.vast import vast

OBJECTIVES: dict[str, Callable[..., Result]] = {
    "infonce": infonce,
    "imagebind": imagebind,
    "languagebind": languagebind,
    "vast": vast,
    "gram": gram,
    "triangle": triangle,
    "symile": symile,
    "pmrl": pmrl,
    "holder": holder,
    "unialign": unialign,
}

__all__ = ["OBJECTIVES", "TEMPERATURES", "parse"]
