# Media: frames and waveforms of a shard.
rule decode:
    input:
        plan=paths.plan(SETTINGS, "{corpus}"),
        rendered=paths.rendered(SETTINGS, "{corpus}", "{shard}"),
    output:
        paths.shard(SETTINGS, "{corpus}", "{shard}"),
        paths.decoded(SETTINGS, "{corpus}", "{shard}"),
    log:
        log_of("decode/{corpus}/{shard}"),
    benchmark:
        benchmark_of("decode/{corpus}/{shard}")
    priority: 1
    conda:
        ENVIRONMENT
    threads: SETTINGS.media.workers
    params:
        code=code_digest("pipeline.media.decode"),
        settings=lambda wildcards: paths.decode_digest(SETTINGS, wildcards.corpus),
    shell:
        stage(
            "decode --corpus {wildcards.corpus} --shard {wildcards.shard} --workers {threads}"
        )
