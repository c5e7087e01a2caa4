import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from lightning_interp.functional.retrieval.search import search


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("k", [1, 7, 100, None])
@pytest.mark.parametrize("batch_size", [1, 13, 1024])
def test_equals_a_full_sort_of_cosine_similarities(k, batch_size):
    queries, database = 5 * normal(6, 9), normal(100, 9, seed=1)
    found = search(queries, database, k, batch_size=batch_size)
    similarities = cosine_similarity(queries.double(), database.double())
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    assert np.array_equal(found.indices, order)
    assert np.allclose(found.scores, np.take_along_axis(similarities, order, 1), atol=1e-7)


@pytest.mark.parametrize("k", [3, 40, None])
@pytest.mark.parametrize("batch_size", [1, 7, 64, 500])
def test_of_equals_the_lower_index_comes_first(k, batch_size):
    kinds = normal(4, 33)
    database = kinds[torch.arange(80) % 4] * 2.0 ** torch.linspace(-5, 5, 80).round()[:, None]
    found = search(normal(5, 33, seed=1), database, k, batch_size=batch_size)
    order = (kinds / kinds.norm(dim=1, keepdim=True) @ normal(5, 33, seed=1).T).argsort(0, descending=True).T
    expected = torch.stack([torch.cat([torch.arange(i, 80, 4) for i in row.tolist()]) for row in order])
    assert torch.equal(found.indices, expected[:, :k])


def test_one_query_and_fewer_than_k():
    database = normal(4, 5)
    found = search(database[2], database, k=10)
    assert found.indices.shape == found.scores.shape == (1, 4)
    assert found.indices[0, 0] == 2
    assert found.scores[0, 0] == 1


def test_zero_vectors_are_similar_to_nothing():
    database = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    assert search(torch.tensor([2.0, 0.0]), database).scores.tolist() == [[1, 0, -1]]
    assert search(torch.zeros(2), database).indices.tolist() == [[0, 1, 2]]


def test_lengths_and_types_change_nothing():
    queries, database = normal(3, 8), normal(50, 8, seed=1)
    expected = search(queries, database)
    lengths = torch.logspace(-18, 18, 50)[:, None]
    for other in (search(queries.double(), database.double()), search(1e-20 * queries, lengths * database)):
        assert torch.equal(other.indices, expected.indices)
        assert torch.allclose(other.scores, expected.scores, atol=1e-6)
    half = search(queries.bfloat16(), database.bfloat16())
    assert half.scores.dtype == torch.float32
    assert torch.equal(half.indices, search(queries.bfloat16().float(), database.bfloat16().float()).indices)


def test_no_gradient_is_kept():
    assert not search(normal(2, 3).requires_grad_(), normal(4, 3).requires_grad_()).scores.requires_grad


def test_an_empty_database_has_no_matches():
    assert search(normal(2, 3), normal(0, 3)).indices.shape == (2, 0)


@pytest.mark.parametrize(
    ("queries", "database", "options", "what"),
    [
        (normal(2, 3, 4), normal(5, 3), {}, r"queries.*\(Q, D\) or one.*Got Tensor of shape \(2, 3, 4\)"),
        (normal(2, 3), normal(5, 4), {}, r"database.*\(N, 3\)"),
        (normal(2, 3), normal(3), {}, "database"),
        (normal(2, 3), normal(5, 3).index_fill(0, torch.tensor([4]), torch.nan), {}, "database.*row 4 of these 5"),
        (normal(2, 3) * torch.inf, normal(5, 3), {}, "queries.*finite"),
        (normal(2, 3), normal(5, 3), {"k": 0}, "`k`.*Got 0"),
        (normal(2, 3), normal(5, 3), {"batch_size": 0}, "batch_size"),
    ],
)
def test_bad_input_is_refused(queries, database, options, what):
    with pytest.raises(ValueError, match=what):
        search(queries, database, **options)
