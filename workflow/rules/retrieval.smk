# Retrieval: ranks of the truth of each query, by score and direction; a study of the scores.
def matching_files(run):
    """Matching probabilities are `vast`'s: runs from another initial model have none."""
    if SETTINGS.initial(run) != "vast":
        return []
    return [paths.matching(SETTINGS, corpus) for corpus in CORPORA]


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
            lambda wildcards: matching_files(wildcards.run),
            expand(paths.manifest(SETTINGS, "{corpus}"), corpus=CORPORA),
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
            expand(paths.manifest(SETTINGS, "{corpus}"), corpus=CORPORA),
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
        params:
            runs=listed(runs),
            seeds=listed(seeds[: SETTINGS.study.seeds]),
            code=code_digest("pipeline.retrieval.study"),
            settings=digest(
                [SETTINGS.retrieval.model_dump(), SETTINGS.study.model_dump()]
            ),
        shell:
            stage_beside("study --run {params.runs} --seeds {params.seeds}")
