# Features: frozen towers and their outputs.
if RANDOM:

    rule random_weights:
        output:
            RANDOM,
        log:
            log_of("random_weights"),
        benchmark:
            benchmark_of("random_weights")
        conda:
            ENVIRONMENT
        params:
            code=code_digest("pipeline.features.random_weights"),
            settings=digest(
                [
                    SETTINGS.vast.text,
                    SETTINGS.vast.width,
                    SETTINGS.vision,
                    SETTINGS.audio,
                    SETTINGS.media.chunks,
                    SETTINGS.zero_shot,
                    SETTINGS.seed,
                ]
            ),
        shell:
            stage("random-weights")


if not SETTINGS.vast.released:

    rule vision_tower:
        output:
            paths.tower_weights(SETTINGS, "vision"),
        log:
            log_of("tower/vision"),
        benchmark:
            benchmark_of("tower/vision")
        conda:
            ENVIRONMENT
        params:
            code=code_of("pipeline.features.convert.convert"),
            settings=digest(SETTINGS.vision),
        shell:
            stage("tower --modality vision")

    rule audio_tower:
        input:
            MANIFESTS,
            all_shards(paths.shard),
        output:
            paths.tower_weights(SETTINGS, "audio"),
        log:
            log_of("tower/audio"),
        benchmark:
            benchmark_of("tower/audio")
        # The longest job before `vast`.
        priority: 1
        conda:
            ENVIRONMENT
        threads: SETTINGS.threads_beside
        resources:
            gpu=min(GPUS, 1),
        params:
            code=code_of("pipeline.features.tower.train"),
            settings=digest([SETTINGS.audio, SETTINGS.vast.text, SETTINGS.seed]),
        shell:
            stage_beside("tower --modality audio")

    rule candidates:
        input:
            paths.tower_weights(SETTINGS, "audio"),
            MANIFESTS,
            all_shards(paths.shard),
        output:
            paths.table(SETTINGS, "candidates", "json"),
        log:
            log_of("candidates"),
        benchmark:
            benchmark_of("candidates")
        conda:
            ENVIRONMENT
        threads: SETTINGS.threads_beside
        resources:
            gpu=min(GPUS, 1),
        params:
            code=code_of("pipeline.features.candidates.compare"),
            settings=digest(
                [SETTINGS.audio_candidates, SETTINGS.vast.text, SETTINGS.seed]
            ),
        shell:
            stage_beside("candidates")


for modality in ("vision", "audio"):

    rule:
        name:
            f"{modality}_features"
        input:
            paths.tower_weights(SETTINGS, modality),
            paths.manifest(SETTINGS, "{corpus}"),
            shards_of(paths.shard),
        output:
            paths.features(SETTINGS, modality, "{corpus}"),
        log:
            log_of(f"features/{modality}/{{corpus}}"),
        benchmark:
            benchmark_of(f"features/{modality}/{{corpus}}")
        conda:
            ENVIRONMENT
        threads: SETTINGS.threads_beside
        resources:
            **asked("features"),
            gpu=min(GPUS, 1),
        params:
            code=code_of("pipeline.features.extract.extract"),
            tower=paths.tower_digest(SETTINGS, modality),
            slices=lambda wildcards: SETTINGS.slices(wildcards.corpus),
            # A shell command is composed when it runs, after the loop: it must not read the loop's variable.
            modality=modality,
        shell:
            stage_beside(
                "features --modality {params.modality} --corpus {wildcards.corpus}"
            )
