"""The three tasks of one BERT: cached layers, causal mask, pairs, output positions."""

import pytest
import torch
from torch.nn import functional

from pipeline.models import tokenizer, vast
from pipeline.settings import load

SHAPES = {"vision": (4, 24), "audio": (3, 16)}
ITSELF = torch.arange(3)[:, None].expand(-1, 2)
CAPTIONS = ["a red star", "a blue house is spinning, a slow low flute plays", "green moon"]


@pytest.fixture(scope="module", params=[1, 3])
def model(request: pytest.FixtureRequest) -> vast.Vast:
    settings = load("smoke", preset="mini-way")
    frozen = settings.vast.text.model_copy(update={"layers": 4, "frozen_layers": 4 - request.param})
    torch.manual_seed(0)
    built = vast.Vast(settings.vast.model_copy(update={"text": frozen}), SHAPES, tokenizer.load("tiny").size)
    built.bert.initialise("tiny")
    return built.eval()


@pytest.fixture(scope="module")
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    return tokenizer.load("tiny").encode(CAPTIONS, 24)


def condition(model: vast.Vast, n: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return model.tokens({name: torch.randn(n, *shape, generator=generator) for name, shape in SHAPES.items()})


def transformers_pass(
    model: vast.Vast, ids: torch.Tensor, mask: torch.Tensor, tokens: torch.Tensor | None = None
) -> torch.Tensor:
    """Activations [B, L, width] by the library's own layers on the whole grid."""
    hidden = model.bert.body.embeddings(input_ids=ids)
    for layer in model.bert.layers:
        seen = tokens if hasattr(layer, "crossattention") else None
        hidden = layer(hidden, attention_mask=mask, encoder_hidden_states=seen)
    return hidden


def words(ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    return torch.arange(ids.shape[1]) < lengths[:, None]


def written(model: vast.Vast, ids: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Activations [B, L, width] of the decoder at all places."""
    everything = torch.ones_like(ids, dtype=torch.bool)
    lengths = torch.full((len(ids),), ids.shape[1])
    return model.caption(ids, lengths, everything, tokens).view(*ids.shape, -1)


def test_cached_lower_layers_equal_a_full_pass_of_transformers(model, inputs):
    ids, lengths = inputs
    lower, kept = model.lower(ids, lengths), words(ids, lengths)
    hidden = transformers_pass(model, ids, kept[:, None, None])
    torch.testing.assert_close(model.text(lower, lengths), hidden[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.bert.upper(lower, lengths), hidden * kept[..., None], atol=1e-5, rtol=1e-5)


def test_the_decoder_equals_a_full_pass_of_transformers(model, inputs):
    ids, lengths = inputs
    tokens, kept = condition(model), words(ids, lengths)
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()[None, None]
    expected = transformers_pass(model, ids, causal, tokens)
    torch.testing.assert_close(written(model, ids, tokens), expected, atol=1e-5, rtol=1e-5)
    chosen = kept & (torch.rand(ids.shape, generator=torch.Generator().manual_seed(2)) < 0.5)
    found = model.caption(ids, lengths, chosen, tokens)
    torch.testing.assert_close(found, expected[chosen], atol=1e-5, rtol=1e-5)


def test_trimmed_cache_equals_padded(model, inputs):
    ids, lengths = inputs
    lower = model.lower(ids, lengths)
    short = int(lengths[0])
    alone = model.text(lower[:1, :short], lengths[:1])
    torch.testing.assert_close(alone, model.text(lower, lengths)[:1], atol=1e-5, rtol=1e-5)


def test_matching_equals_transformers_layers_with_cross_attention(model, inputs):
    ids, lengths = inputs
    lower, tokens = model.lower(ids, lengths), condition(model)
    mask = words(ids, lengths)[:, None, None]
    expected = model.match_head(transformers_pass(model, ids, mask, tokens)[:, 0])
    torch.testing.assert_close(model.matching(lower, lengths, tokens, ITSELF), expected, atol=1e-5, rtol=1e-5)


def test_all_pairs_equal_single_pairs(model, inputs):
    ids, lengths = inputs
    lower, tokens = model.lower(ids, lengths), condition(model, 5)
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(5)).flip(0)
    found = model.matching(lower, lengths, tokens, pairs)
    for (q, g), logits in zip(pairs.tolist(), found, strict=True):
        single = model.matching(lower[q : q + 1], lengths[q : q + 1], tokens[g : g + 1], ITSELF[:1])
        torch.testing.assert_close(logits, single[0], atol=1e-5, rtol=1e-5)


def test_causal_mask_leaks_nothing(model, inputs):
    ids, _ = inputs
    tokens = condition(model)
    before = model.bert.logits(written(model, ids, tokens))
    for place in range(1, ids.shape[1]):
        changed = ids.clone()
        changed[:, place:] = 7
        after = model.bert.logits(written(model, changed, tokens))
        torch.testing.assert_close(after[:, :place], before[:, :place], atol=1e-5, rtol=1e-5)
        assert not torch.allclose(after[:, place], before[:, place])


def test_condition_tokens_matter_and_frozen_parts_get_no_gradient(model, inputs):
    ids, lengths = inputs
    first, second = condition(model), condition(model).flip(0)
    lower = model.lower(ids, lengths)
    found = model.matching(lower, lengths, first, ITSELF)
    assert not torch.allclose(found, model.matching(lower, lengths, second, ITSELF))
    functional.cross_entropy(found, torch.tensor([0, 1, 1])).backward()
    frozen = model.bert.layers[: model.bert.frozen]
    assert all(p.grad is None for layer in frozen for p in layer.parameters())
    assert all(p.grad is not None for p in model.bert.layers[-1].crossattention.parameters())
    model.zero_grad()


def test_weights_file_has_the_shared_names_and_restores(model, inputs):
    names = model.tensors()
    for name in ("text", "vision", "audio", "fused_va"):
        assert f"heads.{name}.weight" in names
    assert "heads.temperature" in names
    assert "heads.fused_va.bias" in names
    assert not {"heads.text.bias", "heads.fused_v.weight"} & set(names)
