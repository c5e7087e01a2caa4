import numpy as np
import pytest
import torch

from lightning_interp.functional.dissection.overlap import ConceptAreas, Concepts, count_areas, label_planes
from tests.reference.network_dissection import intersection_over_union

NAMES = {"color": ["unlabelled", "red", "blue"], "object": ["unlabelled", "cat", "dog", "car"]}
CONCEPTS = Concepts.of(NAMES)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, low=0, high=3):
    return torch.randint(low, high, shape, generator=generator(sum(shape)))


TARGETS = {
    "masks of one size": {"color": draw(12, 9), "object": draw(12, 9, high=4)},
    "masks of two sizes": {"color": draw(12, 9), "object": draw(31, 17, high=4)},
    "void pixels": {"color": draw(12, 9, low=-1), "object": draw(3, 12, 9, low=-1, high=4)},
    "stacks": {"object": draw(3, 12, 9, high=4)},
    "an int": {"color": 2, "object": draw(12, 9, high=4)},
    "only ints": {"color": 0, "object": 3},
    "an int of -1": {"color": -1, "object": 1},
    "a tiny mask": {"color": draw(2, 3)},
    "nothing": {},
    "nothing but void": {"color": torch.full((4, 4), -1)},
    "an empty stack": {"color": torch.zeros(0, 5, 5, dtype=torch.long)},
}


@pytest.mark.parametrize("size", [(1, 1), (5, 4), (12, 9), (40, 41)])
@pytest.mark.parametrize("kind", TARGETS)
def test_areas_are_those_of_a_loop_over_pixels(kind, size):
    maps = torch.randn(1, 6, *size, generator=generator())
    levels = torch.tensor([0.5, -0.5, 0.0, 9.0, -9.0, 0.3])
    image = torch.zeros(3, 20, 22)
    areas = count_areas(maps, levels, [label_planes(TARGETS[kind], CONCEPTS, (20, 22))], CONCEPTS)
    expected = intersection_over_union(list(maps), levels, [(image, TARGETS[kind])], NAMES)
    assert torch.equal(areas.iou(CONCEPTS), expected)


def test_images_add_up():
    maps, levels = torch.randn(len(TARGETS), 4, 6, 5, generator=generator()), torch.zeros(4)
    labels = [label_planes(target, CONCEPTS, (20, 22)) for target in TARGETS.values()]
    items = [(torch.zeros(3, 20, 22), target) for target in TARGETS.values()]
    whole = count_areas(maps, levels, labels, CONCEPTS)
    parts = count_areas(maps[4:], levels, labels[4:], CONCEPTS) + count_areas(maps[:4], levels, labels[:4], CONCEPTS)
    for name in ("intersection", "unit", "concept"):
        assert torch.equal(getattr(whole, name), getattr(parts, name)), name
    assert torch.equal(whole.iou(CONCEPTS), intersection_over_union(list(maps), levels, items, NAMES))


def test_a_whole_image_label_has_the_resolution_of_the_largest_mask():
    target = {"color": 1, "object": TARGETS["masks of two sizes"]["object"]}
    areas = count_areas(torch.ones(1, 1, 2, 2), torch.zeros(1), [label_planes(target, CONCEPTS, (8, 8))], CONCEPTS)
    assert float(areas.concept[0]) == 31 * 17
    assert areas.iou(CONCEPTS)[0, 0] == 1


def test_units_of_a_linear_layer_are_active_everywhere_or_nowhere():
    target = {"color": draw(12, 9)}
    areas = count_areas(torch.tensor([[1.0, -1.0]]), torch.zeros(2), [label_planes(target, CONCEPTS, (8, 8))], CONCEPTS)
    red = float((target["color"] == 1).sum())
    assert areas.intersection[:, 0].tolist() == [red, 0]
    assert areas.unit[:, 0].tolist() == [12 * 9, 0]


def test_a_large_image_is_counted_in_pieces_and_to_the_pixel():
    mask = draw(1200, 900)
    maps = torch.ones(1, 9, 1, 1)
    areas = count_areas(maps, torch.zeros(9), [label_planes({"color": mask}, CONCEPTS, (8, 8))], CONCEPTS)
    assert areas.unit[:, 0].tolist() == [1200 * 900] * 9
    assert areas.intersection[:, 1].tolist() == [int((mask == 2).sum())] * 9


def test_memory_does_not_depend_on_the_number_of_images():
    maps, label = torch.randn(30, 2, 3, 3), label_planes(TARGETS["stacks"], CONCEPTS, (3, 3))
    one, many = (count_areas(maps[:n], torch.zeros(2), [label] * n, CONCEPTS) for n in (1, 30))
    assert {k: v.shape for k, v in vars(one).items()} == {k: v.shape for k, v in vars(many).items()}


def test_autocast_does_not_round_the_counts():
    labels = [label_planes({"color": draw(40, 41)}, CONCEPTS, (8, 8))]
    maps = torch.randn(1, 3, 6, 5, generator=generator())
    plain = count_areas(maps, torch.zeros(3), labels, CONCEPTS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = count_areas(maps, torch.zeros(3), labels, CONCEPTS)
    assert torch.equal(cast.intersection, plain.intersection)
    assert torch.equal(cast.unit, plain.unit)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, bool])
def test_small_whole_numbers_do_not_overflow(kind):
    names = {"scene": ["unlabelled", *map(str, range(200))], "part": ["unlabelled", *map(str, range(200))]}
    concepts = Concepts.of(names)
    mask = np.ones((3, 2), dtype=bool) if kind is bool else np.full((3, 2), 200 if kind is np.uint8 else 199, kind)
    (planes,) = label_planes({"part": mask}, concepts, (3, 2))
    assert concepts.names[int(planes.concepts)] == str(int(mask[0, 0]) - 1)
    assert int(planes.concepts) >= 200


def test_nothing_in_common_is_zero_and_not_nan():
    assert ConceptAreas.zeros(2, CONCEPTS).iou(CONCEPTS).tolist() == [[0.0] * 5] * 2


@pytest.mark.parametrize(
    ("target", "match"),
    [
        ({"colour": 1}, r"for each of \['color', 'object'\]. Got \{'colour'"),
        ({"color": torch.zeros(3, dtype=torch.long)}, r"a mask \(h, w\), masks \(L, h, w\) or an int"),
        ({"color": torch.zeros(1, 1, 2, 2, dtype=torch.long)}, r"Got \{'color': \(1, 1, 2, 2\)\}"),
        ({"color": 3}, r"numbers of concepts of 'color' below 3. Got 3"),
        ({"object": torch.full((2, 2), 7)}, r"numbers of concepts of 'object' below 4. Got 7"),
        ({"color": torch.zeros(2, 2)}, r"whole numbers, the numbers of concepts of 'color'. Got torch.float32"),
    ],
)
def test_targets_that_do_not_fit_are_named(target, match):
    with pytest.raises(ValueError, match=match):
        label_planes(target, CONCEPTS, (4, 4))


@pytest.mark.parametrize("names", [{}, {"color": []}, {"color": ["unlabelled"]}])
def test_concepts_need_a_name(names):
    with pytest.raises(ValueError, match="a mapping from category to a list of names"):
        Concepts.of(names)
