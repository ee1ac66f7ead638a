# Retrieval: ranks of the truth of each query, by score and direction.
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
            expand(paths.matching(SETTINGS, "{corpus}"), corpus=CORPORA),
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
