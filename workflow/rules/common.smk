# Settings, targets and what all rules share.
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir).parent))

from pipeline import locks, paths
from pipeline.corpora.sources import annotation_lists
from pipeline.digests import code_digest, digest
from pipeline.dispatch import resolve
from pipeline.errors import UserError
from pipeline.settings import RERANKED, load
from pipeline.settings.stages import Job
from pipeline.tracked import FIGURE1, TUNING


def settings_or_stop():
    """The settings of the chosen scale and preset; a wrong key or value stops before any job."""
    for key in GIVEN:
        if key not in ("scale", "preset"):
            sys.exit(
                f"error: --config {key}: only scale and preset are chosen so; other settings are in params/"
            )
    try:
        return load(config.get("scale"), preset=config.get("preset"))
    except UserError as error:
        sys.exit(f"error: {error}")


SETTINGS = settings_or_stop()
SCALE = SETTINGS.scale
#: The command of the package under these settings.
PIPELINE = "python -m pipeline" + (
    f" --preset '{SETTINGS.preset}'" if config.get("preset") is not None else ""
)
CORPORA = list(SETTINGS.corpora)
#: Corpora that tables compare and average.
BENCHMARKS = SETTINGS.benchmarks()
#: Corpora and probes whose captions the initial model writes.
CAPTIONED = list(SETTINGS.captioned_corpora())
ENVIRONMENT = "../../envs/pipeline.yaml"
#: Settings of media that a rendered file depends on.
RENDERED_BY = {"seconds", "frames_per_second", "size", "sample_rate"}
#: GPUs a training job asks for.
GPUS = SETTINGS.training.devices if SCALE == "paper" else 0


def stage(command):
    """The shell command of a stage; its output is shown and kept.

    SIGTERM, which a cluster sends to all processes of a job, is left to the stage: it may have a checkpoint to write
    and a line to say.
    """
    return f"trap '' TERM; {PIPELINE} {command} --scale {SCALE} 2>&1 | tee {{log}}"


def stage_beside(command):
    """The same for a job that finds others to run beside it: two of one thread do more than one of two."""
    return stage(f"{command} --threads {SETTINGS.threads_beside}")


def asked(stage):
    """What a stage's jobs ask a cluster for, beside GPUs."""
    return SETTINGS.jobs.get(stage, Job()).model_dump()


def code_of(function, subject=""):
    """Digest of the code that does a stage's work, for a corpus or run, under these settings."""
    return code_digest(resolve(SETTINGS, function, subject).rpartition(".")[0])


def seen_and_heard(corpora):
    """Digest of what of a clip a whole model sees and hears, where that is a setting of the corpus."""
    return digest({corpus: SETTINGS.slices(corpus) for corpus in corpora})


def embedded_as(runs):
    """Digest of what settings alone make of embeddings: slices of sounds, scores that a training leaves behind."""
    stale = {run: SETTINGS.stale(run) for run in runs}
    return digest([seen_and_heard(CORPORA), stale])


def reported_as(table):
    """Digest of what a table is told: its rows, its protocol, the benchmarks it averages, scores that cannot head it."""
    entry = SETTINGS.tables[table]
    stale = {run: SETTINGS.stale(run) for run in entry.runs}
    stands_for = {corpus: SETTINGS.corpus(corpus).stands_for for corpus in CORPORA}
    return digest(
        [
            entry.model_dump(),
            SETTINGS.retrieval.model_dump(),
            BENCHMARKS,
            stale,
            stands_for,
        ]
    )


def tuned_by(method):
    """Digest of what a method's tuning depends on."""
    space = {
        key: dimension.model_dump()
        for key, dimension in SETTINGS.spaces[method].items()
    }
    stale = {
        run: SETTINGS.stale(run)
        for run in SETTINGS.runs
        if SETTINGS.run(run).method == method
    }
    shared = [
        SETTINGS.tuning.model_dump(exclude={"methods_per_job"}),
        SETTINGS.training.model_dump(),
        SETTINGS.seed,
    ]
    return digest([SETTINGS.methods[method].model_dump(), space, stale, *shared])


def log_of(name):
    return f"logs/{SETTINGS.folder}/{name}.log"


def benchmark_of(name):
    return f"benchmarks/{SETTINGS.folder}/{name}.tsv"


def failure(table):
    """What kept MLflow from showing a table and when, "" if nothing did: it is offered again until it is shown."""
    shown = paths.table(SETTINGS, table, "mlflow.json")
    error = json.loads(shown.read_text()).get("error", "") if shown.is_file() else ""
    return f"{error} {shown.stat().st_mtime_ns}" if error else ""


def begin_or_stop():
    """One run a folder."""
    try:
        locks.run()
    except UserError as error:
        sys.exit(f"error: {error}")


def gpus_here():
    """Number of GPUs of this machine, at least one so that GPU jobs run in turn where there is none."""
    if not shutil.which("nvidia-smi"):
        return 4 if SCALE == "paper" else 1
    listing = subprocess.run(
        ["nvidia-smi", "-L"], capture_output=True, text=True
    ).stdout
    return max(len(listing.splitlines()), 1)


def all_shards(path, corpora=CORPORA):
    """`path(settings, corpus, shard)` of every shard."""
    return [
        path(SETTINGS, corpus, shard)
        for corpus in corpora
        for shard in paths.shards(SETTINGS, corpus)
    ]


def shards_of(path):
    """An input function: `path(settings, corpus, shard)` of each shard of the corpus."""
    return lambda wildcards: all_shards(path, [wildcards.corpus])


MANIFESTS = [paths.manifest(SETTINGS, corpus) for corpus in CORPORA]
#: Files in released layouts that the DAG makes, where the settings ask for random weights.
RANDOM = SETTINGS.random()


def known(weights):
    """The file of `weights` if the DAG makes it or it is there; of one that is missing the stage says how to get it."""
    there = weights and (weights.random or Path(weights.path).is_file())
    return [weights.path] if there else []


def initial_weights(run):
    """The weights of the initial model that a run is trained from."""
    return paths.model(SETTINGS, SETTINGS.initial(run), 0) / "weights.safetensors"


def pooled_files(corpora=CORPORA, initial="vast"):
    return [paths.pooled(SETTINGS, corpus, initial) for corpus in corpora]


def written_files(corpora=CORPORA):
    """Captions of those corpora that come without."""
    return [paths.captions(SETTINGS, each) for each in corpora if each in CAPTIONED]


def read_by(trains, corpora=CORPORA, initial="vast"):
    """What runs are trained and embedded from: heads from pooled features, whole models from decoded clips."""
    if trains == "heads":
        return pooled_files(corpora, initial)
    clips = [paths.manifest(SETTINGS, corpus) for corpus in corpora]
    return clips + all_shards(paths.shard, corpora) + written_files(corpora)


def seeds_of(run):
    return list(range(SETTINGS.seeds(run)))


def model_files(table):
    """The weights of a table's runs; released models have theirs elsewhere."""
    return [
        paths.model(SETTINGS, run, seed) / "weights.safetensors"
        for run in SETTINGS.tables[table].runs
        if run not in ZERO_SHOT
        for seed in seeds_of(run)
    ]


def per_corpus(path, table):
    """`path(settings, run, seed, corpus)` of all that a table needs."""
    entry = SETTINGS.tables[table]
    return [
        path(SETTINGS, run, seed, corpus)
        for run in entry.runs
        for seed in seeds_of(run)[: entry.seeds]
        for corpus in CORPORA
    ]


def embedding_files(table):
    return per_corpus(paths.embeddings, table)


def rank_files(table):
    return per_corpus(paths.ranks, table)


def true_twins(table):
    """Ranks of the runs that those of a table are without their shuffled text."""
    return [
        paths.ranks(SETTINGS, run, seed, corpus)
        for run in dict.fromkeys(
            SETTINGS.run(r).method for r in SETTINGS.tables[table].runs
        )
        for seed in seeds_of(run)
        for corpus in CORPORA
    ]


def matching_files(runs, seeds=None):
    """What re-ranks runs: their own matching of what they find, or `vast`'s of the fixed galleries."""
    files = []
    for run in runs:
        if SETTINGS.matched_by(run) == "own":
            files += [
                paths.own_matching(SETTINGS, run, seed, corpus)
                for seed in seeds or seeds_of(run)
                for corpus in BENCHMARKS
            ]
        elif SETTINGS.matched_by(run) == "vast":
            files += [paths.matching(SETTINGS, corpus) for corpus in CORPORA]
    return list(dict.fromkeys(files))


def table_files(table):
    return [paths.table(SETTINGS, table, kind) for kind in ("json", "csv", "md")]


def shown_files(table):
    """A table with its runs in MLflow."""
    return [*table_files(table), paths.table(SETTINGS, table, "mlflow.json")]


def tracked(wildcards):
    """What MLflow is shown of a table, of tuning or of figure 1, all of it made."""
    name = wildcards.shown
    if name == TUNING:
        return [paths.tuning(SETTINGS, method) for method in SETTINGS.spaces]
    if name == FIGURE1:
        traces = [paths.trace(SETTINGS, run) for run in SETTINGS.theory.trace]
        return [paths.theory(SETTINGS, "modalities"), *traces]
    made = (
        paths.theory(SETTINGS, name)
        if name == "sharing"
        else paths.table(SETTINGS, name, "json")
    )
    entry = SETTINGS.tables[name]
    return [
        made,
        *[
            paths.model(SETTINGS, run, seed) / "run.json"
            for run in entry.runs
            if run not in ZERO_SHOT
            for seed in seeds_of(run)[: entry.seeds]
        ],
    ]


def seed_groups(runs):
    """Jobs that serve several seeds: [(name, runs, seeds)], every run with the seeds of one job."""
    size = SETTINGS.training.seeds_per_job
    groups = {}
    for run in runs:
        seeds = seeds_of(run)
        for start in range(0, len(seeds), size):
            groups.setdefault(tuple(seeds[start : start + size]), []).append(run)
    return [
        (f"seeds{seeds[0]}to{seeds[-1]}", members, seeds)
        for seeds, members in groups.items()
    ]


def listed(seeds):
    return ",".join(map(str, seeds))


#: Tables of sweeps, and those in Table 1's shape beside Table 1 itself.
SWEEPS = [
    "table2",
    "table4",
    "table5",
    "readings",
    "dose",
    "weights",
    "anchors",
    "gathers",
    "gaps",
    "gaps_tuned",
]
RETRIEVAL_TABLES = [name for name in RERANKED if name != "table1"]
#: Rows of the table sharing: each trained and tested on one form of `scenes`; those of no other table are embedded
#: for that form alone.
FORMS = SETTINGS.tables["sharing"].runs if SETTINGS.probes else []
SHARING = [
    run
    for run in FORMS
    if not any(run in t.runs for n, t in SETTINGS.tables.items() if n != "sharing")
]
#: Somebody's released models: embedded as they are.
ZERO_SHOT = [run for run in SETTINGS.runs if SETTINGS.released(run)]
#: Runs from `vast` that share a job with others, where trainings are short; Table 1's only where they are tiny.
BATCHED = [
    run
    for run in dict.fromkeys(run for t in SETTINGS.tables.values() for run in t.runs)
    if SETTINGS.training.runs_per_job > 1
    and (SETTINGS.table1_runs_per_job > 1 or run not in SETTINGS.tables["table1"].runs)
    and SETTINGS.initial(run) == "vast"
    and run not in ZERO_SHOT
]
SINGLE = [run for run in SETTINGS.runs if run not in {*BATCHED, *SHARING}]
#: Runs whose own matching re-ranks them.
OWN = [run for run in SETTINGS.runs if SETTINGS.matched_by(run) == "own"]


def batches(runs):
    """Jobs that serve several runs: [(name, runs, seeds)], grouped by the first table that lists them."""
    groups = {}
    for run in runs:
        home = next(name for name, t in SETTINGS.tables.items() if run in t.runs)
        corpora = SETTINGS.run(run).corpora
        groups.setdefault((home, len(seeds_of(run)), tuple(corpora)), []).append(run)
    made, numbers = [], Counter()
    for (home, count, corpora), members in groups.items():
        stem = "-".join([home, *corpora])
        size = (
            SETTINGS.table1_runs_per_job
            if home == "table1"
            else SETTINGS.training.runs_per_job
        )
        for start in range(0, len(members), size):
            name = f"{stem}-{numbers[stem]}"
            made.append((name, members[start : start + size], range(count)))
            numbers[stem] += 1
    return made


def sources(wildcards):
    """What a corpus is planned from: the stamps, or the annotations that are there; of missing ones the stage tells."""
    entry = SETTINGS.corpus(wildcards.corpus)
    if entry.kind == "annotated":
        lists = annotation_lists(entry.options.get("annotations", wildcards.corpus))
        own = [Path(entry.options["csv"])] if "csv" in entry.options else []
        return [str(path) for path in [*lists, *own] if path.is_file()]
    return ancient(FETCHED) if entry.kind in ("stamps", "stories", "sounds") else []


def downloads(wildcards):
    """1 where a shard's clips are asked of a site, whose limits hold for all shards together."""
    return int(bool(SETTINGS.corpus(wildcards.corpus).options.get("download")))


#: Published figures that tables of retrieval show beside ours.
PUBLISHED = ["params/paper_tables.csv", "params/independent.csv"]


def plan_settings(wildcards):
    """Digest of what a plan depends on; stories draw from the concepts that stamps keep for training."""
    entries = [SETTINGS.corpus(wildcards.corpus)]
    if entries[0].kind in ("stories", "sounds"):
        entries += [each for each in SETTINGS.corpora.values() if each.kind == "stamps"]
    planned = [corpus_digest(each) for each in entries]
    return digest([planned, SETTINGS.media.seconds, SETTINGS.seed])


def corpus_digest(entry):
    """Digest of what a corpus's clips depend on: not how they are asked of a site, seen, heard, counted or labelled."""
    asked_of_a_site = {"pause", "cookies", "bytes_per_second", "benchmark"}
    dump = entry.model_dump(exclude={"coverage", "stands_for", "geometry", "slices"})
    kept = {k: v for k, v in dump["options"].items() if k not in asked_of_a_site}
    return digest(dump | {"options": kept})


def theory_figures(*names):
    return [
        paths.figure(SETTINGS, name, kind) for name in names for kind in ("png", "svg")
    ]


def seen_by_the_captioner(wildcards):
    """The released model reads decoded clips, the small one cached features."""
    if SETTINGS.vast.released:
        return all_shards(paths.shard, [wildcards.corpus])
    return [
        paths.features(SETTINGS, modality, wildcards.corpus)
        for modality in SETTINGS.captions.modalities
    ]
