import itertools
import math

import pytest
import torch

from lightning_interp.functional import log_rank_bound, rectangle_cover_bounds


def exact_cover_number(support):
    """Smallest set of all-ones rectangles that covers the support, by trying all (tiny matrices only)."""
    n, m = support.shape
    ones = {(i, j) for i in range(n) for j in range(m) if support[i, j]}
    rectangles = []
    for size in range(1, n + 1):
        for rows in itertools.combinations(range(n), size):
            columns = [j for j in range(m) if all(support[i, j] for i in rows)]
            rectangles.append({(i, j) for i in rows for j in columns})
    for size in range(n + 1):
        if any(set().union(*chosen) == ones for chosen in itertools.combinations(rectangles, size)):
            return size
    raise AssertionError


@pytest.mark.parametrize("seed", range(20))
def test_bounds_hold_the_exact_number_between_them(seed):
    generator = torch.Generator().manual_seed(seed)
    support = torch.rand(4, 5, generator=generator) < 0.55
    bounds = rectangle_cover_bounds(support.float())
    assert bounds.lower <= exact_cover_number(support) <= bounds.upper


def test_planted_covers_are_found():
    assert rectangle_cover_bounds(torch.ones(6, 4)).upper == 1  # a layer that is linear on the batch
    blocks = torch.block_diag(torch.ones(3, 2), torch.ones(2, 4), torch.ones(1, 3))
    assert rectangle_cover_bounds(blocks) == rectangle_cover_bounds(blocks.T)
    assert (rectangle_cover_bounds(blocks).lower, rectangle_cover_bounds(blocks).upper) == (3, 3)


def test_duplicate_and_empty_rows_change_nothing():
    a = torch.eye(3)
    again = torch.cat([a, a, torch.zeros(2, 3)])
    assert rectangle_cover_bounds(again) == rectangle_cover_bounds(a)
    assert rectangle_cover_bounds(torch.zeros(3, 3)).upper == 0


def test_cover_needs_a_matrix():
    with pytest.raises(ValueError, match=r"must be a matrix. Got shape \(2, 2, 2\)"):
        rectangle_cover_bounds(torch.ones(2, 2, 2))


def test_log_rank_of_a_planted_product():
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(60, 3, generator=generator) @ torch.rand(3, 40, generator=generator)
    bound = log_rank_bound(a, eps=0.02, ks=[1, 2, 3, 4], generator=generator)
    assert (bound.k, bound.nats) == (3, math.log(3))
    assert bound.error <= 0.02


def test_log_rank_falls_back_to_full_rank():
    bound = log_rank_bound(torch.eye(8), eps=0.0)
    assert (bound.k, bound.error) == (8, 0.0)


def test_log_rank_refuses_a_bad_eps():
    with pytest.raises(ValueError, match=r"`eps` parameter of `log_rank_bound` must be a number in \[0, 1\]"):
        log_rank_bound(torch.eye(2), eps=2)
