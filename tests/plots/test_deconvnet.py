import numpy as np
import pytest
import torch
from torch import nn

from lightning_interp.functional.synthesis.deconvnet import deconvnet
from lightning_interp.plots.deconvnet import plot_projection_evolution, plot_projections
from lightning_interp.plots.pictures import on_grey


@pytest.fixture
def projections():
    """Four units on two images; the last unit is silent."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    net[0].bias.data = torch.tensor([5.0, 5.0, 500.0, -5.0])
    return deconvnet(net, torch.rand(2, 3, 8, 10), "1", range(4))


def extents(figure):
    return np.array([image.get_extent() for image in figure.axes[0].images])


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_each_unit_has_a_row_of_patches_and_projections(projections):
    figure = plot_projections(projections)
    shown = [image.get_array() for image in figure.axes[0].images]
    assert len(shown) == 4 * 2 * 2
    for row in range(3):
        for i in range(2):
            patch, _ = projections.crop(row, i)
            assert shown[4 * row + 2 * i].shape == (3, 3, 3)
            assert np.allclose(shown[4 * row + 2 * i], patch.permute(1, 2, 0))
            top, left, bottom, right = projections.fields[row, i].tolist()
            whole = on_grey(projections.maps[row, i], clipped=0.005).permute(1, 2, 0).numpy()
            assert np.allclose(shown[4 * row + 2 * i + 1], whole[top:bottom, left:right])
    assert all(image.origin == "upper" for image in figure.axes[0].images)
    assert figure.axes[0].get_title() == "DeconvNet, layer 1"


def test_captions_name_units_and_activations(projections):
    found = texts(plot_projections(projections))
    assert [text for text in found if text.startswith("unit")] == ["unit 0", "unit 1", "unit 2", "unit 3"]
    first, large = projections.activations[0, 0], projections.activations[2, 0]
    assert found[1] == f"{float(first):.3g}"
    assert found[7] == f"{float(large):.0f}"
    assert found[-2:] == ["silent", "silent"]


def test_a_silent_unit_is_grey_on_the_whole_image(projections):
    picture, projection = plot_projections(projections).axes[0].images[-2:]
    assert np.allclose(picture.get_array(), projections.images[1].permute(1, 2, 0))
    assert np.all(np.asarray(projection.get_array()) == 0.5)


@pytest.mark.parametrize("crop", [True, False])
def test_pictures_neither_overlap_nor_leave_the_axes(projections, crop):
    for figure in (plot_projections(projections, crop=crop), plot_projection_evolution({1: projections}, crop=crop)):
        boxes, axis = extents(figure), figure.axes[0]
        for i, (left, right, bottom, top) in enumerate(boxes):
            assert axis.get_xlim()[0] < left < right < axis.get_xlim()[1]
            assert axis.get_ylim()[0] < bottom < top < axis.get_ylim()[1]
            for other in boxes[i + 1 :]:
                assert right <= other[0] or other[1] <= left or top <= other[2] or other[3] <= bottom


def test_cells_keep_the_shape_of_images(projections):
    left, right, bottom, top = extents(plot_projections(projections, crop=False))[0]
    assert (right - left) / (top - bottom) == pytest.approx(10 / 8)


def test_pictures_stand_for_normalised_images(projections):
    pictures = torch.rand(2, 1, 8, 10)
    shown = plot_projections(projections, pictures=pictures, crop=False).axes[0].images[0].get_array()
    assert np.allclose(shown, pictures[0].permute(1, 2, 0).expand(-1, -1, 3))


def test_evolution_has_a_row_per_unit_and_image_and_a_column_per_epoch(projections):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    later = deconvnet(net, projections.images, "1", range(4))
    figure = plot_projection_evolution({10: later, 2.5: projections}, crop=False)
    shown = [image.get_array() for image in figure.axes[0].images]
    assert len(shown) == 4 * 2 * 3
    for row in range(8):
        unit, i = divmod(row, 2)
        assert np.allclose(shown[3 * row], projections.images[i].permute(1, 2, 0))
        for column, epoch in enumerate((projections, later), start=1):
            assert np.allclose(
                shown[3 * row + column], on_grey(epoch.maps[unit, i], clipped=0.005).permute(1, 2, 0).numpy()
            )
    assert texts(figure)[:3] == ["epoch 2.5", "epoch 10", "unit 0\nimage 0"]


def test_a_position_that_sees_only_padding_leaves_its_cell_empty():
    net = nn.Conv2d(1, 1, 1, padding=1)
    net.bias.data.fill_(2.0)
    found = deconvnet(net, torch.zeros(1, 1, 4, 4), "<output>", position=(0, 0))
    assert found.fields.tolist() == [[[0, 0, 0, 0]]]
    assert len(plot_projections(found).axes[0].images) == 0


def test_bad_input_is_named(projections):
    with pytest.raises(ValueError, match=r"`pictures` parameter of `plot_projections` .* \(2, C, 8, 10\)"):
        plot_projections(projections, pictures=torch.zeros(2, 3, 8, 9))
    with pytest.raises(ValueError, match="`pictures` parameter of `plot_projection_evolution`"):
        plot_projection_evolution({0: projections}, pictures=torch.zeros(1, 3, 8, 10))
    with pytest.raises(ValueError, match=r"`projections_by_epoch` .* at one epoch at least. Got {}"):
        plot_projection_evolution({})
    others = deconvnet(nn.Conv2d(3, 4, 3), projections.images, "<output>")
    with pytest.raises(ValueError, match="must be projections of the same units"):
        plot_projection_evolution({0: projections, 1: others})
