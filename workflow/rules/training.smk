# Training of the runs from the initial model; a job may serve several seeds.
def run_digest(run):
    """Digest of what a run's training depends on."""
    row = SETTINGS.run(run)
    method = SETTINGS.methods[row.method]
    trained = [row.model_dump(), method.model_dump(), SETTINGS.training.model_dump()]
    if SETTINGS.trains(run) == "everything":
        trained.append(seen_and_heard(SETTINGS.train_corpora(run)))
    return digest(trained)


def run_inputs(run, trains=None):
    """What a run is trained from: an initial model; a tuned one from its method's winner too.

    Whole models wait for the manifests of all corpora, so that no floor of coverage is missed after days of training
    (pooled features have waited for them already); another manifest of a corpus that only tests trains nothing again.
    """
    row = SETTINGS.run(run)
    chosen = [paths.tuning(SETTINGS, row.method)] if row.tuned else []
    trains = trains or SETTINGS.trains(run)
    read = read_by(trains, SETTINGS.train_corpora(run), SETTINGS.initial(run))
    waited = MANIFESTS if trains == "everything" else []
    tested = [ancient(file) for file in waited if file not in read]
    return [initial_weights(run), *read, *tested, *chosen]


for name, runs, seeds in seed_groups([run for run in SINGLE if SETTINGS.trained(run)]):

    rule:
        name:
            f"train_{name}"
        input:
            lambda wildcards: run_inputs(wildcards.run),
        output:
            expand(
                paths.model(SETTINGS, "{{run}}", "{seed}") / "{file}",
                seed=seeds,
                file=("weights.safetensors", "run.json", "metrics.jsonl"),
            ),
        log:
            log_of(f"train/{{run}}/{name}"),
        benchmark:
            benchmark_of(f"train/{{run}}/{name}")
        wildcard_constraints:
            run="|".join(runs),
        conda:
            ENVIRONMENT
        threads: SETTINGS.threads_beside
        resources:
            **asked("train"),
            gpu=GPUS,
        params:
            seeds=listed(seeds),
            code=lambda wildcards: code_of(
                "pipeline.training.train.train", wildcards.run
            ),
            settings=lambda wildcards: run_digest(wildcards.run),
        shell:
            stage_beside("train --run {wildcards.run} --seeds {params.seeds}")
