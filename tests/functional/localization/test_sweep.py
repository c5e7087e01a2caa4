from itertools import pairwise

import pytest
import torch

from lightning_interp.exceptions import NegativeActivationsError
from lightning_interp.functional.localization import heatmap_sweep
from lightning_interp.functional.localization.sweep import matched_colors
from lightning_interp.models import SVHNCNN
from tests.functional.localization.test_heatmap import PATTERNS, REGIONS

IMAGES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_concepts_keep_their_colours():
    conv = torch.nn.Conv2d(3, PATTERNS.shape[1], 1, bias=False)
    conv.weight.data = PATTERNS.T[:, :, None, None].clone()
    sweep = heatmap_sweep(torch.nn.Sequential(conv, torch.nn.ReLU()), REGIONS, [2, 3, 4], layer="1")
    assert [found.k for found in sweep] == [2, 3, 4]
    for before, after in pairwise(sweep):
        likeness = before.v @ after.v.T
        for i, color in enumerate(before.colors):
            if likeness[i].max() > 0.99:  # a factor that is still there
                assert after.colors[int(likeness[i].argmax())] == color
        assert len(set(after.colors)) == after.k
        assert set(before.colors) <= set(after.colors)


def test_colours_are_matched_one_to_one():
    assert matched_colors(torch.eye(4)[:2], (0, 1), torch.eye(4)[[1, 3, 0]]) == (1, 2, 0)
    assert matched_colors(torch.eye(2), (4, 7), torch.eye(2)[[1]]) == (7,)
    close = torch.tensor([[1.0, 0.0], [0.9, 0.1]])
    assert sorted(matched_colors(close, (0, 1), close.flip(0))) == [0, 1]


def test_errors_fall_with_k():
    torch.manual_seed(0)
    sweep = heatmap_sweep(SVHNCNN(width=4).eval(), IMAGES, (1, 2, 4), method="pca")
    assert sweep[0].error > sweep[1].error > sweep[2].error


def test_a_signed_layer_is_named():
    with pytest.raises(NegativeActivationsError, match=r"Layer 'features.4' is signed"):
        heatmap_sweep(SVHNCNN(width=4).eval(), IMAGES, [1, 2], layer="features.4")


def test_bad_ranks():
    net = SVHNCNN(width=4).eval()
    for ks in ([], [2, 1]):
        with pytest.raises(ValueError, match="`ks` parameter"):
            heatmap_sweep(net, IMAGES, ks)
    with pytest.raises(ValueError, match=r"`k` parameter of `nmf_heatmaps` must be an int in \[1, 32\]"):
        heatmap_sweep(net, IMAGES, [1, 99])
