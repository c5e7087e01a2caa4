import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot
from matplotlib.contour import ContourSet

from lightning_interp.functional.dissection import Concepts, LayerDissection, NetworkDissection, TopImages
from lightning_interp.functional.dissection.regions import UnitRegions
from lightning_interp.plots.dissection import (
    plot_detector_comparison,
    plot_detector_history,
    plot_detectors,
    plot_unit_grid,
)

CONCEPTS = Concepts.of({"color": ["unlabelled", "red", "blue"], "part": ["unlabelled", "wheel"]})


def dissection(*ious):
    layers = {
        f"conv{i}": LayerDissection(torch.ones(len(iou)), torch.tensor(iou), TopImages.zeros(len(iou), 1))
        for i, iou in enumerate(ious)
    }
    return NetworkDissection(CONCEPTS, layers, 0.04)


TWO = dissection([[0.1, 0.0, 0.0], [0.2, 0.0, 0.0]], [[0.0, 0.3, 0.0], [0.1, 0.0, 0.0], [0.0, 0.0, 0.01]])


def bars(axis):
    """Heights by category, one per group."""
    return {c.get_label(): [bar.get_height() for bar in c] for c in axis.containers if hasattr(c, "patches")}


def test_bars_by_category_for_each_layer_and_for_all():
    (axis,) = plot_detectors(TWO).axes
    assert bars(axis) == {"color": [1, 2, 2], "part": [0, 0, 0]}
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["conv0", "conv1", "all layers"]
    assert axis.get_title() == "Detectors among 5 units (IoU > 0.04)"


def test_one_layer_is_not_repeated_as_all_layers():
    (axis,) = plot_detectors(dissection([[0.1, 0.0, 0.0]])).axes
    assert bars(axis) == {"color": [1], "part": [0]}


def test_many_categories_are_told_apart():
    names = {f"category {i}": ["unlabelled", "a"] for i in range(9)}
    layer = LayerDissection(torch.ones(1), torch.ones(1, 9), TopImages.zeros(1, 1))
    (axis,) = plot_detectors(NetworkDissection(Concepts.of(names), {"conv": layer}, 0.04)).axes
    looks = {(bar.get_facecolor(), bar.get_hatch()) for bar in axis.patches}
    assert len(looks) == 9


def unit(images, masks, name="wheel"):
    return UnitRegions("conv", 3, name, "part", 0.25, tuple(images), tuple(masks))


def test_the_grid_dims_what_a_unit_does_not_see():
    image = torch.full((3, 4, 6), 0.8)
    mask = torch.zeros(4, 6).bool()
    mask[0, :2] = True  # top left
    (axis,) = plot_unit_grid([unit([image, image], [mask, ~mask]), unit([image], [mask])]).axes
    shown = np.array(axis.images[0].get_array())
    assert np.allclose(shown[0, 0], 0.8)
    assert np.allclose(shown[3, 5], 0.8 * 0.35)
    assert len(axis.images) == 3
    assert [text.get_text().split("\n")[0] for text in axis.texts] == ["wheel (part)"] * 2


def test_pictures_are_the_right_side_up_in_their_row_and_the_outline_fits():
    mask = torch.zeros(4, 8).bool()
    mask[0, 0] = True
    grid = plot_unit_grid([unit([torch.rand(3, 4, 8)] * 2, [~mask, mask])] * 2)
    (axis,) = grid.axes
    left, right, bottom, top = axis.images[3].get_extent()
    assert (left, top) == (1, -1)  # second image of the second row
    assert right - left == pytest.approx(2 * (top - bottom))  # wide images stay wide
    outline = [c for c in axis.collections if isinstance(c, ContourSet)][3].get_paths()[0].vertices
    assert outline[:, 0].min() >= left - 0.07
    assert outline[:, 0].max() < left + 0.2
    assert outline[:, 1].max() <= top + 0.07
    assert outline[:, 1].min() > top - 0.2
    low, high = axis.get_ylim()
    assert high > low


def test_units_that_see_nothing_and_units_without_images_are_drawn():
    image, nothing = torch.rand(1, 8, 8), torch.zeros(8, 8).bool()
    (axis,) = plot_unit_grid([unit([image], [nothing]), unit([], [])]).axes
    assert len(axis.images) == 1
    assert len(axis.texts) == 2


def test_normalised_images_are_stretched():
    (axis,) = plot_unit_grid([unit([torch.randn(3, 8, 8) * 3], [torch.ones(8, 8).bool()])]).axes
    shown = np.array(axis.images[0].get_array())
    assert (shown.min(), shown.max()) == (0, 1)


HISTORY = pd.DataFrame(
    {
        "epoch": [5, 10],
        "step": [50, 100],
        "color": [1, 3],
        "part": [0, 2],
        "total": [1, 5],
        "conv/part": [0, 2],
        "seconds": 1,
    }
)


def test_the_history_has_a_line_per_category_and_the_total():
    (axis,) = plot_detector_history(HISTORY).axes
    lines = {line.get_label(): line.get_ydata().tolist() for line in axis.lines}
    assert lines == {"color": [1, 3], "part": [0, 2], "total": [1, 5]}
    assert len({line.get_color() for line in axis.lines}) == 3


def test_conditions_side_by_side():
    left, right = plot_detector_comparison({"plain": HISTORY, "batch norm": HISTORY.assign(color=0)}).axes
    assert bars(left) == {"color": [3, 0], "part": [2, 2]}
    assert [line.get_ydata().tolist() for line in right.lines] == [[1, 5], [0, 2]]
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["plain", "batch norm"]


def test_dissections_of_finished_networks_have_bars_only():
    (axis,) = plot_detector_comparison({"one": TWO, "other": dissection([[0.0, 0.0, 0.5]])}).axes
    assert bars(axis) == {"color": [2, 0], "part": [0, 1]}


@pytest.mark.parametrize("plot", [plot_unit_grid, plot_detector_comparison])
def test_nothing_to_draw_is_an_error(plot):
    with pytest.raises(ValueError, match=r"must be at least one (unit|run)\. Got 'none'"):
        plot({} if plot is plot_detector_comparison else [])


def test_figures_stay_out_of_the_registry_of_pyplot():
    plot_detectors(TWO)
    assert pyplot.get_fignums() == []
