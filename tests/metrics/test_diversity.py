"""Diversity over batches and processes, against scipy."""

import pickle

import pytest
import torch
from scipy.spatial.distance import pdist
from torch import distributed, multiprocessing

from lightning_interp.metrics.diversity import PairwiseDiversity


def features(n=30):
    return torch.randn(n, 2, 3, 4, generator=torch.Generator().manual_seed(0))


def diversity(parts):
    metric = PairwiseDiversity()
    for part in parts:
        metric.update(part)
    return metric


@pytest.mark.parametrize("size", [1, 7, 30])
def test_batches_change_nothing(size):
    metric = diversity(features().split(size))
    expected = pdist(features().flatten(1).numpy()).mean()
    assert metric.compute().dtype == torch.float32
    assert float(metric.compute()) == pytest.approx(expected, rel=1e-6)
    assert float(pickle.loads(pickle.dumps(metric)).compute()) == pytest.approx(expected, rel=1e-6)


def test_far_from_zero_nothing_is_lost():
    rows = torch.randn(30, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 1e5
    assert float(diversity([rows]).compute()) == pytest.approx(pdist(rows.numpy()).mean(), rel=1e-6)


def test_forward_gives_the_batch_and_adds_to_the_whole():
    metric = PairwiseDiversity()
    first, rest = features().split([4, 26])
    assert float(metric(first)) == pytest.approx(pdist(first.flatten(1).numpy()).mean(), rel=1e-6)
    metric(rest)
    assert float(metric.compute()) == pytest.approx(pdist(features().flatten(1).numpy()).mean(), rel=1e-6)


def test_fewer_than_two_images_have_none():
    metric = PairwiseDiversity()
    for few in (features(0), features(1)):
        metric.update(few)
        assert metric.compute().isnan()
        metric = pickle.loads(pickle.dumps(metric))
    metric.update(features(1))
    assert metric.compute() == 0, "the same image twice"
    metric.reset()
    metric.update(features(0))
    assert metric.compute().isnan()


def test_half_precision_and_graphs_are_no_trouble():
    rows = features().half()
    metric = diversity([rows.requires_grad_()])
    expected = pdist(rows.detach().double().flatten(1).numpy()).mean()
    assert float(metric.compute()) == pytest.approx(expected, rel=1e-6)
    assert not metric.rows[0].requires_grad, "graphs of all batches would be kept"


def test_rows_must_be_alike():
    with pytest.raises(ValueError, match=r"`features` parameter of `PairwiseDiversity` must be a row for each image"):
        PairwiseDiversity().update(torch.ones(3))
    with pytest.raises(ValueError, match=r"rows of length 24, as before. Got Tensor of shape \(3, 5\)"):
        diversity([features()]).update(torch.ones(3, 5))


def on_rank(rank, folder, shares):
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    torch.save(diversity(features()[shares[rank]].split(4)).compute(), folder / f"{rank}.pt")
    distributed.destroy_process_group()


def test_pairs_across_ranks_count(tmp_path):
    shares = [list(range(19)), list(range(19, 30))]
    multiprocessing.start_processes(on_rank, (tmp_path, shares), nprocs=2, start_method="fork")
    expected = pdist(features().flatten(1).numpy()).mean()
    for rank in (0, 1):
        assert float(torch.load(tmp_path / f"{rank}.pt")) == pytest.approx(expected, rel=1e-6)
