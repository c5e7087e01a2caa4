import numpy as np
import pytest
import torch
from matplotlib import pyplot

from lightning_interp.functional.adversarial import (
    ActivationChange,
    ChangedMap,
    FoolingImages,
    LayerChange,
    detection_auc,
)
from lightning_interp.functional.synthesis import PixelSpace
from lightning_interp.plots.adversarial import (
    plot_activation_change,
    plot_adversarial,
    plot_changed_maps,
    plot_fooling,
    plot_roc,
)

NORMS = torch.tensor([[2.0, 4.0, 0.0, 5.0], [1.0, 3.0, 0.0, 4.0], [0.5, 0.0, 0.0, 1.0]], dtype=torch.float64)
MAPS = tuple(
    ChangedMap(f"conv{i}", i, torch.full((2, 3, 5), 1.0), torch.full((2, 3, 5), 1.0 - 0.25 * i)) for i in range(4)
)
CHANGE = ActivationChange({"conv0": LayerChange(NORMS), "conv1": LayerChange(2 * NORMS)}, MAPS, n_images=9, n_noise=4)


def drawn(axis):
    return np.asarray(axis.images[0].get_array())


def titles(figure):
    return [axis.get_title() for axis in figure.axes]


def fooling(confidences, classes):
    images = torch.rand(len(classes), 3, 8, 8, generator=torch.Generator().manual_seed(0))
    sure = torch.tensor(confidences, dtype=torch.float64)
    return FoolingImages(
        tuple(classes), images, sure, 0.9999, torch.ones(len(classes)), torch.zeros(2, 1), PixelSpace()
    )


def test_what_was_added_is_amplified_around_grey_and_the_factor_is_told():
    clean = torch.full((2, 3, 4, 4), 0.25)
    perturbed = clean.clone()
    perturbed[0, 0, 1, 2] += 0.03
    perturbed[1, 2, 3, 3] -= 0.01
    figure = plot_adversarial(clean, perturbed)
    assert titles(figure) == ["clean", "added, x 10", "perturbed", "", "", ""]
    grey = drawn(figure.axes[1])
    assert grey[1, 2].tolist() == pytest.approx([0.8, 0.5, 0.5])
    assert drawn(figure.axes[4])[3, 3].tolist() == pytest.approx([0.5, 0.5, 0.4])
    assert np.allclose(drawn(figure.axes[2])[1, 2], [0.28, 0.25, 0.25])


@pytest.mark.parametrize(("size", "factor"), [(0.5, 1), (1.0, 1), (0.25, 2), (8 / 255, 10), (1 / 255, 100), (0.06, 8)])
def test_the_factor_is_a_round_number_that_cuts_nothing_off(size, factor):
    clean = torch.zeros(1, 1, 2, 2)
    assert titles(plot_adversarial(clean, clean + size))[1] == f"added, x {factor}"


def test_an_image_that_was_left_alone_is_grey():
    clean = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert np.allclose(drawn(plot_adversarial(clean, clean).axes[1]), 0.5)


def test_titles_and_number_of_pictures():
    clean = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    pairs = [("cat\n99%", "dog\n80%"), ("car", "boat"), ("tree", "house")]
    figure = plot_adversarial(clean, clean.flip(0), titles=pairs, pictures=2)
    assert len(figure.axes) == 6
    assert titles(figure)[3:] == ["car", "", "boat"]


def test_fooling_images_say_how_sure_the_network_is_and_never_round_up():
    found = {"none": fooling([0.999999, 0.99994], [1, 0]), "blur": fooling([0.98], [1])}
    figure = plot_fooling(found, classes=["cat", "dog"])
    assert titles(figure) == ["dog\n99.999%", "cat\n99.994%", "dog\n98.000%", ""]
    assert [axis.title.get_color() for axis in figure.axes[:3]] == ["black", "black", "#D55E00"]
    assert [figure.axes[i].texts[0].get_text() for i in (0, 2)] == ["none", "blur"]
    assert not figure.axes[3].images


def test_lines_of_layers_and_marks_of_units():
    left, right = plot_activation_change(CHANGE).axes
    assert [line.get_ydata().tolist() for line in left.lines] == [[0.8, 0.8], [0.2, 0.2]]
    assert [label.get_text() for label in left.get_xticklabels()] == ["conv0", "conv1"]
    units, _, layers, chance = right.lines
    assert units.get_ydata().tolist() == [2.0]  # the others change nothing, or noise does not change them
    assert layers.get_ydata().tolist() == [4.0, 4.0]
    assert chance.get_ydata() == [1, 1]
    assert right.get_yscale() == "log"
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["a unit", "the layer"]


def test_maps_share_one_scale_and_differences_are_signed():
    figure = plot_changed_maps(CHANGE)
    assert len(figure.axes) == 12
    assert titles(figure)[:3] == ["clean", "perturbed", "difference"]
    clean, perturbed, difference = figure.axes[9:]
    assert clean.images[0].get_clim() == perturbed.images[0].get_clim() == (0.25, 1.0)
    assert difference.images[0].get_clim() == (-1.0, 1.0)
    assert np.allclose(drawn(difference), -0.75)
    more = difference.images[0].cmap(1.0)
    assert more[0] > more[2], "orange is more"
    assert clean.texts[0].get_text() == "conv3\nunit 3"


def test_few_maps_are_spread_over_the_layers():
    figure = plot_changed_maps(CHANGE, maps=2, image=1)
    assert [figure.axes[i].texts[0].get_text() for i in (0, 3)] == ["conv0\nunit 0", "conv3\nunit 3"]


def test_curves_with_their_areas():
    scores = torch.arange(20.0)
    found = {"FGSM": detection_auc(scores, scores + 5), "noise": detection_auc(scores, scores)}
    (axis,) = plot_roc(found).axes
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["FGSM: 0.72", "noise: 0.50"]
    assert axis.lines[0].get_ydata()[-1] == 1
    assert len(plot_roc(found["FGSM"]).axes[0].lines) == 2


def test_many_curves_are_told_apart():
    one = detection_auc(torch.zeros(2), torch.ones(2))
    lines = plot_roc({str(i): one for i in range(20)}).axes[0].lines[:20]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 20


@pytest.mark.parametrize(
    ("draw", "match"),
    [
        (lambda: plot_adversarial(torch.zeros(3, 4, 4), torch.zeros(3, 4, 4)), "`clean` parameter"),
        (lambda: plot_adversarial(torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4)), "`perturbed` parameter"),
        (lambda: plot_adversarial(*[torch.zeros(2, 3, 4, 4)] * 2, titles=[("a", "b")]), "two for each of 2"),
        (lambda: plot_adversarial(*[torch.zeros(2, 3, 4, 4)] * 2, pictures=0), "`pictures` parameter"),
        (lambda: plot_fooling({}), "`found` parameter"),
        (lambda: plot_changed_maps(ActivationChange({}, (), 1, 1)), "`maps_per_layer` of at least 1"),
        (lambda: plot_changed_maps(CHANGE, image=2), r"an int in \[0, 1\]. Got 2"),
        (lambda: plot_roc({}), "at least one detection"),
    ],
)
def test_bad_input(draw, match):
    with pytest.raises(ValueError, match=match):
        draw()


def test_no_figure_stays_in_the_registry_of_pyplot():
    plot_changed_maps(CHANGE)
    assert not pyplot.get_fignums()
