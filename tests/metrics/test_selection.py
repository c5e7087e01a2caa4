"""Selection metrics against their functions, over batches and over processes."""

import pickle

import pytest
import torch
from torch import distributed, multiprocessing

from lightning_interp.functional.selection import (
    ImageScores,
    class_statistics,
    image_scores,
    selection_balance,
)
from lightning_interp.metrics import ClassActivations, PoolScores, SelectionBalance, SelectionPurity
from tests.functional.selection.test_statistics import network, pictures

LAYERS, SIZES = ("3", "5", "7"), (60, 12, 4)


def activations(**options):
    return ClassActivations(LAYERS, SIZES, n_classes=4, **options)


def same(found, expected, **tolerance):
    assert (found.layers, found.spatial, found.counts.tolist()) == (
        *(expected.layers, expected.spatial),
        expected.counts.tolist(),
    )
    assert all(torch.allclose(a, b, **tolerance) for a, b in zip(found.sums, expected.sums, strict=True))


def pool(n=20):
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(n, 3, generator=generator).softmax(1)
    return ImageScores(-torch.rand(n, generator=generator), probabilities.argmax(1), probabilities)


def rows_of(scores, rows):
    return ImageScores(scores.scores[rows], scores.labels[rows], scores.probabilities[rows])


def test_batches_of_activations_add_up_to_the_function():
    net, (images, labels) = network(), pictures()
    metric = activations()
    for rows in torch.arange(17).split(5):
        metric.update(net, images[rows], labels[rows])
    metric.update(net, images[:0], labels[:0])
    same(metric.statistics(), class_statistics(net, images, labels=labels, n_classes=4))
    assert metric.compute().tolist() == [6, 6, 0, 5]


def test_forward_gives_the_batch_and_adds_to_the_whole():
    net, (images, labels) = network(), pictures()
    metric = activations()
    assert metric(net, images[:3], labels[:3]).tolist() == [1, 1, 0, 1]
    assert metric(net, images[3:], labels[3:]).tolist() == [5, 5, 0, 4]
    same(metric.statistics(), class_statistics(net, images, labels=labels, n_classes=4))


def test_statistics_are_a_copy_and_go_on_after_pickling_and_reset():
    net, (images, labels) = network(), pictures()
    metric = activations()
    metric.update(net, images, labels)
    first = metric.statistics()
    first.sums[0].zero_()
    expected = class_statistics(net, images, labels=labels, n_classes=4)
    same(pickle.loads(pickle.dumps(metric)).statistics(), expected)
    metric.reset()
    assert metric.counts.tolist() == [0] * 4
    metric.update(net, images, labels)
    same(metric.statistics(), expected)


def test_pooled_statistics():
    net, (images, labels) = network(), pictures()
    metric = ClassActivations(LAYERS, (5, 6, 4), n_classes=4, spatial="max")
    metric.update(net, images, labels)
    same(metric.statistics(), class_statistics(net, images, labels=labels, n_classes=4, spatial="max"))


def test_scores_come_in_the_order_of_the_pool_each_once():
    whole, metric = pool(), PoolScores()
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    for rows in (*order.split(7), order[:3], order[:0]):
        metric.update(rows, rows_of(whole, rows))
    metric.update(order[:0], ImageScores(torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.zeros(0, 0)))
    assert metric.compute().tolist() == list(range(20))
    found = metric.scores()
    for name in ("scores", "labels", "probabilities"):
        assert torch.equal(getattr(found, name), getattr(whole, name)), name


def test_a_part_of_the_pool_and_none():
    whole, metric = pool(), PoolScores()
    assert len(metric.scores()) == 0
    rows = torch.tensor([15, 2, 9])
    assert metric(rows, rows_of(whole, rows)).tolist() == [2, 9, 15]
    assert torch.equal(metric.scores().scores, whole.scores[[2, 9, 15]])
    again = pickle.loads(pickle.dumps(metric))
    again.reset()
    assert again.indices == []
    assert len(again.scores()) == 0


def test_purity_is_the_share_of_right_labels():
    generator = torch.Generator().manual_seed(0)
    labels, truth = torch.randint(0, 4, (2, 50), generator=generator)
    labels[labels == 3] = 0
    metric = SelectionPurity(4)
    for rows in torch.arange(50).split(13):
        metric.update(labels[rows], truth[rows])
    metric.update(labels[:0], truth[:0])
    right = [(int(a), int(a == b)) for a, b in zip(labels, truth, strict=True)]
    assert float(metric.compute()) == pytest.approx(sum(r for _, r in right) / 50)
    of_class = [[r for c, r in right if c == k] for k in range(3)]
    assert metric.per_class()[:3].tolist() == pytest.approx([sum(each) / len(each) for each in of_class])
    assert metric.per_class()[3].isnan(), "nothing was chosen as class 3"


def test_purity_at_its_ends():
    metric = SelectionPurity(3)
    labels = torch.tensor([0, 1, 2])
    assert metric(labels, labels) == 1
    assert metric(labels, (labels + 1) % 3) == 0
    assert metric.compute() == 0.5
    metric.reset()
    metric.update(labels[:0], labels[:0])
    assert metric.compute().isnan()
    assert metric.per_class().isnan().all()


def test_balance_is_that_of_the_function():
    labels, metric = torch.tensor([0, 2, 2, 1, 2, 0]), SelectionBalance(4)
    for rows in labels.split(2):
        metric.update(rows)
    assert torch.equal(metric.compute(), selection_balance(torch.tensor([2, 1, 3, 0])))
    assert metric(torch.tensor([0, 1, 2, 3])) == 1
    metric.reset()
    metric.update(labels[:0])
    assert metric.compute().isnan()


@pytest.mark.parametrize("metric", [SelectionPurity, SelectionBalance])
def test_labels_out_of_range(metric):
    bad = [torch.tensor([0, 3])] * (2 if metric is SelectionPurity else 1)
    name = metric.__name__
    with pytest.raises(ValueError, match=rf"`labels` parameter of `{name}` must be labels in \[0, 2\]. Got \[0, 3\]"):
        metric(3).update(*bad)
    with pytest.raises(ValueError, match=f"`n_classes` parameter of `{name}`"):
        metric(0)


def test_bad_activations():
    net, (images, labels) = network(), pictures()
    with pytest.raises(ValueError, match="`n_classes` parameter of `ClassActivations`"):
        ClassActivations(LAYERS, SIZES, n_classes=0)
    with pytest.raises(ValueError, match=r"labels in \[0, 1\]"):
        ClassActivations(LAYERS, SIZES, n_classes=2).update(net, images, labels)


def measured(rows):
    """Everything that is gathered over ranks, of the images a rank has."""
    net, (images, labels) = network(), pictures()
    metric, scored = activations(), PoolScores()
    purity, balance = SelectionPurity(4), SelectionBalance(4)
    metric.update(net, images[rows], labels[rows])
    statistics = metric.statistics()
    found = image_scores(net, images[rows], statistics)
    scored.update(rows, found)
    purity.update(found.labels, labels[rows])
    balance.update(found.labels)
    whole = scored.scores()
    return {
        "sums": statistics.sums,
        "counts": statistics.counts,
        "indices": scored.compute(),
        "scores": whole.scores,
        "labels": whole.labels,
        "probabilities": whole.probabilities,
        "purity": purity.compute(),
        "per_class": purity.per_class(),
        "balance": balance.compute(),
    }


def on_rank(rank, folder, shares):
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    torch.save(measured(torch.tensor(shares[rank])), folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize(
    "shares", [(range(0, 17, 2), range(1, 17, 2)), (range(16, 0, -1), [0])], ids=["alternating", "uneven"]
)
def test_the_number_of_ranks_and_their_shares_change_nothing(tmp_path, shares):
    shares = [list(share) for share in shares]
    multiprocessing.start_processes(on_rank, (tmp_path, shares), nprocs=2, start_method="fork")
    expected = measured(torch.arange(17))
    assert expected["scores"].isfinite().any()
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        for a, b in zip(found.pop("sums"), expected["sums"], strict=True):
            assert torch.allclose(a, b)
        for name, value in found.items():
            assert torch.allclose(value, expected[name], equal_nan=True), name
        assert torch.equal(found["scores"].nan_to_num(9), expected["scores"].nan_to_num(9))


def test_samplers_that_pad_count_an_image_once(tmp_path):
    shares = [[0, 2, 4], [1, 3, 0]]
    multiprocessing.start_processes(on_padded_rank, (tmp_path, shares), nprocs=2, start_method="fork")
    for rank in (0, 1):
        indices, scores = torch.load(tmp_path / f"{rank}.pt")
        assert indices.tolist() == [0, 1, 2, 3, 4]
        assert torch.equal(scores, pool().scores[:5])


def on_padded_rank(rank, folder, shares):
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    metric, rows = PoolScores(), torch.tensor(shares[rank])
    metric.update(rows, rows_of(pool(), rows))
    torch.save((metric.compute(), metric.scores().scores), folder / f"{rank}.pt")
    distributed.destroy_process_group()
