import itertools

from matplotlib.colors import to_rgb

from lightning_interp.plots.style import COLORS, axes_grid, finish


def luminance(color):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_colours_are_visible_on_white_and_differ_in_more_than_hue():
    contrasts = [1.05 / (luminance(color) + 0.05) for color in COLORS]
    assert min(contrasts) > 2
    first = COLORS[:3]
    assert all(abs(luminance(a) - luminance(b)) > 0.02 for a, b in itertools.combinations(first, 2))


def test_a_grid_gives_axes_row_by_row():
    figure, axes = axes_grid(2, 3)
    assert len(axes) == len(figure.axes) == 6
    finish(axes[0], title="t", x="a", y="b")
    assert (axes[0].get_title(), axes[0].get_xlabel(), axes[0].get_ylabel()) == ("t", "a", "b")
