"""A project in a temporary folder with synthetic features and manifests at smoke scale; features tell the caption."""

from pathlib import Path

import torch

from pipeline import files, manifest, paths
from pipeline.settings import Settings, load

ROOT = Path(__file__).parents[3]
COLOURS = ("red", "blue", "green", "white", "black", "pink")
SHAPES = ("star", "moon", "house", "arrow", "cross", "heart")


def make(folder: Path, train: int = 48) -> Settings:
    """Write manifest and features of the smoke corpora under `folder`, which must be the working directory."""
    settings = load("smoke", ROOT, "mini-way")
    generator = torch.Generator().manual_seed(0)
    codes = {word: torch.randn(64, generator=generator) for word in COLOURS + SHAPES}
    for corpus in settings.corpora:
        rows, vision, audio, ids = [], {}, {}, {}
        for split, count, slots in (("train", train, settings.media.train_slots), ("val", 16, 1), ("test", 20, 1)):
            pairs = torch.randint(36, (count,), generator=generator).tolist()
            words = [(COLOURS[pair // 6], SHAPES[pair % 6]) for pair in pairs]
            shape = (count, settings.media.chunks, slots, 64)
            seen = torch.stack([codes[colour] for colour, _ in words])[:, None, None]
            heard = torch.stack([codes[name][: settings.audio.width] for _, name in words])[:, None]
            vision[split] = (seen + 0.3 * torch.randn(shape, generator=generator)).bfloat16()
            tokens = (count, settings.audio.tokens, settings.audio.width)
            audio[split] = (heard + 0.3 * torch.randn(tokens, generator=generator)).bfloat16()
            ids[split] = [f"{split}-{number}" for number in range(count)]
            rows += [
                _row(name, split, f"a {colour} {shape}")
                for name, (colour, shape) in zip(ids[split], words, strict=True)
            ]
        manifest.write(paths.manifest(settings, corpus), manifest.frame(rows))
        about = {"ids": ids, "manifest": files.sha256(paths.manifest(settings, corpus))}
        for modality, tensors in (("vision", vision), ("audio", audio)):
            files.save_tensors(paths.features(settings, modality, corpus), tensors, about)
    assert Path().resolve() == folder.resolve()
    return settings


def _row(name: str, split: str, caption: str) -> dict[str, object]:
    return {
        "clip_id": name,
        "split": split,
        "captions": [caption],
        "media": "",
        "tracks": "{}",
        "language": "",
        "modalities": ["text", "vision", "audio"],
        "duration": 2.5,
        "status": "ok",
        "reason": "",
        "source": "",
        "licence": "",
        "sha256": "",
        "shard": f"{split}-0",
        "row": int(name.split("-")[1]),
        "concepts": [],
        "group": caption,
    }
