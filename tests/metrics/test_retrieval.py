import math
import pickle

import pytest
import torch
from torch import distributed, multiprocessing

from lightning_interp.functional.retrieval.average_precision import (
    average_precision,
    precision_at,
    revisited_relevance,
)
from lightning_interp.functional.retrieval.boxes import box_overlaps
from lightning_interp.metrics.retrieval import BoxIoU, RetrievalAP, RevisitedAP
from tests.functional.retrieval.test_average_precision import name, random_ranking
from tests.functional.retrieval.test_boxes import random_pairs

PROTOCOLS = ("easy", "medium", "hard")
SIX = list(range(6))


def queries(rows=SIX):
    """Rankings, positives and junk; the last query has no positives."""
    found = [random_ranking(seed) for seed in range(5)] + [([1, 2, 3], [], [2])]
    return tuple(list(column) for column in zip(*[found[i] for i in rows], strict=True)) or ([], [], [])


def revisited(rows=SIX):
    """Rankings, easy, hard and junk; query 1 has nothing easy, query 2 nothing hard, query 3 neither."""
    found = []
    for seed in rows:
        ranking = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
        found.append((ranking, range(0 if seed in (1, 3) else 4), range(4, 4 if seed in (2, 3) else 9), range(9, 12)))
    return tuple(list(column) for column in zip(*found, strict=True)) or ([], [], [], [])


@pytest.mark.parametrize("options", [{}, {"rule": "trapezoid"}, {"at": 5}])
def test_queries_add_up_to_the_mean_of_the_function(options):
    metric, alone = RetrievalAP(**options), RetrievalAP(**options)
    for rows in ([0, 1], [2], [3, 4, 5], []):
        metric.update(*queries(rows))
    for query in zip(*queries(), strict=True):
        alone.update(*query)
    expected = sum(average_precision(*query, **options) for query in zip(*queries(SIX[:5]), strict=True)) / 5
    assert metric.compute() == pytest.approx(expected, rel=1e-12)
    assert alone.compute() == pytest.approx(expected, rel=1e-12)
    assert (metric.n_queries, metric.n_without) == (alone.n_queries, alone.n_without) == (5, 1)
    assert pickle.loads(pickle.dumps(metric)).compute() == metric.compute()


def test_names_tables_and_several_kinds_of_lists_are_queries():
    ranking, positives, junk = random_ranking(1)
    expected = average_precision(ranking, positives)
    given = [
        ([name(item) for item in ranking], [name(item) for item in positives]),
        ([[name(item) for item in ranking]], [[name(item) for item in positives]]),
        (torch.tensor(ranking), positives),
        (torch.tensor([ranking]), [positives]),
        (torch.tensor([ranking]), torch.tensor([positives])),
        ([torch.tensor(ranking)], [set(positives)], []),
        ((tuple(ranking),), (positives,), ([],)),
    ]
    for query in given:
        metric = RetrievalAP()
        metric.update(*query)
        assert (metric.compute(), metric.n_queries) == (expected, 1)
    metric = RetrievalAP()
    metric.update([[*junk, 99]], [[99]], [junk])
    assert metric.compute() == 1


def test_a_ranking_of_nothing_is_a_miss_but_no_query_is_none():
    metric = RetrievalAP()
    metric.update([], [])
    assert (metric.n_queries, metric.n_without) == (0, 0)
    assert metric.compute().isnan()
    metric.update([], ["a"])
    assert (metric.n_queries, metric.compute()) == (1, 0)


def test_a_bad_query_leaves_the_metric_as_it_was():
    metric = RetrievalAP()
    with pytest.raises(ValueError, match="each come once"):
        metric.update([[1, 2], [3, 3]], [[1], [3]])
    assert metric.n_queries == metric.total == 0


def test_protocols_add_up_to_the_functions():
    metric, ks = RevisitedAP(ks=(1, 3)), (1, 3)
    for rows in ([0, 1, 2], [], [3, 4], [5]):
        metric.update(*revisited(rows))
    found = metric.compute()
    assert list(found) == [f"{each}{end}" for each in PROTOCOLS for end in ("", "/p@1", "/p@3")]
    for number, (protocol, n_queries) in enumerate(zip(PROTOCOLS, (4, 5, 4), strict=True)):
        counted = [(query[0], *revisited_relevance(*query[1:], protocol)) for query in zip(*revisited(), strict=True)]
        counted = [query for query in counted if query[1]]
        assert (metric.n_queries[number], metric.n_without[number]) == (n_queries, 6 - n_queries)
        assert len(counted) == n_queries
        ap = sum(average_precision(*query, rule="trapezoid") for query in counted) / n_queries
        precision = sum(precision_at(*query, ks=ks) for query in counted) / n_queries
        assert found[protocol] == pytest.approx(ap, rel=1e-12)
        assert [found[f"{protocol}/p@{k}"] for k in ks] == pytest.approx(precision.tolist(), rel=1e-12)
    assert pickle.loads(pickle.dumps(metric)).compute() == found


def test_protocols_by_hand():
    """Hard without the easy ones: x, h; one positive, at place 2."""
    metric = RevisitedAP()
    metric.update(["e", "j", "x", "h"], easy=["e"], hard=["h"], junk=["j"])
    found = {each: float(value) for each, value in metric.compute().items()}
    assert found["easy"] == found["easy/p@1"] == found["easy/p@10"] == 1
    assert found["hard"] == 0.25
    assert (found["hard/p@1"], found["hard/p@5"]) == (0, 0.5)
    assert found["medium"] == pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2)
    assert (found["medium/p@1"], found["medium/p@5"]) == (1, pytest.approx(2 / 3))


def test_without_queries_there_is_no_number():
    protocols, overlap = RevisitedAP(), BoxIoU()
    protocols.update([], [], [], [])
    overlap.update(torch.zeros(0, 4), torch.zeros(0, 4))
    assert all(value.isnan() for value in protocols.compute().values())
    assert overlap.compute().isnan()


def test_batches_of_boxes_add_up_to_the_function():
    boxes, truth = random_pairs()
    boxes[3] = -1
    metric = BoxIoU()
    for rows in (*torch.arange(40).split(15), torch.arange(0)):
        metric.update(boxes[rows], truth[rows])
    assert metric.compute() == pytest.approx(float(box_overlaps(boxes, truth).mean()), rel=1e-12)
    assert metric.compute().dtype == torch.float64
    assert pickle.loads(pickle.dumps(metric)).compute() == metric.compute()
    metric.reset()
    metric.update(truth, truth)
    assert metric.compute() == 1


def measured(rows):
    boxes, truth = random_pairs()
    ap, protocols, overlap = RetrievalAP(), RevisitedAP(), BoxIoU()
    ap.update(*queries(rows))
    protocols.update(*revisited(rows))
    overlap.update(boxes[rows], truth[rows])
    return {"ap": ap.compute(), **protocols.compute(), "overlap": overlap.compute()}


def on_rank(rank, folder, shares):
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    torch.save(measured(shares[rank]), folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize("shares", [([0, 2, 4], [1, 3, 5]), (SIX, [])], ids=["even", "one idle"])
def test_two_ranks_are_one(tmp_path, shares):
    multiprocessing.start_processes(on_rank, (tmp_path, shares), nprocs=2, start_method="fork")
    expected = {key: float(value) for key, value in measured(SIX).items()}
    assert not any(map(math.isnan, expected.values()))
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert {key: float(value) for key, value in found.items()} == pytest.approx(expected, rel=1e-12)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="`rule` parameter of `RetrievalAP` must be one of"):
        RetrievalAP(rule="mean")
    with pytest.raises(ValueError, match="`at` parameter of `RetrievalAP`"):
        RetrievalAP(at=0)
    with pytest.raises(ValueError, match="`ks` parameter of `RevisitedAP`"):
        RevisitedAP(ks=[0])
    with pytest.raises(ValueError, match="`positives` parameter of `RetrievalAP` must be a collection for each of 2"):
        RetrievalAP().update([[1, 2], [2, 1]], [[1]])
    with pytest.raises(ValueError, match="`junk` parameter of `RevisitedAP` must be a collection for each of 1"):
        RevisitedAP().update([[1, 2]], [[1]], [[2]], [[3], [4]])
    with pytest.raises(ValueError, match="`boxes` parameter of `box_overlaps`"):
        BoxIoU().update(torch.ones(3, 4), torch.ones(2, 4))
