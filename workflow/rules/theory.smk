# Theory: corollaries, conflicts in training, growth with M on real modalities, shared content.
STAMPS = [entry for entry in SETTINGS.corpora.values() if entry.kind == "stamps"]
#: Digest of what the spoken captions and their split depend on, which is that of the stamps.
SPOKEN = digest(
    [[corpus_digest(entry) for entry in STAMPS], SETTINGS.media, SETTINGS.seed]
)
THEORY = ["corollaries", "conflicts", "modalities"] + (["sharing"] if FORMS else [])
OPTIONS = SETTINGS.theory


rule corollaries:
    input:
        [
            paths.embeddings(SETTINGS, run, seed, corpus)
            for run in OPTIONS.trace
            for seed in seeds_of(run)
            for corpus in CORPORA
        ],
    output:
        paths.theory(SETTINGS, "corollaries"),
        report(theory_figures("corollary1", "corollary2"), category="Theory"),
    log:
        log_of("theory/corollaries"),
    benchmark:
        benchmark_of("theory/corollaries")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads_beside
    params:
        code=code_digest("pipeline.theory.corollaries"),
        settings=digest([OPTIONS, SETTINGS.seed]),
    shell:
        stage_beside("corollaries")


rule trace:
    input:
        VAST / "weights.safetensors",
        # Heads alone are traced, whatever the runs train.
        lambda wildcards: run_inputs(wildcards.run, "heads"),
    output:
        paths.trace(SETTINGS, "{run}"),
    log:
        log_of("trace/{run}"),
    benchmark:
        benchmark_of("trace/{run}")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads_beside
    resources:
        **asked("trace"),
    params:
        code=code_digest("pipeline.training.trace"),
        settings=lambda wildcards: digest([run_digest(wildcards.run), OPTIONS]),
    shell:
        stage_beside("trace --run {wildcards.run}")


rule conflicts:
    input:
        expand(paths.trace(SETTINGS, "{run}"), run=OPTIONS.trace),
    output:
        paths.theory(SETTINGS, "conflicts"),
        report(theory_figures("conflicts", "collapse"), category="Theory"),
    log:
        log_of("theory/conflicts"),
    benchmark:
        benchmark_of("theory/conflicts")
    conda:
        ENVIRONMENT
    params:
        code=code_digest("pipeline.theory.conflicts"),
    shell:
        stage("conflicts")


rule polyglot:
    input:
        ancient(FETCHED) if STAMPS else [],
    output:
        # Only its features are kept.
        temp(paths.polyglot(SETTINGS)),
    log:
        log_of("polyglot"),
    benchmark:
        benchmark_of("polyglot")
    conda:
        ENVIRONMENT
    params:
        code=code_digest("pipeline.corpora.polyglot"),
        settings=SPOKEN,
    shell:
        stage("polyglot")


rule polyglot_features:
    input:
        paths.polyglot(SETTINGS),
        paths.tower_weights(SETTINGS, "vision"),
        paths.tower_weights(SETTINGS, "audio"),
    output:
        paths.polyglot_features(SETTINGS),
    log:
        log_of("features/polyglot"),
    benchmark:
        benchmark_of("features/polyglot")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads
    params:
        code=code_digest("pipeline.features.polyglot"),
        settings=digest([SPOKEN, SETTINGS.vast.text, SETTINGS.audio_candidates]),
    shell:
        stage("polyglot-features")


rule modalities:
    input:
        paths.polyglot_features(SETTINGS),
    output:
        paths.theory(SETTINGS, "modalities"),
        report(theory_figures("figure1"), category="Theory"),
    log:
        log_of("theory/modalities"),
    benchmark:
        benchmark_of("theory/modalities")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads_beside
    params:
        code=code_digest("pipeline.theory.modalities"),
        settings=digest(
            [
                OPTIONS,
                SETTINGS.seed,
                SETTINGS.retrieval.bootstrap,
                [
                    [SETTINGS.run(run), SETTINGS.methods[SETTINGS.run(run).method]]
                    for run in OPTIONS.modalities.runs
                ],
            ]
        ),
    shell:
        stage_beside("modalities")


rule pool_probe:
    input:
        VAST / "weights.safetensors",
        paths.manifest(SETTINGS, "{corpus}"),
        paths.features(SETTINGS, "vision", "{corpus}"),
        paths.features(SETTINGS, "audio", "{corpus}"),
        lambda wildcards: written_files([wildcards.corpus]),
    output:
        paths.pooled(SETTINGS, "{corpus}"),
    log:
        log_of("pool/{corpus}"),
    benchmark:
        benchmark_of("pool/{corpus}")
    wildcard_constraints:
        corpus="|".join(SETTINGS.probes) or "none",
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads_beside
    params:
        code=code_of("pipeline.vast.pool.pool"),
    shell:
        stage_beside("pool --corpus {wildcards.corpus}")


for corpus in dict.fromkeys(SETTINGS.run(run).corpora[0] for run in SHARING):

    rule:
        name:
            f"embed_sharing_{corpus}"
        input:
            [
                paths.model(SETTINGS, run, seed) / "weights.safetensors"
                for run in SHARING
                if SETTINGS.run(run).corpora == [corpus]
                for seed in seeds_of(run)
            ],
            read_by(SETTINGS.trains(SHARING[0]), [corpus]),
            paths.manifest(SETTINGS, corpus),
        output:
            [
                paths.embeddings(SETTINGS, run, seed, corpus)
                for run in SHARING
                if SETTINGS.run(run).corpora == [corpus]
                for seed in seeds_of(run)
            ],
        log:
            log_of(f"embed/sharing/{corpus}"),
        benchmark:
            benchmark_of(f"embed/sharing/{corpus}")
        conda:
            ENVIRONMENT
        threads: SETTINGS.threads_beside
        params:
            runs=listed(
                [run for run in SHARING if SETTINGS.run(run).corpora == [corpus]]
            ),
            seeds=listed(range(SETTINGS.tables["sharing"].seeds)),
            corpus=corpus,
            code=code_of("pipeline.embeddings.embed.embed", SHARING[0]),
            settings=embedded_as(SHARING),
        shell:
            stage_beside(
                "embed --run {params.runs} --seeds {params.seeds} --corpus {params.corpus}"
            )


rule sharing:
    input:
        [
            paths.embeddings(SETTINGS, run, seed, SETTINGS.run(run).corpora[0])
            for run in FORMS
            for seed in seeds_of(run)
        ],
    output:
        paths.theory(SETTINGS, "sharing"),
        report(theory_figures("sharing"), category="Theory"),
    log:
        log_of("theory/sharing"),
    benchmark:
        benchmark_of("theory/sharing")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads_beside
    params:
        code=code_digest("pipeline.theory.sharing"),
        table=digest(SETTINGS.tables["sharing"]),
    shell:
        stage_beside("sharing")
