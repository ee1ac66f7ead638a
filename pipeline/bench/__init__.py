"""Hot paths beside their peers: `python -m pipeline.bench AREA` writes `results/bench/AREA.json` (design §9)."""
