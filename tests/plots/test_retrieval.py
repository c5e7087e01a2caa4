import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from torch import nn

from lightning_interp.functional.localization import nmf_heatmaps
from lightning_interp.plots.heatmap import overlay
from lightning_interp.plots.retrieval import plot_ranking, plot_ranking_factors

SIZES = [(20, 30), (30, 20), (24, 24), (12, 36), (40, 10), (20, 30), (30, 30)]
QUERY, *RESULTS = (torch.rand(3, *size, generator=torch.Generator().manual_seed(i)) for i, size in enumerate(SIZES))


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def frames(figure):
    """Thick rectangles: left, bottom, right, top and colour."""
    found = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle) and patch.get_linewidth() > 3.3]
    return [(tuple(patch.get_bbox().extents.round(4)), patch.get_edgecolor()[:3]) for patch in found]


def overlapping(figure):
    """Texts and pictures that lie on each other, in pixels of the figure at 100 dpi."""
    figure.set_dpi(100)
    figure.draw_without_rendering()
    parts = [*figure.axes[0].texts, *figure.axes[0].images, *(t for legend in figure.legends for t in legend.texts)]
    boxes = [part.get_window_extent() for part in parts]
    width, height = figure.canvas.get_width_height()
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes), "cut off"
    pairs = [(i, j) for i in range(len(boxes)) for j in range(i)]
    return [(parts[i], parts[j]) for i, j in pairs if boxes[i].overlaps(boxes[j])]


def test_frames_and_marks_say_what_is_right():
    figure = plot_ranking(QUERY, RESULTS[:3], relevant=[True, False, None], scores=torch.tensor([0.9, 0.5, 0.25]))
    assert texts(figure) == ["1  ✓  0.900", "2  ✗  0.500", "3  ?  0.250", "query"]
    colors = [color for _, color in frames(figure)]
    assert len(set(colors)) == 4
    (green, red, grey, orange) = colors
    assert green[1] > max(green[0], green[2])
    assert red[0] > 2 * max(red[1], red[2])
    assert grey[0] == grey[1] == grey[2]
    assert orange == to_rgb("#E69F00")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["✓ relevant", "✗ not relevant", "? not judged"]
    assert [t.get_text() for t in plot_ranking(QUERY, RESULTS[:1], relevant=[True]).legends[0].texts] == ["✓ relevant"]
    assert not plot_ranking(QUERY, RESULTS[:1]).legends


def test_pictures_keep_their_shape_and_stand_in_their_frames():
    figure = plot_ranking(QUERY, RESULTS, n_columns=4)
    images = figure.axes[0].images
    assert len(images) == 7
    for image, picture, (frame, _) in zip(images, [*RESULTS, QUERY], frames(figure), strict=True):
        np.testing.assert_allclose(image.get_array(), picture.permute(1, 2, 0))
        left, right, bottom, top = image.get_extent()
        assert (right - left) / (top - bottom) == pytest.approx(picture.shape[2] / picture.shape[1])
        assert frame == pytest.approx((left, bottom, right, top), abs=1e-3)
    bottoms = [image.get_extent()[2] for image in images]
    assert len(set(bottoms[:4])) == len(set(bottoms[4:6])) == 1
    assert bottoms[4] < bottoms[0] == bottoms[6], "the query stands in the first row"
    lefts = [image.get_extent()[0] for image in images[:4]]
    assert images[6].get_extent()[1] < lefts[0]
    assert lefts == sorted(lefts)


def test_boxes_are_in_pixels_of_their_pictures():
    box = (5, 2, 15, 12)
    figure = plot_ranking(QUERY, RESULTS[:2], query_box=(3, 4, 9, 18), boxes=[box, (-1, -1, -1, -1)])
    thin = [patch for patch in figure.axes[0].patches if patch.get_linewidth() < 2]
    assert len(thin) == 2
    for patch, image, (x0, y0, x1, y1), picture in zip(
        thin, [figure.axes[0].images[i] for i in (0, 2)], [box, (3, 4, 9, 18)], [RESULTS[0], QUERY], strict=True
    ):
        left, right, _, top = image.get_extent()
        scale = (right - left) / picture.shape[2]
        expected = [left + scale * x0, top - scale * y1, left + scale * x1, top - scale * y0]
        assert patch.get_bbox().extents.tolist() == pytest.approx(expected)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["found box"]


@pytest.mark.parametrize("n", [1, 6, 20])
def test_nothing_lies_on_anything_else(n):
    names = [f"holidays/2009/a folder with a long name/PICTURE_{i:06d}.JPG" for i in range(n)]
    results = [RESULTS[i % 6] for i in range(n)]
    options = {"relevant": [i % 2 == 0 for i in range(n)], "scores": [0.5] * n, "query_title": names[0]}
    figure = plot_ranking(QUERY, results, titles=names, **options)
    assert not overlapping(figure)
    assert all(len(line) <= 22 for text in texts(figure) for line in text.split("\n"))
    assert texts(figure)[0].endswith("000000.JPG"), "the end of a path tells files apart"
    assert pyplot.get_fignums() == []


def test_missing_pictures_and_names_that_are_no_formulas():
    figure = plot_ranking(QUERY, [None, RESULTS[0]], titles=["$5 and $6.jpg", "b$\\frac$.jpg"])
    assert "missing" in texts(figure)
    assert "1\n$5 and $6.jpg" in texts(figure)
    figure.draw_without_rendering()
    grey = np.asarray(figure.axes[0].images[0].get_array())
    assert len(np.unique(grey)) == 1


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())


def test_a_row_of_overlays_for_each_factor(net):
    found = nmf_heatmaps(net, [QUERY, *RESULTS[:2]], 2, image_size=16)
    figure = plot_ranking_factors(
        QUERY, [RESULTS[0], None, RESULTS[1]], found, scores=[0.9, 0.8, 0.7], names=["a", "b"]
    )
    assert texts(figure) == ["query", "1  0.900", "missing", "2  0.800", "3  0.700", "a", "b"]
    images = figure.axes[0].images
    assert len(images) == 4 + 2 * 3
    expected = overlay(RESULTS[1], found.maps_of(2, size=(24, 24))[1:], [1]).permute(1, 2, 0)
    np.testing.assert_allclose(images[-1].get_array(), expected, atol=1e-6)
    columns = [image.get_extent()[0] for image in images]
    assert columns[:3] == [columns[0]] * 3, "factors stand below their picture"
    assert images[0].get_extent()[2] > images[1].get_extent()[3] > images[2].get_extent()[3]
    assert not [pair for pair in overlapping(figure) if "missing" not in str(pair)]
    few = plot_ranking_factors(QUERY, [RESULTS[0], None, RESULTS[1]], found, n_results=1, relevant=[True, True, False])
    assert len(few.axes[0].images) == 2 * 3
    assert "1  ✓" in texts(few)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"results": []}, "`results` parameter of `plot_ranking` must be at least one picture"),
        ({"results": [torch.rand(8, 8)]}, r"`results` parameter .* pictures \(3, H, W\)"),
        ({"query": torch.rand(1, 3, 8, 8)}, "`query` parameter"),
        ({"relevant": [True]}, "`relevant` parameter .* one for each of 2 results"),
        ({"scores": torch.rand(3)}, "`scores` parameter"),
        ({"titles": ["a"]}, "`titles` parameter"),
        ({"boxes": [(0, 0, 1, 1)]}, "`boxes` parameter"),
        ({"n_columns": 0}, "`n_columns` parameter"),
    ],
)
def test_bad_rankings(options, match):
    with pytest.raises(ValueError, match=match):
        plot_ranking(**{"query": QUERY, "results": RESULTS[:2], **options})


def test_bad_factors(net):
    found = nmf_heatmaps(net, [QUERY, *RESULTS[:2]], 2, image_size=16)
    with pytest.raises(ValueError, match=r"query and the results that are there, 2\. Got 'nmf of 3'"):
        plot_ranking_factors(QUERY, RESULTS[:1], found)
    with pytest.raises(ValueError, match="a name for each of 2 factors"):
        plot_ranking_factors(QUERY, RESULTS[:2], found, names=["one"])
    signed = nmf_heatmaps(net[0], [QUERY, *RESULTS[:2]], 2, layer="<output>", method="pca", image_size=16)
    with pytest.raises(ValueError, match="Got 'pca of 3'"):
        plot_ranking_factors(QUERY, RESULTS[:2], signed)
