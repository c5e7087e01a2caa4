import numpy as np
import pytest
import torch
from PIL import Image

from lightning_interp.plots.pictures import on_grey, plot_pictures, save_png

PICTURE = torch.zeros(3, 4, 6)
PICTURE[0, :2] = 1.0


def test_pictures_stand_upright_in_their_colours():
    figure = plot_pictures([PICTURE, PICTURE[:, :, :3]], ["wide", "narrow"])
    first, second = (axis.images[0] for axis in figure.axes)
    assert first.origin == "upper"
    np.testing.assert_array_equal(first.get_array(), PICTURE.permute(1, 2, 0))
    assert second.get_array().shape == (4, 3, 3)
    assert [axis.get_title() for axis in figure.axes] == ["wide", "narrow"]


def test_rows_and_columns():
    figure = plot_pictures(torch.rand(6, 1, 3, 3), rows=["a", "b"])
    assert [axis.texts[0].get_text() for axis in figure.axes if axis.texts] == ["a", "b"]
    assert figure.axes[0].get_gridspec().get_geometry() == (2, 3)
    assert plot_pictures(torch.rand(10, 4, 3, 3)).axes[0].get_gridspec().get_geometry() == (2, 8)
    assert len([axis for axis in plot_pictures(torch.rand(5, 3, 3, 3), n_columns=3).axes if axis.images]) == 5


def test_titles_that_do_not_fit():
    with pytest.raises(ValueError, match="one for each of 2 images"):
        plot_pictures(torch.rand(2, 3, 3, 3), ["one"])
    with pytest.raises(ValueError, match="at least one"):
        plot_pictures([])
    with pytest.raises(ValueError, match="a name for each of 2 rows"):
        plot_pictures(torch.rand(4, 3, 3, 3), rows=["a"], n_columns=2)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[-2.0, 0.0], [1.0, 0.0], [0.0, 2.0]], [[0, 0.75, 0.5], [0.5, 0.5, 1]]),
        ([[-1.0, 0.5]], [[0, 0, 0], [0.75, 0.75, 0.75]]),
        ([[-1.0, 0.5], [3.0, 0.5], [0.0, 0.0], [0.0, 0.0]], [[1, 1, 1], [0.75, 0.75, 0.75]]),
        ([[0.0, 0.0]], [[0.5, 0.5, 0.5]] * 2),
    ],
    ids=["colours", "grey", "four channels", "nothing"],
)
def test_zero_is_grey_and_the_scale_is_symmetric(values, expected):
    picture = on_grey(torch.tensor(values)[:, None])
    assert picture[:, 0].T.tolist() == pytest.approx(np.array(expected))


def test_a_few_large_values_may_be_clipped():
    values = torch.linspace(-1, 1, 100).expand(3, 1, 100).clone()
    values[:, 0, 7] = 500.0
    picture = on_grey(values, clipped=0.01)
    assert picture[:, 0, 7].tolist() == [1, 1, 1]
    assert picture[:, 0, 0].tolist() == pytest.approx([0, 0, 0])
    assert on_grey(values)[:, 0, 0].tolist() == pytest.approx([0.499] * 3)


def test_no_pixels():
    assert on_grey(torch.zeros(3, 0, 4)).shape == (3, 0, 4)


def test_a_file_holds_every_pixel(tmp_path):
    save_png(PICTURE, tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), 255 * PICTURE.permute(1, 2, 0))
    save_png(torch.tensor([[[0.25, 0.75]]]), tmp_path / "grey.png")
    with Image.open(tmp_path / "grey.png") as picture:
        assert np.asarray(picture).tolist() == [[[64] * 3, [191] * 3]]
