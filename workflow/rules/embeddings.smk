# Embeddings of all corpora by a run.
for name, runs, seeds in seed_groups([run for run in SINGLE if run not in ZERO_SHOT]):

    rule:
        name:
            f"embed_{name}"
        input:
            expand(
                paths.model(SETTINGS, "{{run}}", "{seed}") / "weights.safetensors",
                seed=seeds,
            ),
            lambda wildcards: read_by(
                SETTINGS.trains(wildcards.run), initial=SETTINGS.initial(wildcards.run)
            ),
        output:
            expand(
                paths.embeddings(SETTINGS, "{{run}}", "{seed}", "{corpus}"),
                seed=seeds,
                corpus=CORPORA,
            ),
        log:
            log_of(f"embed/{{run}}/{name}"),
        benchmark:
            benchmark_of(f"embed/{{run}}/{name}")
        wildcard_constraints:
            run="|".join(runs),
        conda:
            ENVIRONMENT
        threads: SETTINGS.threads_beside
        resources:
            **asked("embed"),
            gpu=min(GPUS, 1),
        params:
            seeds=listed(seeds),
            code=lambda wildcards: code_of(
                "pipeline.embeddings.embed.embed", wildcards.run
            ),
            settings=lambda wildcards: embedded_as([wildcards.run]),
        shell:
            stage_beside("embed --run {wildcards.run} --seeds {params.seeds}")


for run in ZERO_SHOT:

    rule:
        name:
            f"embed_{run.replace('-', '_')}"
        input:
            known(SETTINGS.released(run).weights),
            known(SETTINGS.released(run).audio_weights),
            read_by("everything"),
        output:
            expand(
                paths.embeddings(SETTINGS, run, 0, "{corpus}"),
                corpus=CORPORA,
            ),
        log:
            log_of(f"embed/{run}"),
        benchmark:
            benchmark_of(f"embed/{run}")
        conda:
            ENVIRONMENT
        threads: SETTINGS.threads_beside
        resources:
            **asked("embed"),
            gpu=min(GPUS, 1),
        params:
            run=run,
            code=code_of("pipeline.embeddings.embed.embed", run),
            settings=digest(SETTINGS.released(run)),
        shell:
            stage_beside("embed --run {params.run} --seeds 0")
