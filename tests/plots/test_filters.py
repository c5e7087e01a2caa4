import numpy as np
import pytest
import torch

from lightning_interp.plots.filters import plot_filters


def test_filters_stand_upright_in_reading_order():
    weight = torch.zeros(5, 3, 2, 2)
    weight[:, :, 0, 1] = 1.0  # top right
    axis = plot_filters(weight, n_columns=3).axes[0]
    lefts, tops = zip(*[(image.get_extent()[0], image.get_extent()[3]) for image in axis.images], strict=True)
    assert lefts == (0, 1, 2, 0, 1)
    assert tops == (0, 0, 0, -1, -1)
    assert all(image.origin == "upper" for image in axis.images)
    assert axis.images[0].get_array()[0, 1].tolist() == [1, 1, 1]
    assert [text.get_text() for text in axis.texts] == ["0", "3"]
    assert axis.get_title() == "5 filters"


def test_cells_keep_the_shape_of_filters():
    left, right, bottom, top = plot_filters(torch.randn(4, 1, 3, 6)).axes[0].images[2].get_extent()
    assert (top - bottom) / (right - left) == pytest.approx(0.5)


def test_dead_filters_are_crossed_out():
    dead = torch.tensor([False, True, False, False, True])
    axis = plot_filters(torch.randn(5, 3, 4, 4), n_columns=3, dead=dead).axes[0]
    assert axis.get_title() == "5 filters, 2 dead (crossed out)"
    crosses = [line.get_xydata().mean(0).tolist() for line in axis.lines]
    middles = [np.array(axis.images[i].get_extent()).reshape(2, 2).mean(1).tolist() for i in (1, 1, 4, 4)]
    assert crosses == middles


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"weight": torch.zeros(3, 5)}, r"`weight` parameter of `plot_filters` must be weights \(O, I, h, w\)"),
        ({"weight": torch.zeros(0, 3, 5, 5)}, "`weight` .* of at least one filter"),
        ({"dead": torch.zeros(3).bool()}, "`dead` .* must be a mask of 4 filters"),
        ({"n_columns": 0}, "`n_columns` .* must be an int"),
    ],
)
def test_bad_input_is_named(change, text):
    with pytest.raises(ValueError, match=text):
        plot_filters(**{"weight": torch.zeros(4, 3, 5, 5), **change})
