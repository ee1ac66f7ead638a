"""`python -m pipeline STAGE …`."""

from pipeline.cli import main

main()
