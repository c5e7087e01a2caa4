from itertools import pairwise

import pytest
import torch

from lightning_interp.callbacks.evolution import Evolution


def filled(n, n_columns=10, picture=None):
    evolution = Evolution(n_columns=n_columns)
    for epoch in range(n):
        evolution.add(
            float(epoch), ["a", "b"], [torch.full((3, 4, 4), epoch / 100) if picture is None else picture] * 2
        )
    return evolution


@pytest.mark.parametrize("n", [1, 4, 5, 9, 33, 100])
def test_columns_are_few_even_and_end_with_the_latest(n):
    evolution = filled(n, n_columns=4)
    epochs = evolution.epochs
    assert len(epochs) <= 4
    assert (epochs[0], epochs[-1]) == (0.0, n - 1.0)
    gaps = {b - a for a, b in pairwise(epochs[:-1])}
    assert len(gaps) <= 1
    assert [int(column[0].max()) for column in evolution.columns] == [round(255 * e / 100) for e in epochs]


def test_thumbnails_are_small_square_and_upright():
    picture = torch.zeros(3, 100, 200)
    picture[0, :50] = 1.0  # red above
    (thumbnail, _) = filled(1, picture=picture).columns[0]
    assert (thumbnail.dtype, thumbnail.shape) == (torch.uint8, (3, 64, 64))
    assert thumbnail[:, 2, 30].tolist() == [255, 255, 255]  # a white frame
    assert thumbnail[:, 20, 30].tolist() == [255, 0, 0]
    assert thumbnail[:, 44, 30].tolist() == [0, 0, 0]
    assert filled(1, picture=torch.rand(4, 5, 5)).columns[0][0].shape == (1, 5, 5)


def test_the_figure_has_a_row_per_name_and_a_column_per_epoch():
    figure = filled(3).figure()
    assert [axis.get_title() for axis in figure.axes] == ["epoch 0", "epoch 1", "epoch 2", "", "", ""]
    assert [axis.texts[0].get_text() for axis in figure.axes if axis.texts] == ["a", "b"]
    assert figure.axes[1].images[0].get_array()[0, 0].tolist() == pytest.approx([3 / 255] * 3)


def test_a_resumed_one_goes_on_as_if_never_stopped():
    whole, first = filled(12, n_columns=4), filled(7, n_columns=4)
    second = Evolution(n_columns=4)
    second.load_state_dict(first.state_dict())
    for epoch in range(7, 12):
        second.add(float(epoch), ["a", "b"], [torch.full((3, 4, 4), epoch / 100)] * 2)
    assert second.epochs == whole.epochs
    assert str(second.state_dict()) == str(whole.state_dict())
    assert whole.nbytes == len(whole.epochs) * 2 * 48
