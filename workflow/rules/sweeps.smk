# Sweeps: many short trainings, several runs a job; their embeddings, ranks and tables.
for name, runs, seeds in batches([r for r in BATCHED if SETTINGS.initial(r) != r]):

    rule:
        name:
            f"train_batch_{name}"
        input:
            sorted({file for run in runs for file in run_inputs(run)}, key=str),
        output:
            expand(
                paths.model(SETTINGS, "{run}", "{seed}") / "{file}",
                run=runs,
                seed=seeds,
                file=("weights.safetensors", "run.json", "metrics.jsonl"),
            ),
        log:
            log_of(f"train/batch/{name}"),
        benchmark:
            benchmark_of(f"train/batch/{name}")
        conda:
            ENVIRONMENT
        threads: SETTINGS.threads_beside
        params:
            runs=listed(runs),
            seeds=listed(seeds),
            code=code_of("pipeline.training.train.train", runs[0]),
            settings=digest([run_digest(run) for run in runs]),
        shell:
            stage_beside("train --run {params.runs} --seeds {params.seeds}")


for name, runs, seeds in batches([run for run in BATCHED if run not in SHARING]):

    rule:
        name:
            f"embed_batch_{name}"
        input:
            expand(
                paths.model(SETTINGS, "{run}", "{seed}") / "weights.safetensors",
                run=runs,
                seed=seeds,
            ),
            read_by(SETTINGS.trains(runs[0])),
            expand(paths.manifest(SETTINGS, "{corpus}"), corpus=CORPORA),
        output:
            expand(
                paths.embeddings(SETTINGS, "{run}", "{seed}", "{corpus}"),
                run=runs,
                seed=seeds,
                corpus=CORPORA,
            ),
        log:
            log_of(f"embed/batch/{name}"),
        benchmark:
            benchmark_of(f"embed/batch/{name}")
        conda:
            ENVIRONMENT
        threads: SETTINGS.threads_beside
        params:
            runs=listed(runs),
            seeds=listed(seeds),
            code=code_of("pipeline.embeddings.embed.embed", runs[0]),
            settings=embedded_as(runs),
        shell:
            stage_beside("embed --run {params.runs} --seeds {params.seeds}")

    rule:
        name:
            f"rank_batch_{name}"
        input:
            expand(
                paths.embeddings(SETTINGS, "{run}", "{seed}", "{corpus}"),
                run=runs,
                seed=seeds,
                corpus=CORPORA,
            ),
            matching_files(runs, seeds),
            MANIFESTS + written_files(),
        output:
            expand(
                paths.ranks(SETTINGS, "{run}", "{seed}", "{corpus}"),
                run=runs,
                seed=seeds,
                corpus=CORPORA,
            ),
        log:
            log_of(f"rank/batch/{name}"),
        benchmark:
            benchmark_of(f"rank/batch/{name}")
        conda:
            ENVIRONMENT
        threads: SETTINGS.threads_beside
        params:
            runs=listed(runs),
            seeds=listed(seeds),
            code=code_digest("pipeline.retrieval.rank"),
            settings=digest(SETTINGS.retrieval),
        shell:
            stage_beside("rank --run {params.runs} --seeds {params.seeds}")


rule geometry:
    input:
        lambda wildcards: per_corpus(paths.embeddings, wildcards.table),
    output:
        paths.theory(SETTINGS, "geometry/{table}"),
    log:
        log_of("geometry/{table}"),
    benchmark:
        benchmark_of("geometry/{table}")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads_beside
    params:
        code=code_digest("pipeline.theory.geometry"),
        table=lambda wildcards: digest(SETTINGS.tables[wildcards.table]),
    shell:
        stage_beside("geometry --table {wildcards.table}")


rule report_sweep:
    input:
        lambda wildcards: per_corpus(paths.ranks, wildcards.table),
        paths.theory(SETTINGS, "geometry/{table}"),
        PUBLISHED,
    output:
        report(
            table_files("{table}")
            + [paths.figure(SETTINGS, "{table}", kind) for kind in ("png", "svg")],
            caption="../report/sweep.rst",
            category="Sweeps",
        ),
    log:
        log_of("sweep/{table}"),
    benchmark:
        benchmark_of("sweep/{table}")
    wildcard_constraints:
        table="|".join(SWEEPS),
    conda:
        ENVIRONMENT
    params:
        code=code_digest("pipeline.reporting.sweep"),
        table=lambda wildcards: reported_as(wildcards.table),
    shell:
        stage("sweep --table {wildcards.table}")


rule report_retrieval:
    input:
        lambda wildcards: per_corpus(paths.ranks, wildcards.table),
        expand(paths.manifest(SETTINGS, "{corpus}"), corpus=CORPORA),
        PUBLISHED,
    output:
        report(
            table_files("{table}")
            + [paths.figure(SETTINGS, "{table}", kind) for kind in ("png", "svg")],
            caption="../report/table1.rst",
            category="Retrieval",
        ),
    log:
        log_of("retrieval/{table}"),
    benchmark:
        benchmark_of("retrieval/{table}")
    wildcard_constraints:
        table="|".join(RETRIEVAL_TABLES),
    conda:
        ENVIRONMENT
    params:
        code=code_digest("pipeline.reporting.table1"),
        table=lambda wildcards: reported_as(wildcards.table),
    shell:
        stage("retrieval-table --table {wildcards.table}")
