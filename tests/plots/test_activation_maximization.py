import numpy as np
import pytest
import torch

from lightning_interp.functional.synthesis import FilterPatterns, Maximization, PixelSpace
from lightning_interp.plots import plot_ascent, plot_filter_patterns, plot_maximization


@pytest.fixture
def found():
    trace = torch.stack([torch.arange(5.0), -torch.arange(5.0)], 1)
    space = PixelSpace((0.5,), (0.25,))
    images = space.to_network(torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)))
    return Maximization(("conv:3", "class 1"), images, torch.tensor([12.345, -0.5]), trace, "steps", space)


def test_images_are_shown_without_their_normalisation(found):
    figure = plot_maximization(found)
    assert [axis.get_title() for axis in figure.axes] == ["conv:3\n12.3", "class 1\n-0.5"]
    for axis, pixels in zip(figure.axes, found.pixels, strict=True):
        np.testing.assert_allclose(axis.images[0].get_array(), pixels.permute(1, 2, 0))


def test_the_trace_is_a_line_for_each_image(found):
    (axis,) = plot_ascent(found).axes
    assert [line.get_ydata().tolist() for line in axis.lines] == found.trace.T.tolist()
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["conv:3", "class 1"]


def test_filters_stand_above_their_patterns():
    filters = torch.randn(3, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    figure = plot_filter_patterns(
        FilterPatterns("conv1", filters, 2 * filters, torch.tensor([1.0, 0.5, 0.9])), n_units=2
    )
    assert len(figure.axes) == 4
    assert [axis.get_title() for axis in figure.axes[:2]] == ["unit 0\ncosine 1.000", "unit 1\ncosine 0.500"]
    above, below = (figure.axes[i].images[0].get_array() for i in (0, 2))
    np.testing.assert_allclose(above, below)  # each on its own scale
    grey = plot_filter_patterns(FilterPatterns("c", filters[:, :1], filters[:, :1], torch.ones(3)))
    assert float(np.ptp(grey.axes[0].images[0].get_array(), axis=2).max()) == 0
