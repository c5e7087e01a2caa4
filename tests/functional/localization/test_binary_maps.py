import pytest
import torch

from lightning_interp.functional.localization import binary_maps as module
from lightning_interp.functional.localization.binary_maps import binarize, foreground_factor, map_batches
from lightning_interp.functional.localization.heatmap import nmf_heatmaps
from tests.functional.localization.test_cosegmentation import planted_network, planted_regions


def heatmaps(n=5):
    return nmf_heatmaps(planted_network(3), planted_regions(n), 3)


@pytest.mark.parametrize("at_once", [1, 3 * 256, 2**22])
def test_heatmaps_are_cut_a_few_images_at_a_time_with_the_same_result(at_once, monkeypatch):
    monkeypatch.setattr(module, "_PIXELS_AT_ONCE", at_once)
    maps = heatmaps()
    assert torch.equal(binarize(maps, threshold=0.4), maps.maps >= 0.4)
    assert torch.equal(torch.cat(list(map_batches(maps))), maps.maps)
    assert torch.equal(torch.cat(list(map_batches(maps, [3, 1]))), maps.maps[[3, 1]])


def test_higher_thresholds_leave_less():
    maps = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    low, high = binarize(maps, threshold=0.3), binarize(maps, threshold=0.6)
    assert (high <= low).all()
    assert int(low.sum()) == sum(value >= 0.3 for value in maps.flatten().tolist())


@pytest.mark.parametrize("threshold", [0.0, 1.1, -0.5])
def test_bad_thresholds_are_named(threshold):
    with pytest.raises(ValueError, match="`threshold` parameter of `binarize`"):
        binarize(torch.rand(2, 2), threshold=threshold)


def border_by_hand(cells, k):
    n, _, h, w = cells.shape
    places = [(i, r, c) for i in range(n) for r in range(h) for c in range(w) if r in (0, h - 1) or c in (0, w - 1)]
    return sum(float(cells[i, k, r, c]) for i, r, c in places)


@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (2, 4, 2, 3), (3, 2, 1, 1)])
def test_the_foreground_has_the_least_on_the_border(shape):
    cells = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    on_border = [border_by_hand(cells, k) for k in range(shape[1])]
    assert foreground_factor(cells) == on_border.index(min(on_border))


def test_a_silent_factor_is_no_foreground():
    cells = torch.ones(2, 3, 4, 4)
    cells[:, 1] = 0
    cells[:, 2, 0] = 0.5
    assert foreground_factor(cells) == 2
    assert foreground_factor(cells[:, :1]) == 0
    with pytest.raises(ValueError, match="`cells` parameter of `foreground_factor` must be maps that are not zero"):
        foreground_factor(cells[:, 1:2])


def test_the_scale_of_each_image_lets_none_outshine_the_others():
    maps = torch.tensor([[[[1.0, 0.5, 0.2]]], [[[0.1, 0.05, 0.0]]], [[[0.0, 0.0, 0.0]]]])
    of_set = binarize(maps, threshold=0.4)
    of_image = binarize(maps, threshold=0.4, scale="image")
    assert of_set.flatten(1).tolist() == [[True, True, False], [False] * 3, [False] * 3]
    assert of_image.flatten(1).tolist() == [[True, True, False], [True, True, False], [False] * 3]
    with pytest.raises(ValueError, match="`scale` parameter of `binarize`"):
        binarize(maps, scale="batch")
