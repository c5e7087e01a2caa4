import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from torch import nn

from lightning_interp.functional.localization import heatmap_sweep, nmf_heatmaps
from lightning_interp.plots import plot_factor_maps, plot_heatmap_sweep, plot_heatmaps
from lightning_interp.plots.heatmap import overlay
from lightning_interp.plots.style import COLORS

IMAGES = torch.rand(4, 3, 12, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3))


def texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_strong_factor_takes_its_colour_and_a_silent_one_leaves_the_picture_grey():
    picture = torch.tensor([[[1.0, 0.0]]]).expand(3, 1, 2)
    maps = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])
    painted = overlay(picture, maps, [2, 5])
    assert torch.dist(painted[:, 0, 0], torch.tensor(to_rgb(COLORS[2]))) < 0.4
    assert len(set(painted[:, 0, 1].tolist())) == 1
    swapped = overlay(picture, maps.flip(0), [5, 2])
    assert torch.equal(swapped, painted)
    assert not torch.equal(overlay(picture, maps, [1, 5]), painted)
    assert ((painted >= 0) & (painted <= 1)).all()


def test_images_stand_above_their_overlays(net):
    found = nmf_heatmaps(net, IMAGES, 3)
    figure = plot_heatmaps(found, IMAGES, n_images=2)
    assert len(figure.axes) == 4
    np.testing.assert_allclose(figure.axes[1].images[0].get_array(), IMAGES[1].permute(1, 2, 0))
    expected = overlay(IMAGES[1], found.maps[1], found.colors).permute(1, 2, 0)
    np.testing.assert_allclose(figure.axes[3].images[0].get_array(), expected, atol=1e-6)
    assert all(axis.images[0].origin == "upper" for axis in figure.axes)


def test_the_legend_names_factors_and_their_worth(net):
    found = nmf_heatmaps(net, IMAGES, 2)
    worth = torch.tensor([[1.0, -0.5], [3.0, -0.5]])
    figure = plot_heatmaps(found, IMAGES, names=["body", "sky"], importance=worth)
    assert texts(figure) == ["body (class score -2 without)", "sky (class score +0.5 without)"]
    colors = [patch.get_facecolor()[:3] for patch in figure.legends[0].get_patches()]
    assert colors == [to_rgb(COLORS[0]), to_rgb(COLORS[1])]


def test_a_sweep_has_a_row_for_each_k(net):
    figure = plot_heatmap_sweep(heatmap_sweep(net, IMAGES, [1, 3]), IMAGES, n_images=3)
    assert len(figure.axes) == 6
    assert [axis.texts[0].get_text() for axis in figure.axes if axis.texts] == ["k = 1", "k = 3"]
    assert texts(figure) == ["concept 0", "concept 1", "concept 2"]


def test_signed_maps_have_a_row_each_around_white(net):
    found = nmf_heatmaps(net, IMAGES, 2, layer="0", method="pca")
    figure = plot_factor_maps(found, IMAGES, n_images=3)
    assert len(figure.axes) == 9
    picture = figure.axes[4].images[0]
    assert picture.get_clim() == (-1.0, 1.0)
    np.testing.assert_allclose(picture.get_array(), found.maps[1, 0], atol=1e-6)


def test_what_does_not_fit(net):
    found = nmf_heatmaps(net, IMAGES, 2)
    with pytest.raises(ValueError, match=r"4 pictures .* of the size of the heatmaps, \(12, 16\)"):
        plot_heatmaps(found, IMAGES[:, :, :, :8])
    with pytest.raises(ValueError, match="a name for each of 2 factors"):
        plot_heatmaps(found, IMAGES, names=["one"])
    with pytest.raises(ValueError, match="at least one result"):
        plot_heatmap_sweep([], IMAGES)
