import pytest
import torch

from lightning_interp.functional.dissection import Concepts, LayerDissection, NetworkDissection, TopImages

CONCEPTS = Concepts.of({"color": ["unlabelled", "red", "blue"], "part": ["unlabelled", "eye"]})


@pytest.fixture
def found():
    top = TopImages(torch.tensor([[3.0, 1.0]] * 4), torch.tensor([[7, 2]] * 4))
    one = LayerDissection(
        torch.tensor([0.1, 0.2, 0.3, 0.4]),
        torch.tensor([[0.5, 0.1, 0.0], [0.6, 0.0, 0.1], [0.0, 0.0, 0.04], [0.0, 0.0, 0.9]]),
        top,
    )
    two = LayerDissection(torch.zeros(1), torch.zeros(1, 3), TopImages(torch.zeros(1, 2), -torch.ones(1, 2).long()))
    return NetworkDissection(CONCEPTS, {"conv": one, "head": two}, 0.04)


def test_a_row_per_unit_with_its_best_concept(found):
    table = found.to_dataframe()
    assert table["layer"].tolist() == ["conv"] * 4 + ["head"]
    assert table["unit"].tolist() == [0, 1, 2, 3, 0]
    assert table["concept"].tolist()[:4] == ["red", "red", "eye", "eye"]
    assert table["category"].tolist()[:4] == ["color", "color", "part", "part"]
    assert table["iou"].tolist() == pytest.approx([0.5, 0.6, 0.04, 0.9, 0.0])
    assert table["level"].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.0])


def test_a_detector_is_above_the_threshold_and_not_at_it(found):
    assert found.to_dataframe()["detector"].tolist() == [True, True, False, True, False]


def test_a_concept_counts_once_however_many_units_detect_it(found):
    table = found.unique_detectors()
    assert table.index.tolist() == ["conv", "head"]
    assert table.to_dict("list") == {"color": [1, 0], "part": [1, 0], "total": [2, 0]}


def test_saved_and_loaded_it_is_the_same(found, tmp_path):
    found.save(tmp_path / "found.safetensors")
    again = NetworkDissection.load(tmp_path / "found.safetensors")
    assert again.to_dataframe().equals(found.to_dataframe())
    assert again.unique_detectors().equals(found.unique_detectors())
    assert (again.concepts.categories, again.concepts.names, again.concepts.first) == (
        CONCEPTS.categories,
        CONCEPTS.names,
        CONCEPTS.first,
    )
    for name, layer in found.layers.items():
        assert torch.equal(again.layers[name].iou, layer.iou)
        assert torch.equal(again.layers[name].top.indices, layer.top.indices)
        assert torch.equal(again.layers[name].top.values, layer.top.values)
