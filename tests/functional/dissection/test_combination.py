import pytest
import torch
from torch import nn

from lightning_interp.functional.dissection.combination import (
    Place,
    Probes,
    best_cuts,
    check_memory,
    learn_from,
    measure,
)
from lightning_interp.functional.dissection.overlap import Concepts
from lightning_interp.functional.dissection.passes import concept_reader
from tests.functional.dissection.planted import DETECTED, Rectangles, detectors
from tests.reference.network_dissection import activations, intersection_over_union

CONCEPTS = Concepts.of(Rectangles.concepts)
RED, THING = CONCEPTS.names.index("red"), CONCEPTS.names.index("red or blue")
DATA = Rectangles(20)
LEVELS = torch.full((7,), 0.05)


@pytest.fixture
def place():
    return Place(detectors(), "3", CONCEPTS, torch.tensor([RED, THING]))


@pytest.fixture
def batches(place):
    return concept_reader(place.model, DATA, batch_size=7)


@pytest.fixture
def probes():
    """Of `red` and of `red or blue`; all noise stays below 1, all colours come out at 3."""
    weights = torch.zeros(2, 7)
    weights[:, DETECTED.index("red")] = 3.0
    weights[1, DETECTED.index("blue")] = 3.0
    weights[:, -2:] = 0.5
    return Probes(LEVELS, weights, torch.zeros(2), torch.tensor([RED, THING]), torch.ones(2, dtype=torch.bool))


def test_there_is_a_row_for_every_position(place, batches):
    cells, areas = learn_from(place, batches, LEVELS, max_bytes=10**9)
    maps = activations(place.model, list(DATA.images), "3")
    assert torch.equal(cells.active, (torch.stack(maps).movedim(1, -1).flatten(0, 2) > 0.05).byte())
    assert torch.equal(cells.present[:, RED], (DATA.masks == 2).flatten().half())
    expected = intersection_over_union(maps, LEVELS, [DATA[i] for i in range(20)], Rectangles.concepts)
    assert torch.equal(areas.iou(CONCEPTS), expected)


def test_the_cut_lies_between_noise_and_concept(place, batches, probes):
    cuts = best_cuts(place, batches, probes)
    assert ((cuts > 1.0) & (cuts < 3.0)).all()
    assert cuts.tolist() == pytest.approx([torch.logit(torch.tensor(0.75)).item()] * 2)


def test_held_out_images_say_how_well_probes_and_units_do(place, batches, probes):
    cut, best = torch.full((2,), 2.0), torch.tensor([DETECTED.index("red")] * 2)
    found = measure(place, batches, probes, cut, best, max_bytes=10**9)
    assert found.probe_iou.tolist() == [1.0, 1.0]
    assert float(found.unit_iou[0, 0]) == 1.0
    assert 0 < float(found.unit_iou[0, 1]) < 1
    active, present = found.meetings(0)
    assert active.shape == present.shape == (20, 64)
    assert torch.equal(active, present)
    assert found.annotated.all()
    assert found.shown.tolist() == [True, True]


def test_linear_layers_are_maps_of_one_position(batches):
    model = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
    place = Place(model, "1", CONCEPTS, torch.tensor([RED]))
    cells, _ = learn_from(place, batches, torch.full((4,), 0.5), max_bytes=10**9)
    assert cells.active.shape == (20, 4)


def test_too_much_memory_is_refused(place, batches):
    with pytest.raises(ValueError, match=r"`max_bytes` parameter of `net2vec` must be larger"):
        learn_from(place, batches, LEVELS, max_bytes=10_000)
    check_memory(5, 5)
