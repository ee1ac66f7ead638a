# Tuning: the same number of trials for every method, on validation alone.
rule tune_method:
    input:
        VAST / "weights.safetensors",
        pooled_files(),
    output:
        paths.tuning(SETTINGS, "{method}"),
    log:
        log_of("tune/{method}"),
    benchmark:
        benchmark_of("tune/{method}")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads_beside
    resources:
        **asked("tune"),
    params:
        code=code_digest("pipeline.training.tune"),
        settings=lambda wildcards: digest(
            [
                SETTINGS.methods[wildcards.method].model_dump(),
                {
                    key: dimension.model_dump()
                    for key, dimension in SETTINGS.spaces[wildcards.method].items()
                },
                SETTINGS.tuning.model_dump(),
                SETTINGS.training.model_dump(),
                {
                    run: SETTINGS.stale(run)
                    for run in SETTINGS.runs
                    if SETTINGS.run(run).method == wildcards.method
                },
                SETTINGS.seed,
            ]
        ),
    shell:
        stage_beside("tune --method {wildcards.method}")


rule report_tuning:
    input:
        expand(paths.tuning(SETTINGS, "{method}"), method=SETTINGS.spaces),
    output:
        report(
            table_files(TUNING)
            + [paths.figure(SETTINGS, TUNING, kind) for kind in ("png", "svg")],
            caption="../report/tuning.rst",
            category="Retrieval",
        ),
    log:
        log_of("tuning"),
    benchmark:
        benchmark_of("tuning")
    conda:
        ENVIRONMENT
    params:
        code=code_digest("pipeline.reporting.tuning"),
        settings=digest([SETTINGS.tuning]),
    shell:
        stage("tuning-table")
