# VAST: the initial model, what it has learnt, its pooled features and its matching probabilities. {initial} is `vast`
# or its control that is trained on shuffled text.
VAST = paths.model(SETTINGS, "vast", 0)
TOWERS = [
    paths.features(SETTINGS, modality, corpus)
    for modality in ("vision", "audio")
    for corpus in CORPORA
]


if SETTINGS.vast.released:

    rule vast:
        # The released model needs no clips; its frozen towers come out of the same file.
        input:
            known(SETTINGS.vast.released),
        output:
            [
                VAST / name
                for name in ("weights.safetensors", "run.json", "metrics.jsonl")
            ],
            [paths.tower_weights(SETTINGS, m) for m in ("vision", "audio")],
        log:
            log_of("vast"),
        benchmark:
            benchmark_of("vast")
        conda:
            ENVIRONMENT
        resources:
            **asked("vast"),
        params:
            code=code_of("pipeline.vast.train.train"),
            settings=digest([SETTINGS.vast, SETTINGS.vision, SETTINGS.audio]),
        shell:
            stage("vast")

else:

    rule vast:
        input:
            MANIFESTS + TOWERS,
        output:
            paths.model(SETTINGS, "{initial}", 0) / "weights.safetensors",
            paths.model(SETTINGS, "{initial}", 0) / "run.json",
            paths.model(SETTINGS, "{initial}", 0) / "metrics.jsonl",
        log:
            log_of("{initial}"),
        benchmark:
            benchmark_of("{initial}")
        conda:
            ENVIRONMENT
        threads: SETTINGS.threads
        resources:
            gpu=min(GPUS, 1),
        params:
            code=code_of("pipeline.vast.train.train"),
            settings=lambda wildcards: digest(
                [SETTINGS.vast, SETTINGS.run(wildcards.initial), SETTINGS.seed]
            ),
        shell:
            stage("vast --run {wildcards.initial}")


rule pool:
    input:
        paths.model(SETTINGS, "{initial}", 0) / "weights.safetensors",
        expand(paths.manifest(SETTINGS, "{corpus}"), corpus=CORPORA),
        TOWERS,
        written_files(),
    output:
        pooled_files(initial="{initial}"),
    log:
        log_of("pool/{initial}"),
    benchmark:
        benchmark_of("pool/{initial}")
    # All trainings wait for it.
    priority: 1
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads_beside
    params:
        code=code_of("pipeline.vast.pool.pool"),
    shell:
        stage_beside("pool --run {wildcards.initial}")


rule evidence:
    input:
        VAST / "weights.safetensors",
        pooled_files(),
        TOWERS,
    output:
        paths.evidence(SETTINGS),
    log:
        log_of("evidence"),
    benchmark:
        benchmark_of("evidence")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads_beside
    params:
        code=code_of("pipeline.vast.evidence.evidence"),
        settings=digest([SETTINGS.vast.evidence_captions, SETTINGS.captions]),
    shell:
        stage_beside("evidence")


rule match:
    input:
        VAST / "weights.safetensors",
        paths.manifest(SETTINGS, "{corpus}"),
        paths.features(SETTINGS, "vision", "{corpus}"),
        paths.features(SETTINGS, "audio", "{corpus}"),
        lambda wildcards: written_files([wildcards.corpus]),
    output:
        paths.matching(SETTINGS, "{corpus}"),
    log:
        log_of("match/{corpus}"),
    benchmark:
        benchmark_of("match/{corpus}")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads_beside
    resources:
        gpu=min(GPUS, 1),
    params:
        code=code_of("pipeline.vast.matching.match"),
        settings=digest([SETTINGS.retrieval.gallery, SETTINGS.seed]),
    shell:
        stage_beside("match --corpus {wildcards.corpus}")
