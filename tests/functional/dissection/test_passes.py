import pytest
import torch
from torch import nn

from lightning_interp.functional.dissection.overlap import Concepts
from lightning_interp.functional.dissection.passes import (
    concept_areas,
    concept_batches,
    concept_reader,
    settled_statistics,
    unit_statistics,
)
from tests.functional.dissection.planted import Rectangles
from tests.reference.network_dissection import intersection_over_union, levels

CONCEPTS = Concepts.of(Rectangles.concepts)
CPU = torch.device("cpu")
MODEL = nn.Sequential(nn.MaxPool2d(2), nn.ReLU(inplace=True), nn.AvgPool2d(2))
LAYERS = ["0", "2"]


def items(n=12):
    dataset = Rectangles(n)
    return [(image - 0.5, targets) for image, targets in (dataset[i] for i in range(n))]


def batches(data, size=5, start=0):
    for indices, images, targets in concept_batches([data[i : i + size] for i in range(0, len(data), size)], CPU):
        yield indices + start, images, targets


def sizes(state):
    return {name: part.shape if isinstance(part, torch.Tensor) else sizes(part) for name, part in vars(state).items()}


def test_batches_hold_images_of_one_size_and_keep_their_numbers():
    images = [torch.full((1, 2 + i % 2, 3), float(i)) for i in range(7)]
    data = [(image, {"color": i}) for i, image in enumerate(images)]
    found = list(batches(data, size=4))
    assert [indices.tolist() for indices, _, _ in found] == [[0, 2], [1, 3], [4, 6], [5]]
    for indices, stack, targets in found:
        assert [target["color"] for target in targets] == indices.tolist()
        assert torch.equal(stack, torch.stack([images[i] for i in indices.tolist()]))


@pytest.mark.parametrize("share", [None, 0.03])
def test_one_pass_sees_all_layers(share):
    data = items()
    found = unit_statistics(MODEL, batches(data), LAYERS, n_top=2, share=share)
    images = torch.stack([image for image, _ in data])
    for name, maps in {"0": MODEL[0](images), "2": MODEL(images)}.items():
        torch.testing.assert_close(
            found[name].histogram.exceeded(0.03), levels(list(maps), 0.03), rtol=2**-8, atol=2**-23
        )
        maxima = maps.amax((2, 3))
        assert torch.equal(found[name].top.values, maxima.T.sort(dim=1, descending=True).values[:, :2])


def test_an_in_place_activation_does_not_reach_the_layer_before_it():
    found = unit_statistics(MODEL, batches(items()), LAYERS, n_top=1)
    assert float(found["0"].histogram.lowest) < 0 <= float(found["2"].histogram.lowest)


def test_two_shards_add_up_to_the_whole():
    data = items()
    whole = unit_statistics(MODEL, batches(data), LAYERS, n_top=4)
    one = unit_statistics(MODEL, batches(data[:5], size=2), LAYERS, n_top=4)
    two = unit_statistics(MODEL, batches(data[5:], size=3, start=5), LAYERS, n_top=4)
    for name in LAYERS:
        total = two[name] + one[name]
        assert torch.equal(total.histogram.counts, whole[name].histogram.counts)
        assert torch.equal(total.histogram.lowest, whole[name].histogram.lowest)
        assert torch.equal(total.top.values, whole[name].top.values)
        assert torch.equal(total.top.indices, whole[name].top.indices)


def test_areas_of_two_shards_add_up_to_those_of_a_loop():
    data = items()
    thresholds = {"0": torch.tensor([0.2, 0.0, 0.3, 0.45]), "2": torch.tensor([0.1, 0.0, 0.2, 0.4])}
    one = concept_areas(MODEL, batches(data[:5], size=2), thresholds, CONCEPTS)
    two = concept_areas(MODEL, batches(data[5:], size=3), thresholds, CONCEPTS)
    images = torch.stack([image for image, _ in data])
    for name, maps in {"0": MODEL[0](images), "2": MODEL(images)}.items():
        expected = intersection_over_union(list(maps), thresholds[name], data, Rectangles.concepts)
        assert torch.equal((one[name] + two[name]).iou(CONCEPTS), expected)


def test_a_first_batch_unlike_the_rest_hides_levels_but_never_bends_them():
    bright = [(image + 5, targets) for image, targets in items(2)]
    found = unit_statistics(MODEL, batches(bright + items(), size=2), ["0"], n_top=1, share=0.3)
    honest = unit_statistics(MODEL, batches(bright + items(), size=2), ["0"], n_top=1)
    got, expected = (part["0"].histogram.exceeded(0.3) for part in (found, honest))
    assert bool(got.isnan().any())
    assert torch.equal(got[~got.isnan()], expected[~got.isnan()])
    assert not bool(expected.isnan().any())


def test_memory_does_not_depend_on_the_number_of_images():
    few, many = (unit_statistics(MODEL, batches(items(n)), LAYERS, n_top=9, share=0.005) for n in (1, 12))
    assert [sizes(part) for part in few.values()] == [sizes(part) for part in many.values()]


def test_no_images_give_nothing():
    assert unit_statistics(MODEL, [], LAYERS, n_top=1) == {}
    assert concept_areas(MODEL, [], {"0": torch.zeros(4)}, CONCEPTS) == {}


def test_a_reader_starts_anew_and_draws_from_nothing_global():
    model, state = nn.Conv2d(4, 1, 1), torch.get_rng_state()
    reader = concept_reader(model, Rectangles(5), batch_size=2)
    first, second = ([indices.tolist() for indices, _, _ in reader()] for _ in range(2))
    assert first == second == [[0, 1], [2, 3], [4]]
    assert torch.equal(torch.get_rng_state(), state)


def test_a_hidden_level_is_found_by_another_pass():
    bright = [(image + 5, targets) for image, targets in items(2)] + items()
    calls = []

    def again():
        calls.append(1)
        return batches(bright, size=2)

    found = settled_statistics(MODEL, again, LAYERS, n_top=1, share=0.3)
    honest = unit_statistics(MODEL, batches(bright, size=2), LAYERS, n_top=1)
    for name in LAYERS:
        assert torch.equal(found[name].histogram.exceeded(0.3), honest[name].histogram.exceeded(0.3))
    assert len(calls) == 2
