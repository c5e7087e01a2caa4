import pytest
import torch

from lightning_interp.functional.dissection.cells import ConceptCells, pooled_labels
from lightning_interp.functional.dissection.overlap import Concepts, label_planes

CONCEPTS = Concepts.of({"color": ["unlabelled", "red", "blue"], "part": ["unlabelled", "eye"]})


def draw(*shape, low=0, high=3):
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(0))


def test_shares_are_those_of_a_loop_over_positions():
    color, part = draw(12, 8, low=-1), draw(6, 4, high=2)
    present, annotated = pooled_labels(label_planes({"color": color, "part": part}, CONCEPTS, (9, 9)), CONCEPTS, (3, 2))
    for y in range(3):
        for x in range(2):
            around = color[4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
            expected = [float((around == 1).float().mean()), float((around == 2).float().mean())]
            assert present[:2, y, x].tolist() == pytest.approx(expected)
            assert float(annotated[0, y, x]) == pytest.approx(float((around >= 0).float().mean()))
            eye = part[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].float().mean()
            assert float(present[2, y, x]) == pytest.approx(float(eye))
    assert annotated[1].tolist() == [[1.0] * 2] * 3


def test_what_is_not_annotated_has_no_shares():
    present, annotated = pooled_labels(label_planes({"color": 2}, CONCEPTS, (9, 9)), CONCEPTS, (2, 2))
    assert present.flatten(1).amax(1).tolist() == [0.0, 1.0, 0.0]
    assert annotated.flatten(1).amax(1).tolist() == [1.0, 0.0]


def test_a_row_per_position_image_after_image():
    activation = torch.randn(2, 3, 2, 4, generator=torch.Generator().manual_seed(1))
    levels = torch.tensor([0.0, 0.5, -0.5])
    labels = [label_planes({"color": i + 1}, CONCEPTS, (8, 8)) for i in range(2)]
    cells = ConceptCells.of(activation, levels, labels, CONCEPTS)
    for row in range(16):
        image, y, x = row // 8, row % 8 // 4, row % 4
        assert cells.active[row].tolist() == [int(v) for v in activation[image, :, y, x] > levels]
        assert cells.present[row].tolist() == [float(image == 0), float(image == 1), 0.0]
    assert cells.n_bytes == 16 * (3 + 2 * 3 + 2 * 2)


def test_linear_layers_have_one_position_and_batches_join():
    labels = [label_planes({"color": 1}, CONCEPTS, (8, 8))]
    one, two = (ConceptCells.of(torch.tensor([[v, -v]]), torch.zeros(2), labels, CONCEPTS) for v in (1.0, -1.0))
    both = ConceptCells.cat([one, two])
    assert both.active.tolist() == [[1, 0], [0, 1]]
    assert both.annotated.tolist() == [[1.0, 0.0]] * 2
