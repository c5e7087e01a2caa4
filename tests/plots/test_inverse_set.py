from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from PIL import Image

from lightning_interp.functional.inverse_set import InverseSet
from lightning_interp.functional.synthesis import PixelSpace
from lightning_interp.plots.inverse_set import (
    plot_inverse_nearest,
    plot_inverse_set,
    plot_inverse_trace,
    save_inverse_animation,
)


def made(n=12, names=("conv:3",), *, low=2.0, width=1.0, channels=3, size=(6, 6), n_seeds=3):
    """Samples in the order of a walk: all seeds in turn. Activations rise from the lower to the upper end."""
    random = torch.Generator().manual_seed(n)
    space = PixelSpace((0.5,), (0.25,))
    images = space.to_network(torch.rand(n, channels, *size, generator=random))
    activations = (low + width * torch.linspace(0, 1, n))[:, None].expand(-1, len(names))
    intervals = torch.tensor([[low, low + width]]).repeat(len(names), 1)
    trace = torch.zeros(9, 6)
    trace[4:, 0] = 1
    trace[:, 1], trace[:, 2] = torch.linspace(0.8, 0, 9), torch.arange(9)
    seeds = torch.arange(n) % n_seeds
    return InverseSet(
        names, images, images.flatten(1), activations, images.flatten(1), seeds, intervals, intervals, trace, space
    )


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def which(figure, pixels):
    """Places of the drawn pictures among all pixels ``(n, C, H, W)``."""
    drawn = [np.asarray(image.get_array()) for image in figure.axes[0].images]
    there = pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    return [int(np.abs(there - picture).sum((1, 2, 3)).argmin()) for picture in drawn]


def assert_legible(figure):
    """No text leaves the figure or touches another."""
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_a_row_for_each_level():
    low, high = made(), made(low=10.0, width=20.0)
    figure = plot_inverse_set([low, high], n_columns=4)
    assert texts(figure)[0] == "conv:3\n[2.0, 3.0]"
    assert texts(figure)[5] == "conv:3\n[10, 30]"
    picked = which(figure, low.pixels)[:4]
    assert picked == [0, 4, 8, 9], "over the whole walk; the third seed is not left out"
    assert texts(figure)[1:5] == [f"{2 + place / 11:.1f}" for place in picked]
    lefts, tops = zip(*[(image.get_extent()[0], image.get_extent()[3]) for image in figure.axes[0].images], strict=True)
    assert lefts[:4] == lefts[4:] == tuple(sorted(lefts[:4]))
    assert min(tops[:4]) > max(tops[4:])
    assert all(image.origin == "upper" for image in figure.axes[0].images)
    assert_legible(figure)
    assert pyplot.get_fignums() == []


def test_all_seeds_are_shown_where_there_is_room():
    found = made(40, n_seeds=10)  # samples 0, 10, 20 and 30 descend from one seed
    picked = which(plot_inverse_set(found, n_columns=10), found.pixels)
    assert sorted(int(found.seeds[place]) for place in picked) == list(range(10))
    assert picked == sorted(picked)
    assert which(plot_inverse_set(found, n_columns=99), found.pixels) == list(range(40))


def test_several_neurons():
    figure = plot_inverse_set(made(names=("conv:3", "bird")), n_columns=2)
    assert texts(figure)[:2] == ["conv:3 [2.0, 3.0]\nbird [2.0, 3.0]", "2.0\n2.0"]
    figure = plot_inverse_set([made(names=("conv:3", "bird")), made()], titles=["both, for $5", "one"])
    assert texts(figure)[0] == "both, for $5\nconv:3 [2.0, 3.0]\nbird [2.0, 3.0]"
    assert texts(figure)[11] == "one\n[2.0, 3.0]"
    assert_legible(figure)


@pytest.mark.parametrize(
    ("low", "width", "text"), [(0.0, 2e-4, "0.00000"), (-8.0, 300.0, "-8"), (5.0, 0.5, "5.00"), (1.0, 1e9, "1")]
)
def test_activations_have_the_digits_that_tell_them_apart(low, width, text):
    figure = plot_inverse_set(made(10, low=low, width=width))
    captions = texts(figure)[1:]
    assert captions[0] == text
    assert len(set(captions)) == 10


def test_grey_and_wide_pictures_keep_their_shape():
    figure = plot_inverse_set(made(channels=1, size=(4, 8)), n_columns=2)
    image = figure.axes[0].images[0]
    left, right, bottom, top = image.get_extent()
    assert right - left == pytest.approx(2 * (top - bottom))
    assert np.ptp(np.asarray(image.get_array()), axis=2).max() == 0


def test_samples_stand_above_the_nearest_images():
    found = made()
    distances = torch.rand(12, generator=torch.Generator().manual_seed(0))
    nearest = torch.rand(12, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    figure = plot_inverse_nearest(found, nearest, distances, typical=0.25, n_columns=12)
    order = distances.argsort().tolist()
    assert which(figure, found.pixels)[:12] == order
    assert which(figure, nearest)[12:] == order
    assert texts(figure)[0].endswith("\n(real images: 0.25)")
    assert texts(figure)[1:13] == [f"{value:.3g}" for value in distances.sort().values.tolist()]
    assert texts(figure)[13:] == ["nearest image"]
    above, below = figure.axes[0].images[0].get_extent(), figure.axes[0].images[12].get_extent()
    assert above[:2] == below[:2]
    assert above[2] > below[3]
    assert_legible(figure)
    few = plot_inverse_nearest(found, nearest, distances, n_columns=3)
    assert which(few, found.pixels)[0] == order[0], "the pair most like a copy is always shown"
    assert texts(few)[0] == "samples\ndistance to the nearest"


def test_the_trace():
    found = made(names=("conv:3", "bird"))
    first, second, violation, inside = plot_inverse_trace(found).axes
    assert [first.get_ylabel(), second.get_ylabel()] == ["conv:3", "bird"]
    assert first.lines[0].get_ydata().tolist() == found.activations[:, 0].tolist()
    band = first.patches[0]
    assert (band.get_y(), band.get_height()) == (2.0, 1.0)
    assert violation.lines[0].get_ydata().tolist() == found.trace[:, 1].tolist()
    assert inside.lines[0].get_ydata().tolist() == found.trace[:, 2].tolist()
    assert [text.get_text() for text in violation.get_legend().get_texts()] == ["search for seeds"]
    for axis in (violation, inside):
        search = axis.patches[0]
        assert search.get_x() < 0
        assert 3 < search.get_x() + search.get_width() < 4, "steps 0 to 3 are of the search"


def frames(path):
    with Image.open(path) as gif:
        for i in range(gif.n_frames):
            gif.seek(i)
            yield gif.convert("RGB")


def cells(frame, n_rows, n_columns, side):
    """Pictures of a frame, row by row: found from the right and the top, where nothing but pictures is."""
    array = np.asarray(frame, dtype=float) / 255
    height = array.shape[0] // n_rows
    for row in range(n_rows):
        for column in range(n_columns):
            left = array.shape[1] - (n_columns - column) * (side + 4)
            yield array[row * height + 2 : row * height + 2 + side, left : left + side]


def test_the_animation_goes_through_all_samples(tmp_path):
    sets = [made(), made(9, low=10.0)]
    save_inverse_animation(sets, tmp_path / "a.gif", n_columns=3, side=18, fps=20)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 4, "the first row has 4 samples of each seed"
        assert (gif.info["loop"], gif.info["duration"]) == (0, 50)
    met = [set(), set()]
    for frame in frames(tmp_path / "a.gif"):
        assert frame.getpixel((0, 0)) == (255, 255, 255)
        for i, cell in enumerate(cells(frame, 2, 3, 18)):
            pixels = sets[i // 3].pixels.permute(0, 2, 3, 1).numpy().repeat(3, 1).repeat(3, 2)
            errors = np.abs(pixels - cell).mean((1, 2, 3))
            assert errors.min() < 0.04, "256 colours come close"
            met[i // 3].add(int(errors.argmin()))
    assert met == [set(range(12)), set(range(9))]


def test_walks_are_not_mixed(tmp_path):
    found = made()
    save_inverse_animation(found, tmp_path / "a.gif", n_columns=3, side=18)
    pixels = found.pixels.permute(0, 2, 3, 1).numpy().repeat(3, 1).repeat(3, 2)
    for frame in frames(tmp_path / "a.gif"):
        shown = [int(np.abs(pixels - cell).mean((1, 2, 3)).argmin()) for cell in cells(frame, 1, 3, 18)]
        assert found.seeds[shown].tolist() == [0, 1, 2]


def test_sizes_are_bounded(tmp_path):
    path = tmp_path / "a.gif"
    save_inverse_animation(made(size=(40, 20), channels=1), path, side=16, n_columns=1)
    *_, last = frames(path)
    assert last.height < 2 * 16 + 14
    (cell,) = cells(last, 1, 1, 16)
    assert (cell[:, 3] == 1).all(), "8 pixels wide, in the middle"
    assert (cell[:, 5] < 1).all()
    sizes = []
    for side in (16, 64):
        save_inverse_animation(made(30), path, side=side)
        sizes.append(path.stat().st_size)
    assert 2 * sizes[0] < sizes[1] < 200_000


def test_names_and_activations_are_written(tmp_path):
    plain, named = tmp_path / "plain.gif", tmp_path / "named.gif"
    save_inverse_animation(made(3), plain, side=32)
    save_inverse_animation(made(3), named, side=32, titles=["a much longer name of it"])
    (short,), (long,) = frames(plain), frames(named)
    assert long.width > short.width + 50
    below = np.asarray(short)[36:, -34:]
    assert below.min() < 64, "dark letters below the picture"


@pytest.mark.parametrize("draw", [plot_inverse_set, partial(save_inverse_animation, path="a.gif")])
def test_bad_sets(draw):
    empty = InverseSet(*[value[:0] if torch.is_tensor(value) else value for value in vars(made()).values()])
    with pytest.raises(ValueError, match=r"`sets` parameter of `\w+` must be one set at least, each with a sample"):
        draw([])
    with pytest.raises(ValueError, match=r"Got \[12, 0\]"):
        draw([made(), empty])
    with pytest.raises(ValueError, match=r"`titles` parameter of `\w+` must be one for each of 1 sets"):
        draw(made(), titles=["a", "b"])
    with pytest.raises(ValueError, match="`n_columns` parameter"):
        draw(made(), n_columns=0)


def test_other_bad_input():
    with pytest.raises(ValueError, match=r"`nearest` parameter .* one for each of 12 samples"):
        plot_inverse_nearest(made(), torch.rand(3, 3, 6, 6), torch.rand(12))
    with pytest.raises(ValueError, match=r"`distances` parameter .* one for each of 12 samples"):
        plot_inverse_nearest(made(), torch.rand(12, 3, 6, 6), torch.rand(3))
    with pytest.raises(ValueError, match="`side` parameter"):
        save_inverse_animation(made(), "a.gif", side=4)
    with pytest.raises(ValueError, match="`fps` parameter"):
        save_inverse_animation(made(), "a.gif", fps=0)
