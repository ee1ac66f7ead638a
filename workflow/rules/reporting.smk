# Reporting: tables from stored ranks; MLflow is fed from the runs' own files by one writer.
rule report_table1:
    input:
        rank_files("table1"),
        expand(paths.manifest(SETTINGS, "{corpus}"), corpus=CORPORA),
        PUBLISHED,
    output:
        report(
            table_files("table1"),
            caption="../report/table1.rst",
            category="Retrieval",
        ),
        figure=report(
            [paths.figure(SETTINGS, "table1", kind) for kind in ("png", "svg")],
            caption="../report/table1.rst",
            category="Retrieval",
        ),
    log:
        log_of("table1"),
    benchmark:
        benchmark_of("table1")
    conda:
        ENVIRONMENT
    params:
        code=code_digest("pipeline.reporting.table1"),
        table=reported_as("table1"),
    shell:
        stage("table1")


rule report_scores:
    input:
        rank_files("scores"),
        [
            paths.study(SETTINGS, run, seed, corpus)
            for run in SETTINGS.tables["scores"].runs
            for seed in seeds_of(run)[: SETTINGS.study.seeds]
            for corpus in CORPORA
        ],
    output:
        report(
            table_files("scores")
            + [paths.figure(SETTINGS, "scores", kind) for kind in ("png", "svg")],
            caption="../report/scores.rst",
            category="Retrieval",
        ),
    log:
        log_of("scores"),
    benchmark:
        benchmark_of("scores")
    conda:
        ENVIRONMENT
    params:
        code=code_digest("pipeline.reporting.scores"),
        table=digest([reported_as("scores"), SETTINGS.study.model_dump()]),
    shell:
        stage("scores")


rule report_captions:
    input:
        expand(
            paths.captions(SETTINGS, "{corpus}"),
            corpus=dict.fromkeys([*CORPORA, *CAPTIONED]),
        ),
        expand(
            paths.manifest(SETTINGS, "{corpus}"),
            corpus=dict.fromkeys([*CORPORA, *CAPTIONED]),
        ),
    output:
        report(
            table_files("captions"),
            caption="../report/captions.rst",
            category="Captions",
        ),
    log:
        log_of("captions"),
    benchmark:
        benchmark_of("captions")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads_beside
    params:
        code=code_digest("pipeline.reporting.captions"),
        settings=digest([SETTINGS.captions, SETTINGS.retrieval.bootstrap]),
    shell:
        stage_beside("captions-table")


rule track:
    input:
        tracked,
    output:
        paths.table(SETTINGS, "{shown}", "mlflow.json"),
    log:
        log_of("track/{shown}"),
    benchmark:
        benchmark_of("track/{shown}")
    wildcard_constraints:
        shown="|".join([*SETTINGS.tables, TUNING, FIGURE1]),
    conda:
        ENVIRONMENT
    resources:
        mlflow=1,
    params:
        code=code_digest("pipeline.tracking"),
        failure=lambda wildcards: failure(wildcards.shown),
        # Another store is shown everything.
        store=digest(os.environ.get("MLFLOW_TRACKING_URI", "")),
    shell:
        stage("track --table {wildcards.shown}")
