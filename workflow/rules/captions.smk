# Captions that the initial model writes: of all clips where a corpus comes without, else of validation, as evidence.
rule caption:
    input:
        VAST / "weights.safetensors",
        paths.manifest(SETTINGS, "{corpus}"),
        seen_by_the_captioner,
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
        code=code_of("pipeline.captions.caption.caption"),
        settings=digest([SETTINGS.captions, SETTINGS.seed]),
        splits=lambda wildcards: (
            "train,val,test" if SETTINGS.captioned(wildcards.corpus) else "val"
        ),
    shell:
        stage_beside("caption --corpus {wildcards.corpus} --splits {params.splits}")
