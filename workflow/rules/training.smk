# Training of the runs from the initial model; a job may serve several seeds.
def run_settings(wildcards):
    """Digest of what a run's training depends on."""
    run = SETTINGS.run(wildcards.run)
    method = SETTINGS.methods[run.method]
    return digest(
        [run.model_dump(), method.model_dump(), SETTINGS.training.model_dump()]
    )


def run_pooled(wildcards):
    return pooled_files(SETTINGS.train_corpora(wildcards.run))


for name, runs, seeds in seed_groups([run for run in SETTINGS.runs if run != "vast"]):

    rule:
        name:
            f"train_{name}"
        input:
            VAST / "weights.safetensors",
            run_pooled,
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
        resources:
            gpu=GPUS,
        params:
            seeds=listed(seeds),
            code=code_digest("pipeline.training.train"),
            settings=run_settings,
        shell:
            stage("train --run {wildcards.run} --seeds {params.seeds} --threads 1")
