from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lightning_interp.functional.compression import SweepOptions, class_scores, group_batches, sweep_ranks


def test_batches_hold_one_class_and_every_image_once():
    labels = torch.tensor([2, 0, 2, 2, 0, 1, 2])
    batches = group_batches(labels, batch_size=2, single_class=True)
    assert [batch.tolist() for batch in batches] == [[1, 4], [5], [0, 2], [3, 6]]
    mixed = group_batches(labels, batch_size=3, single_class=False)
    assert [batch.tolist() for batch in mixed] == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: (x, 1), lambda x: {"logits": x}, lambda x: SimpleNamespace(logits=x)]
)
def test_scores_are_found_in_what_models_return(wrap):
    scores = torch.rand(2, 3)
    assert class_scores(wrap(scores)) is scores


@pytest.mark.parametrize("output", [torch.rand(2), torch.rand(2, 3, 4), "scores", {"x": torch.rand(2, 3)}])
def test_other_outputs_are_named(output):
    with pytest.raises(TypeError, match=r"must return class scores \(N, n_classes\)"):
        class_scores(output)


@pytest.mark.parametrize("method", ["nmf", "pca"])
def test_many_small_chunks_count_like_one(method, monkeypatch):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4))
    images, labels = torch.rand(43, 3, 9, 9), torch.arange(43) % 4
    batches = group_batches(labels, batch_size=4, single_class=True)
    options = SweepOptions(("1",), (1, 2, 4), method)
    whole = sweep_ranks(net, images, labels, batches, options, n_classes=4)
    monkeypatch.setattr("lightning_interp.functional.compression.sweep._MAX_PIXELS", 1, raising=True)
    parts = sweep_ranks(net, images, labels, batches, options, n_classes=4)
    assert torch.equal(parts.correct, whole.correct)
    assert torch.allclose(parts.squared_error, whole.squared_error, rtol=1e-3)
    assert whole.total.tolist() == [11, 11, 11, 10]
