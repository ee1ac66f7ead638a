"""Training objectives: pure functions of a batch of embeddings, one method a file.

    from pipeline.objectives import OBJECTIVES, parse
    total, terms = OBJECTIVES["unialign"](
        {"text": t, "vision": v, "audio": a}, {}, torch.tensor(0.07), parse("unialign", {"anchor": "text"})
    )

`embeddings [B, D]` by modality and `fused [B, D]` by condition need not be normalised: their rows are. `temperature`
is a scalar tensor that may be learnt. `same [B, B]` marks rows with equal captions, used where the settings say
`equal_captions: masked`. `terms` holds `attraction` and `repulsion` (their sum is the total) and what else the method
names; they are differentiable, so detach before keeping. Under several processes pass the gathered batch. Gradients
exist once (no second derivatives). To add an objective: a file, and a line in `FAMILIES` of settings.py.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipeline.objectives.settings import FAMILIES, FUSED, TEMPERATURES, parse

if TYPE_CHECKING:
    from pipeline.objectives.inputs import Result

NAMES = tuple(FAMILIES)
OBJECTIVES: "dict[str, Callable[..., Result]]"


def __getattr__(name: str) -> Any:
    """Objectives are imported when first asked for, so that settings can be checked without torch."""
    if name in NAMES:
        globals()[name] = getattr(import_module(f"pipeline.objectives.{name}"), name)
        return globals()[name]
    if name == "OBJECTIVES":
        globals()[name] = {each: __getattr__(each) for each in NAMES}
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["FUSED", "NAMES", "OBJECTIVES", "TEMPERATURES", "parse"]
