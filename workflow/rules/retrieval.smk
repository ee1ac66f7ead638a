# Retrieval: matching of what runs find first, ranks of the truth of each query, a study of the scores.
rule match_top:
    input:
        paths.model(SETTINGS, "{run}", "{seed}") / "weights.safetensors",
        paths.embeddings(SETTINGS, "{run}", "{seed}", "{corpus}"),
        lambda wildcards: read_by("everything", [wildcards.corpus]),
    output:
        paths.own_matching(SETTINGS, "{run}", "{seed}", "{corpus}"),
    log:
        log_of("match_top/{run}/{seed}/{corpus}"),
    benchmark:
        benchmark_of("match_top/{run}/{seed}/{corpus}")
    wildcard_constraints:
        run="|".join(run for run in OWN if run in SINGLE) or "none",
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads_beside
    resources:
        **asked("match"),
        gpu=min(GPUS, 1),
    params:
        code=code_digest("pipeline.retrieval.match"),
        settings=digest([SETTINGS.retrieval, seen_and_heard(BENCHMARKS)]),
    shell:
        stage_beside(
            "match-top --run {wildcards.run} --seeds {wildcards.seed} --corpus {wildcards.corpus}"
        )


for name, runs, seeds in batches([run for run in OWN if run in BATCHED]):

    rule:
        name:
            f"match_top_batch_{name}"
        input:
            expand(
                paths.model(SETTINGS, "{run}", "{seed}") / "weights.safetensors",
                run=runs,
                seed=seeds,
            ),
            expand(
                paths.embeddings(SETTINGS, "{run}", "{seed}", "{corpus}"),
                run=runs,
                seed=seeds,
                corpus=BENCHMARKS,
            ),
            read_by("everything", BENCHMARKS),
        output:
            matching_files(runs, seeds),
        log:
            log_of(f"match_top/batch/{name}"),
        benchmark:
            benchmark_of(f"match_top/batch/{name}")
        conda:
            ENVIRONMENT
        threads: SETTINGS.threads_beside
        params:
            runs=listed(runs),
            seeds=listed(seeds),
            code=code_digest("pipeline.retrieval.match"),
            settings=digest([SETTINGS.retrieval, seen_and_heard(BENCHMARKS)]),
        shell:
            stage_beside("match-top --run {params.runs} --seeds {params.seeds}")


for name, runs, seeds in seed_groups(SINGLE):

    rule:
        name:
            f"rank_{name}"
        input:
            expand(
                paths.embeddings(SETTINGS, "{{run}}", "{seed}", "{corpus}"),
                seed=seeds,
                corpus=CORPORA,
            ),
            lambda wildcards, seeds=seeds: matching_files([wildcards.run], seeds),
            MANIFESTS + written_files(),
        output:
            expand(
                paths.ranks(SETTINGS, "{{run}}", "{seed}", "{corpus}"),
                seed=seeds,
                corpus=CORPORA,
            ),
        log:
            log_of(f"rank/{{run}}/{name}"),
        benchmark:
            benchmark_of(f"rank/{{run}}/{name}")
        wildcard_constraints:
            run="|".join(runs),
        conda:
            ENVIRONMENT
        threads: SETTINGS.threads_beside
        resources:
            **asked("rank"),
        params:
            seeds=listed(seeds),
            code=code_digest("pipeline.retrieval.rank"),
            settings=digest(SETTINGS.retrieval),
        shell:
            stage_beside("rank --run {wildcards.run} --seeds {params.seeds}")


for name, runs, seeds in batches(SETTINGS.tables["scores"].runs):

    rule:
        name:
            f"study_{name}"
        input:
            expand(
                paths.embeddings(SETTINGS, "{run}", "{seed}", "{corpus}"),
                run=runs,
                seed=seeds[: SETTINGS.study.seeds],
                corpus=CORPORA,
            ),
            expand(
                paths.ranks(SETTINGS, "{run}", "{seed}", "{corpus}"),
                run=runs,
                seed=seeds[: SETTINGS.study.seeds],
                corpus=CORPORA,
            ),
            MANIFESTS + written_files(),
        output:
            expand(
                paths.study(SETTINGS, "{run}", "{seed}", "{corpus}"),
                run=runs,
                seed=seeds[: SETTINGS.study.seeds],
                corpus=CORPORA,
            ),
        log:
            log_of(f"study/{name}"),
        benchmark:
            benchmark_of(f"study/{name}")
        conda:
            ENVIRONMENT
        threads: SETTINGS.threads_beside
        resources:
            **asked("rank"),
        params:
            runs=listed(runs),
            seeds=listed(seeds[: SETTINGS.study.seeds]),
            code=code_digest("pipeline.retrieval.study"),
            settings=digest(
                [SETTINGS.retrieval.model_dump(), SETTINGS.study.model_dump()]
            ),
        shell:
            stage_beside("study --run {params.runs} --seeds {params.seeds}")
