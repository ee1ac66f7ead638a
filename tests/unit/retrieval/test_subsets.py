"""Any subset of modalities as query: against the stored directions and a naive determinant, refusals."""

import numpy as np
import pytest
import torch

from pipeline import paths
from pipeline.errors import UserError
from pipeline.retrieval import between
from pipeline.retrieval.gallery import read_gallery
from pipeline.retrieval.rank import rankings
from tests.unit import retrieval_project as project


@pytest.fixture
def gallery(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = project.settings(seeds=1)
    project.write_project(settings, {"gram": 1.5})
    return read_gallery(paths.embeddings(settings, "gram", 0, "scenes"), paths.manifest(settings, "scenes"))


@pytest.mark.parametrize("score", ["cosine", "volume", "residual"])
def test_known_directions_are_special_cases(gallery, score):
    stored = {key.direction: one for key, one in rankings(gallery, "test", 7) if key.score == score}
    for direction, query, item in (
        ("T2VA", ["text"], ["vision", "audio"]),
        ("VA2T", ["vision", "audio"], ["text"]),
        ("A2T", ["audio"], ["text"]),
    ):
        found = between(gallery, query, item, score, block=5)
        assert found.rank.tolist() == stored[direction].rank.tolist()
        assert found.query.tolist() == stored[direction].query.tolist()
        assert found.relevant.tolist() == stored[direction].relevant.tolist()
        assert found.items == stored[direction].items


@pytest.mark.parametrize(
    ("query", "item", "n", "relevant"),
    [
        (["audio"], ["vision"], 24, 2),
        (["text", "audio"], ["vision"], 24, 2),
        (["vision"], ["text", "audio"], 24, 2),
        (["vision", "audio"], ["text"], 24, 1),
    ],
)
def test_volume_ranks_are_those_of_all_determinants(gallery, query, item, n, relevant):
    found = between(gallery, query, item, "volume", block=7)
    assert (len(found.query), set(found.relevant.tolist())) == (n, {relevant})
    vectors = {name: z.double() for name, z in gallery.items.items()}
    caption = torch.arange(24) // 2
    vectors["text"] = gallery.text.double()[caption]

    def rows(names):
        z = torch.stack([vectors[name] for name in names])
        return z[:, ::2] if names == ["text"] else z

    asked, items = rows(query), rows(item)
    owns = caption[::2] if item == ["text"] else caption
    for i in range(n):
        z = torch.cat([asked[:, i : i + 1].expand(-1, items.shape[1], -1), items]).transpose(0, 1)
        volume = torch.linalg.det(z @ z.mT).clamp_min(0).sqrt()
        hit = owns == caption[i]
        assert found.rank[i] == 1 + int((volume[~hit] < volume[hit].min()).sum())


def test_refusals(gallery):
    for query, item, score, message in (
        (["video"], ["text"], "volume", "no modality 'video'; the gallery has text, vision, audio"),
        (["text", "audio"], ["audio"], "volume", "'audio' is asked for and asked with"),
        ([], ["text"], "volume", "modalities none: name each once"),
        (["audio", "audio"], ["text"], "volume", "modalities audio, audio: name each once"),
        (["audio"], ["text"], "area", "score 'area': there are cosine, volume, residual"),
    ):
        with pytest.raises(UserError, match=message):
            between(gallery, query, item, score)


def test_groups_keep_the_renderings_of_a_caption_together(gallery):
    found = between(gallery, ["text", "audio"], ["vision"], "cosine")
    assert np.array_equal(found.group, np.array([f"test{i // 2}" for i in range(24)]))
    assert found.query[3] == "test2#0 test3"
