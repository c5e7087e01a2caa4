"""The strip shows the right images, upright, under the right captions."""

import numpy as np
import pytest
import torch

from lightning_interp.plots.image_strip import plot_image_strip


def gradient(n, channels=3, size=6):
    """Images that grow darker from the top down and, from one to the next, as a whole."""
    down = torch.linspace(1, 0, size).reshape(1, 1, size, 1)
    return down.expand(n, channels, size, size) * torch.linspace(1, 0.5, n).reshape(n, 1, 1, 1)


def pictures(figure):
    return [axis.images[0].get_array() for axis in figure.axes if axis.images]


def titles(figure):
    return [axis.get_title() for axis in figure.axes if axis.images]


def test_best_come_first_and_worst_begin_with_the_worst():
    images, scores = gradient(6), torch.tensor([-3.0, -1, -6, -2, -5, -4])
    figure = plot_image_strip(images, scores, torch.arange(6), n_columns=2)
    assert titles(figure) == ["-1.00\n1", "-2.00\n3", "-6.00\n2", "-5.00\n4"]
    for picture, i in zip(pictures(figure), [1, 3, 2, 4], strict=True):
        np.testing.assert_allclose(picture, images[i].permute(1, 2, 0))
    assert [axis.texts[0].get_text() for axis in figure.axes if axis.texts] == ["best", "worst"]


def test_images_stand_upright_and_features_below_them_on_one_scale():
    images = gradient(3)
    features = torch.stack([torch.zeros(2, 2), torch.ones(2, 2), torch.full((2, 2), 3.0)])
    figure = plot_image_strip(images, torch.tensor([0.0, -1, -2]), torch.zeros(3).long(), features=features, unit="u7")
    top, below = figure.axes[0].images[0], figure.axes[2].images[0]
    assert top.origin == "upper"
    assert top.get_array()[0].mean() > top.get_array()[-1].mean()
    assert figure.axes[2].texts[0].get_text() == "u7"
    assert below.get_array().tolist() == [[0, 0], [0, 0]]
    assert {axis.images[0].get_clim() for axis in (figure.axes[2], figure.axes[3], figure.axes[6])} == {(0.0, 3.0)}
    assert len(figure.axes[7].images) == 0  # the second row has one image less


def test_wrong_labels_are_coloured_and_say_what_the_image_is():
    figure = plot_image_strip(
        gradient(2), torch.tensor([0.0, -1]), torch.tensor([1, 0]), truth=torch.tensor([1, 1]), classes=["cat", "dog"]
    )
    right, wrong = figure.axes
    assert (right.get_title(), wrong.get_title()) == ("0.00\ndog\nright", "-1.00\ncat\nis dog")
    assert right.title.get_color() != wrong.title.get_color()


def test_no_image_is_shown_twice():
    for n in range(1, 8):
        figure = plot_image_strip(gradient(n), torch.arange(n).float(), torch.arange(n), n_columns=3)
        assert len(set(titles(figure))) == len(titles(figure)) == min(n, 6)


def test_images_without_score_are_left_out():
    figure = plot_image_strip(gradient(3), torch.tensor([-1.0, float("nan"), -2]), torch.arange(3))
    assert titles(figure) == ["-1.00\n0", "-2.00\n2"]


def test_long_names_are_cut():
    figure = plot_image_strip(gradient(1), torch.zeros(1), torch.zeros(1).long(), classes=["European fire salamander"])
    assert titles(figure) == ["0.00\nEuropean fir…"]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(3, 1, 1), [0, 0.2, 1]),
        (torch.tensor([0.2, 0.3, 0.4]).reshape(3, 1, 1), [0.2, 0.3, 0.4]),
        (torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1), [0, 0.5, 1]),
        (torch.tensor([0.5]).reshape(1, 1, 1), [0.5, 0.5, 0.5]),
        (torch.tensor([0.0, 0.5]).reshape(2, 1, 1), [0.25, 0.25, 0.25]),
        (torch.full((3, 1, 1), -2.0, dtype=torch.bfloat16), [0, 0, 0]),
    ],
    ids=["bytes", "floats", "normalised", "grey", "two channels", "constant"],
)
def test_any_image_becomes_colours(image, expected):
    (picture,) = pictures(plot_image_strip(image.unsqueeze(0), torch.zeros(1), torch.zeros(1).long()))
    assert picture[0, 0].tolist() == pytest.approx(expected)


def test_images_may_differ_in_size():
    images = [torch.zeros(3, 4, 9), torch.zeros(3, 7, 5)]
    figure = plot_image_strip(
        images, torch.zeros(2), torch.zeros(2).long(), features=[torch.zeros(2, 4), torch.ones(3, 2)]
    )
    assert [picture.shape for picture in pictures(figure)] == [(4, 9, 3), (2, 4), (7, 5, 3), (3, 2)]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"images": torch.zeros(0, 3, 4, 4)}, r"`images` .* at least one image, each of shape \(C, H, W\)"),
        ({"images": torch.zeros(2, 4, 4)}, r"`images` .* at least one image, each of shape \(C, H, W\)"),
        (
            {"scores": torch.zeros(3)},
            "`scores` parameter of `plot_image_strip` must be one number for each of 2 images",
        ),
        ({"scores": torch.full((2,), float("nan"))}, "`scores` .* must be a number for at least one image"),
        ({"labels": torch.zeros(2, 1)}, "`labels` .* must be one number for each of 2 images"),
        ({"truth": torch.zeros(1)}, "`truth` .* must be one number for each of 2 images"),
        ({"features": torch.zeros(2, 1, 3, 3)}, r"`features` .* must be one map \(h, w\) for each of 2 images"),
        ({"n_columns": 0}, "`n_columns` parameter of `plot_image_strip` must be an int"),
    ],
)
def test_bad_input_is_named(change, text):
    arguments = {"images": torch.zeros(2, 3, 4, 4), "scores": torch.zeros(2), "labels": torch.zeros(2).long()}
    with pytest.raises(ValueError, match=text):
        plot_image_strip(**{**arguments, **change})
