"""`python -m pipeline.bench [AREA …] [--quick]`: without an area, all of them; `--quick` a few pairs at small sizes."""

import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pipeline.bench

AREAS = sorted({module.name for module in iter_modules(pipeline.bench.__path__)} - {"__main__", "compare"})


def main(arguments: list[str]) -> int:
    """Run the named areas one after another; 2 and the list of areas if one is unknown."""
    quick = "--quick" in arguments
    chosen = [a for a in arguments if a != "--quick"] or AREAS
    if unknown := [a for a in chosen if a not in AREAS]:
        print(f"no bench area {', '.join(unknown)}; there are {', '.join(AREAS)}", file=sys.stderr)
        return 2
    for area in chosen:
        import_module(f"pipeline.bench.{area}").main(Path("results/bench") / f"{area}.json", quick)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
