import math

import pytest
import torch

from lightning_interp.functional.retrieval.query_expansion import expand_query
from lightning_interp.functional.retrieval.search import search


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(vector):
    return [value / math.sqrt(sum(v * v for v in vector)) for value in vector]


def expanded_slowly(query, database, n, weight):
    query = unit(query)
    matches = [unit(row) for row in database]
    similarities = [sum(q * m for q, m in zip(query, match, strict=True)) for match in matches]
    best = sorted(range(len(matches)), key=lambda i: -similarities[i])[:n]
    mixed = query
    for i in best:
        mixed = [a + weight(similarities[i]) * b for a, b in zip(mixed, matches[i], strict=True)]
    return unit(mixed)


@pytest.mark.parametrize("n", [1, 5, 100])
@pytest.mark.parametrize(
    ("options", "weight"),
    [
        ({}, lambda s: 1.0),
        ({"method": "alpha"}, lambda s: max(s, 0) ** 3),
        ({"method": "alpha", "alpha": 0.5}, lambda s: max(s, 0) ** 0.5),
        ({"method": "alpha", "alpha": 0}, lambda s: 1.0),
    ],
)
def test_equals_a_slow_loop(n, options, weight):
    queries, database = 3 * normal(4, 6), normal(30, 6, seed=1)
    expected = [expanded_slowly(query, database.tolist(), n, weight) for query in queries.tolist()]
    found = expand_query(queries, database, n=n, **options)
    assert torch.allclose(found, torch.tensor(expected), atol=1e-5)
    assert torch.allclose(found.norm(dim=1), torch.ones(4))


@pytest.mark.parametrize("method", ["average", "alpha"])
def test_an_outlying_query_finds_the_rest_of_its_cluster(method):
    # The query lies at the edge of its cluster: another one is nearer to it than the far side of its own.
    angles = torch.cat([torch.linspace(0, 60, 13), torch.linspace(-32, -50, 12)]).deg2rad()
    database = torch.stack([angles.cos(), angles.sin()], 1)
    query = torch.tensor([math.cos(0.0), math.sin(0.0)])
    before = search(query, database, k=13).indices[0]
    after = search(expand_query(query, database, n=5, method=method), database, k=10).indices[0]
    assert int((before < 13).sum()) < 10
    assert bool((after < 13).all())


def test_one_query_comes_back_as_a_row_of_its_type():
    assert expand_query(normal(6).double(), normal(9, 6)).shape == (1, 6)
    assert expand_query(normal(6).double(), normal(9, 6)).dtype == torch.float64
    assert expand_query(normal(6).half(), normal(9, 6)).dtype == torch.float16


def test_a_zero_query_stays_zero_and_nothing_to_find_changes_nothing():
    assert expand_query(torch.zeros(2, 3), normal(5, 3)).tolist() == [[0, 0, 0]] * 2
    assert torch.allclose(expand_query(torch.tensor([3.0, 4.0]), normal(0, 2)), torch.tensor([[0.6, 0.8]]))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"n": 0}, "`n` parameter of `expand_query`"),
        ({"method": "alfa"}, "Did you mean 'alpha'"),
        ({"alpha": -1}, "`alpha`"),
    ],
)
def test_bad_options_are_refused(options, what):
    with pytest.raises(ValueError, match=what):
        expand_query(normal(2, 3), normal(5, 3), **options)
