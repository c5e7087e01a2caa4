import numpy as np
import pytest
import torch

from lightning_interp.datasets import ToyConcepts, ToyScenes
from lightning_interp.datasets.concepts import (
    VOID,
    ConceptDataset,
    checked_targets,
    collate_concepts,
    stack_masks,
)

CONCEPTS = {"object": ["unlabelled", "cat", "dog"], "scene": ["unlabelled", "sea"]}


def checked(**targets):
    return checked_targets(targets, CONCEPTS, parameter="annotate", owner="View")


def test_toy_scenes_are_a_concept_dataset():
    data = ToyConcepts(ToyScenes(12))
    assert isinstance(data, ConceptDataset)
    for image, targets in data:
        assert image.shape == (3, 32, 32)
        again = checked_targets(targets, data.concepts, parameter="item", owner="ToyConcepts")
        assert all(np.array_equal(again[category], targets[category]) for category in targets)
    assert not isinstance([1, 2], ConceptDataset)


def masks(seed, n, shape=(9, 11)):
    """Bool masks of random boxes, each with a value; some share a value, many overlap."""
    generator, found = np.random.default_rng(seed), []
    for _ in range(n):
        top, left = generator.integers(0, shape[0] - 1), generator.integers(0, shape[1] - 1)
        mask = torch.zeros(shape, dtype=torch.bool)
        mask[top : top + generator.integers(1, 6), left : left + generator.integers(1, 6)] = True
        found.append((int(generator.integers(1, 5)), mask))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_stacked_masks_lose_nothing_and_add_nothing(seed):
    pairs = masks(seed, n=seed)
    target = stack_masks(pairs, shape=(9, 11))
    layers = target if target.ndim == 3 else target[None]
    assert target.dtype == torch.long
    for value in range(1, 5):
        united = torch.zeros(9, 11, dtype=torch.bool)
        for other, mask in pairs:
            united |= mask & (other == value)
        assert torch.equal((layers == value).any(0), united)
        assert sum(bool((layer == value).any()) for layer in layers) <= 1
    assert len(layers) <= max(1, len({value for value, _ in pairs}))
    assert torch.equal(stack_masks(pairs[::-1], shape=(9, 11)), target)


def test_masks_that_do_not_overlap_need_one_layer():
    left = torch.tensor([[True, True, False, False]])
    assert stack_masks([(3, left), (1, ~left)], shape=(1, 4)).tolist() == [[3, 3, 1, 1]]
    assert stack_masks([], shape=(2, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]
    small = torch.tensor([[False, True, False, False]])
    assert stack_masks([(1, small), (2, left)], shape=(1, 4)).tolist() == [[[2, 2, 0, 0]], [[0, 1, 0, 0]]]


def test_collate():
    one, two = torch.zeros(3, 4, 4), torch.ones(3, 4, 4)
    images, targets = collate_concepts([(one, {"a": 1}), (two, {})])
    assert torch.equal(images, torch.stack([one, two]))
    assert targets == [{"a": 1}, {}]
    images, _ = collate_concepts([(one, {}), (torch.ones(3, 4, 5), {})])
    assert [image.shape[2] for image in images] == [4, 5]
    images, _ = collate_concepts([("a", {}), (one, {})])
    assert images[0] == "a"


def test_targets_become_long_tensors_and_ints():
    found = checked(object=np.array([[0, 2], [1, VOID]], np.int8), scene=torch.tensor(1, dtype=torch.uint8))
    assert (found["object"].dtype, found["object"].tolist(), found["scene"]) == (torch.long, [[0, 2], [1, -1]], 1)
    assert type(found["scene"]) is int
    stack = torch.zeros(2, 3, 4, dtype=torch.int32)
    assert checked(object=stack)["object"].shape == (2, 3, 4)
    assert checked(object=torch.zeros(2, 2, dtype=torch.bool))["object"].dtype == torch.long
    assert checked() == {}


@pytest.mark.parametrize(
    ("targets", "error", "match"),
    [
        ({"part": 1}, ValueError, "returns categories among 'object', 'scene'. Got 'part'"),
        ({"object": 3}, ValueError, r"'object' has values in \[-1, 2\], the names it has. Got 3"),
        ({"object": torch.tensor([[-2, 0]])}, ValueError, "Got -2"),
        ({"scene": torch.full((2, 2), 255)}, ValueError, "Got 255"),
        ({"object": torch.zeros(2, 2)}, TypeError, r"'object' is an int or integers \(h, w\) or \(L, h, w\)"),
        ({"object": 1.0}, TypeError, "is an int"),
        ({"object": torch.zeros(4, dtype=torch.long)}, TypeError, r"Got Tensor of shape \(4,\)"),
        ({"object": torch.zeros(1, 1, 4, 4, dtype=torch.long)}, TypeError, "is an int"),
        (torch.zeros(2, 2), TypeError, r"returns a dict \{category: target\}"),
    ],
)
def test_bad_targets_are_named(targets, error, match):
    with pytest.raises(error, match=f"The `annotate` parameter of `View` must be something .*{match}"):
        checked_targets(targets, CONCEPTS, parameter="annotate", owner="View")
