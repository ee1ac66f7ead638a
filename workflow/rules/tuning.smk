# Tuning: the same number of trials for every method, on validation alone.
METHODS = list(SETTINGS.spaces)
STEP = SETTINGS.tuning.methods_per_job


for start in range(0, len(METHODS), STEP):

    rule:
        name:
            f"tune_{METHODS[start].replace('-', '_')}"
        input:
            VAST / "weights.safetensors",
            pooled_files(),
        output:
            [paths.tuning(SETTINGS, method) for method in METHODS[start : start + STEP]],
        log:
            log_of(f"tune/{METHODS[start]}"),
        benchmark:
            benchmark_of(f"tune/{METHODS[start]}")
        conda:
            ENVIRONMENT
        threads: SETTINGS.threads_beside
        resources:
            **asked("tune"),
        params:
            methods=listed(METHODS[start : start + STEP]),
            code=code_digest("pipeline.training.tune"),
            settings=digest(
                [tuned_by(method) for method in METHODS[start : start + STEP]]
            ),
        shell:
            stage_beside("tune --method {params.methods}")


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
