# Captions that the initial model writes, of validation clips; what is trained on captions comes from the manifests.
rule caption:
    input:
        VAST / "weights.safetensors",
        paths.features(SETTINGS, "vision", "{corpus}"),
        paths.features(SETTINGS, "audio", "{corpus}"),
    output:
        paths.captions(SETTINGS, "{corpus}"),
    log:
        log_of("caption/{corpus}"),
    benchmark:
        benchmark_of("caption/{corpus}")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads_beside
    resources:
        gpu=min(GPUS, 1),
    params:
        code=code_digest("pipeline.captions.caption"),
    shell:
        stage_beside("caption --corpus {wildcards.corpus} --splits val")
