import pytest
import torch

from lightning_interp.functional.adversarial.change import ActivationChange, ChangedMap, LayerChange

NORMS = torch.tensor([[2.0, 4.0, 0.0, 5.0], [1.0, 3.0, 1.0, 4.0], [0.5, 0.0, 2.0, 1.0]], dtype=torch.float64)
MAP = ChangedMap("b", 7, torch.ones(2, 3, 3), torch.full((2, 3, 3), 0.25))
CHANGE = ActivationChange({"a": LayerChange(NORMS), "b": LayerChange(2 * NORMS)}, (MAP,), n_images=9, n_noise=3)


def test_changes_are_relative_to_what_was_said_and_ratios_to_noise():
    layer = CHANGE.layers["a"]
    assert layer.change.tolist() == pytest.approx([0.5, 0.75, float("nan"), 0.8], nan_ok=True)
    assert layer.change_by_noise.tolist() == pytest.approx([0.25, 0.0, float("nan"), 0.2], nan_ok=True)
    assert layer.ratio.tolist() == [2.0, float("inf"), 0.5, 4.0]
    assert bool((MAP.difference == -0.75).all())


def test_a_row_per_unit_and_a_row_per_layer():
    table = CHANGE.to_dataframe()
    assert table["unit"].tolist() == [0, 1, 2, 0, 1, 2]
    assert table["layer"].tolist() == ["a"] * 3 + ["b"] * 3
    assert table.loc[0, ["change", "change_by_noise", "ratio"]].tolist() == [0.5, 0.25, 2.0]
    layers = CHANGE.by_layer()
    assert layers.index.tolist() == ["a", "b"]
    assert layers.loc["b"].tolist() == [0.8, 0.2, 4.0]


def test_it_is_read_as_it_was_written(tmp_path):
    CHANGE.save(tmp_path / "change.safetensors")
    read = ActivationChange.load(tmp_path / "change.safetensors")
    assert read.to_dataframe().equals(CHANGE.to_dataframe())
    assert (read.n_images, read.n_noise) == (9, 3)
    assert (read.maps[0].layer, read.maps[0].unit) == ("b", 7)
    assert torch.equal(read.maps[0].difference, MAP.difference)
