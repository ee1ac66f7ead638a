# Reporting: tables from stored ranks; MLflow is fed from the runs' own files by one writer.
rule report_table1:
    input:
        rank_files("table1"),
        expand(paths.manifest(SETTINGS, "{corpus}"), corpus=CORPORA),
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
        table=digest([SETTINGS.tables["table1"], SETTINGS.retrieval]),
    shell:
        stage("table1")


rule track:
    input:
        paths.table(SETTINGS, "table1", "json"),
        [
            paths.model(SETTINGS, run, seed) / "run.json"
            for run in SETTINGS.tables["table1"].runs
            for seed in seeds_of(run)
        ],
    output:
        paths.table(SETTINGS, "table1", "mlflow.json"),
    log:
        log_of("track"),
    benchmark:
        benchmark_of("track")
    conda:
        ENVIRONMENT
    params:
        code=code_digest("pipeline.tracking"),
    shell:
        stage("track --table table1")
