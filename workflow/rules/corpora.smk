# Corpora: fetch, plan, render (or download), manifest, leakage.
FETCHED = "downloads/tuxpaint-stamps/index.json"


rule fetch:
    output:
        FETCHED,
    log:
        log_of("fetch"),
    benchmark:
        benchmark_of("fetch")
    retries: 1
    conda:
        ENVIRONMENT
    params:
        code=code_digest("pipeline.corpora.fetch"),
        package=sorted(
            {
                f"{entry.options.get('sha256')} {entry.options.get('language')}"
                for entry in SETTINGS.corpora.values()
                if entry.kind in ("stamps", "stories")
            }
        ),
    shell:
        stage("fetch")


rule plan:
    input:
        sources,
    output:
        paths.plan(SETTINGS, "{corpus}"),
    log:
        log_of("plan/{corpus}"),
    benchmark:
        benchmark_of("plan/{corpus}")
    # Clips first: the audio tower needs those of all corpora, pictures can wait for a free core.
    priority: 1
    conda:
        ENVIRONMENT
    params:
        code=lambda wildcards: code_of("pipeline.corpora.plan.plan", wildcards.corpus),
        settings=plan_settings,
    shell:
        stage("plan --corpus {wildcards.corpus}")


rule render:
    input:
        paths.plan(SETTINGS, "{corpus}"),
    output:
        paths.rendered(SETTINGS, "{corpus}", "{shard}"),
    log:
        log_of("render/{corpus}/{shard}"),
    benchmark:
        benchmark_of("render/{corpus}/{shard}")
    priority: 1
    conda:
        ENVIRONMENT
    resources:
        download=downloads,
    params:
        code=lambda wildcards: code_of(
            "pipeline.corpora.render.render", wildcards.corpus
        ),
        settings=digest(SETTINGS.media.model_dump(include=RENDERED_BY)),
    shell:
        stage("render --corpus {wildcards.corpus} --shard {wildcards.shard}")


rule manifest:
    input:
        paths.plan(SETTINGS, "{corpus}"),
        shards_of(paths.rendered),
        shards_of(paths.decoded),
    output:
        paths.manifest(SETTINGS, "{corpus}"),
        paths.coverage(SETTINGS, "{corpus}"),
    log:
        log_of("manifest/{corpus}"),
    benchmark:
        benchmark_of("manifest/{corpus}")
    priority: 1
    conda:
        ENVIRONMENT
    params:
        code=code_digest("pipeline.corpora.merge"),
        coverage=lambda wildcards: SETTINGS.coverage(wildcards.corpus),
    shell:
        stage("manifest --corpus {wildcards.corpus}")


rule check_leakage:
    input:
        expand(
            paths.manifest(SETTINGS, "{corpus}"),
            corpus=dict.fromkeys([*CORPORA, *CAPTIONED]),
        ),
        # Released weights cannot be trained anew on shuffled text.
        [] if SETTINGS.vast.released else rank_files("leakage"),
        # The same methods trained on true text: what a check could have shown.
        [] if SETTINGS.vast.released else true_twins("leakage"),
    output:
        paths.table(SETTINGS, "leakage", "json"),
    log:
        log_of("leakage"),
    benchmark:
        benchmark_of("leakage")
    conda:
        ENVIRONMENT
    resources:
        **asked("leakage"),
    params:
        code=code_digest("pipeline.corpora.leakage"),
        table=digest(SETTINGS.tables["leakage"]),
    shell:
        stage("leakage")
