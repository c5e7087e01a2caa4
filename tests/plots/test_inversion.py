import pandas as pd
import pytest
import torch
from matplotlib import pyplot

from lightning_interp.functional.synthesis.perturbation import PerturbationErrors
from lightning_interp.plots.inversion import plot_inversion_errors, plot_reconstructions


@pytest.fixture
def images():
    return torch.rand(5, 3, 6, 4, generator=torch.Generator().manual_seed(0))


def pixels(figure, row, column, n_columns):
    return torch.from_numpy(figure.axes[0].images[row * n_columns + column].get_array().copy())


def as_shown(image):
    return image.permute(1, 2, 0)


def test_a_row_of_images_over_a_row_per_name(images):
    rows = {"conv1": images * 0.5, "a much longer name": images * 0.0}
    figure = plot_reconstructions(images, rows, errors={"conv1": torch.arange(5.0)}, n_columns=3)
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.texts] == ["image", "conv1", "0.00", "1.00", "2.00", "a much longer name"]
    assert len(axis.images) == 9
    for row, shown in enumerate((images, *rows.values())):
        for column in range(3):
            torch.testing.assert_close(pixels(figure, row, column, 3), as_shown(shown[column]))
    left, right, bottom, top = axis.images[1].get_extent()
    assert (right - left) / (top - bottom) == pytest.approx(4 / 6), "the picture is distorted"
    names = [text for text in axis.texts if text.get_ha() == "right"]
    figure.canvas.draw()
    boxes = [name.get_window_extent() for name in names]
    assert all(box.x0 >= 0 for box in boxes), "a name is cut off"


def test_rows_are_on_the_scale_of_the_images(images):
    normalized = images * 4 - 2
    figure = plot_reconstructions(normalized, {"same": normalized, "half": normalized * 0.5})
    low, high = normalized[0].min(), normalized[0].max()
    torch.testing.assert_close(pixels(figure, 1, 0, 5), pixels(figure, 0, 0, 5))
    torch.testing.assert_close(pixels(figure, 2, 0, 5), as_shown((normalized[0] * 0.5 - low) / (high - low)))
    wild = plot_reconstructions(images, {"too bright": images + 0.5})
    torch.testing.assert_close(pixels(wild, 1, 0, 5), as_shown((images[0] + 0.5).clamp(max=1)))


def test_pictures_undo_a_normalisation(images):
    figure = plot_reconstructions(images * 4 - 2, {"same": images * 4 - 2}, pictures=lambda x: (x + 2) / 4)
    torch.testing.assert_close(pixels(figure, 1, 2, 5), as_shown(images[2]))


def test_grey_and_constant_images_can_be_shown():
    figure = plot_reconstructions(torch.full((1, 1, 4, 4), 3.0), {"a": torch.zeros(1, 1, 4, 4).requires_grad_()})
    assert pixels(figure, 0, 0, 1).shape == (4, 4, 3)
    assert pixels(figure, 1, 0, 1).isfinite().all()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"images": torch.rand(0, 3, 6, 4)}, "at least one image"),
        ({"images": torch.rand(3, 6, 4)}, "at least one image"),
        ({"reconstructions": {"a": torch.rand(4, 3, 6, 4)}}, r"shape of the images, \(5, 3, 6, 4\), in row 'a'"),
        ({"errors": {"b": torch.rand(5)}}, r"rows among \['a'\]; row 'b' is not"),
        ({"errors": {"a": torch.rand(4)}}, "one number per image"),
        ({"n_columns": 0}, "`n_columns` parameter"),
    ],
)
def test_bad_rows(images, options, match):
    with pytest.raises(ValueError, match=match):
        plot_reconstructions(**{"images": images, "reconstructions": {"a": images}, **options})


def test_a_line_per_perturbation_over_the_layers():
    errors = torch.rand(3, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    result = PerturbationErrors(("conv1", "conv2", "fc"), ("none", "dropout"), errors, torch.full((4,), 0.7))
    (axis,) = plot_inversion_errors(result).axes
    none, dropout, baseline = axis.lines
    assert none.get_ydata().tolist() == pytest.approx(errors[:, 0].mean(1).tolist())
    assert dropout.get_ydata().tolist() == pytest.approx(errors[:, 1].mean(1).tolist())
    assert list(baseline.get_ydata()) == pytest.approx([0.7, 0.7])
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["conv1", "conv2", "fc"]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["none", "dropout", "mean image"]
    assert none.get_color() != dropout.get_color()
    table = plot_inversion_errors(result.to_dataframe()).axes[0]
    assert [line.get_label() for line in table.lines] == ["none", "dropout"]
    assert pyplot.get_fignums() == []
    with pytest.raises(ValueError, match="at least one layer and perturbation"):
        plot_inversion_errors(pd.DataFrame())
