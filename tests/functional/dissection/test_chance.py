import itertools
import math

import pytest
import torch

from lightning_interp.functional.dissection.chance import chance_overlap


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_it_approaches_all_permutations():
    active, present = torch.rand(6, 3, generator=generator()), torch.rand(6, 3, generator=generator(1))
    active[3:] = 0.0
    present[1] = 0.0
    overlaps = [float((active * present[list(order)]).double().sum()) for order in itertools.permutations(range(6))]
    exact = sum(overlap >= overlaps[0] - 1e-6 for overlap in overlaps) / len(overlaps)
    expected = sum(overlaps) / len(overlaps)
    iou, p = chance_overlap(active, present, n_permutations=4000, generator=generator())
    assert iou == pytest.approx(expected / (float(active.sum() + present.sum()) - expected), rel=1e-5)
    assert p == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 4000) + 1 / 4000)


def test_p_values_of_noise_are_uniform():
    draws = generator()
    p_values = []
    for _ in range(150):
        active, present = ((torch.rand(40, 4, generator=draws) - 0.8).relu() for _ in range(2))
        p_values.append(chance_overlap(active, present, n_permutations=99, generator=draws)[1])
    shares = [sum(p <= level for p in p_values) / 150 for level in (0.05, 0.2, 0.5)]
    assert shares == pytest.approx([0.05, 0.2, 0.5], abs=0.12)
    assert shares[0] <= 0.1


def test_a_detector_is_as_far_from_chance_as_the_permutations_can_tell():
    shown = (torch.rand(50, 4, generator=generator()) - 0.9).relu()
    assert chance_overlap(shown, shown, n_permutations=199, generator=generator())[1] == 1 / 200


def test_halves_and_the_seed():
    active, present = torch.rand(30, 4, generator=generator()).half(), torch.rand(30, 4, generator=generator(1)).half()
    results = [chance_overlap(active, present, n_permutations=50, generator=generator(seed)) for seed in (0, 0, 1)]
    assert results[0] == results[1]
    assert results[0][1] != results[2][1]


def test_a_silent_unit_is_at_chance_and_an_absent_concept_has_none():
    some, none = torch.ones(5, 4), torch.zeros(5, 4)
    assert chance_overlap(none, some, n_permutations=9, generator=generator()) == (0.0, 1.0)
    assert all(math.isnan(value) for value in chance_overlap(some, none, n_permutations=9, generator=generator()))
