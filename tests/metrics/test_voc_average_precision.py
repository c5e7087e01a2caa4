import pickle

import pytest
import torch
from torch import distributed, multiprocessing

from lightning_interp.functional.voc_average_precision import voc_average_precision
from lightning_interp.metrics.voc_average_precision import VOCAveragePrecision
from tests.functional.test_voc_average_precision import random_images


def test_batches_add_up_to_the_function():
    predictions, targets = random_images()
    expected = voc_average_precision(predictions, targets, n_classes=3, rule="eleven_point")
    metric = VOCAveragePrecision(n_classes=3, rule="eleven_point")
    for i in range(0, 30, 7):
        metric.update(predictions[i : i + 7], targets[i : i + 7])
    metric.update([], [])
    assert metric.precision().per_class.tolist() == expected.per_class.tolist()
    assert metric.compute() == {"mean": expected.mean}
    assert metric.n_objects.tolist() == expected.n_objects.tolist()


def test_pickles_resets_and_is_empty_at_first():
    metric = VOCAveragePrecision(n_classes=3)
    assert metric.precision().mean.isnan()
    metric.update(*random_images())
    again = pickle.loads(pickle.dumps(metric))
    assert again.compute() == metric.compute()
    again.reset()
    assert again.n_objects.sum() == 0
    assert again.scores == []


@pytest.mark.parametrize("options", [{"n_classes": 0}, {"iou_threshold": 2.0}, {"rule": "coco"}])
def test_bad_options_are_named(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"`{name}` parameter of `VOCAveragePrecision`"):
        VOCAveragePrecision(**options)


def on_rank(rank, folder, share):
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    predictions, targets = random_images()
    mine = slice(0, share) if rank == 0 else slice(share, 30)
    metric = VOCAveragePrecision(n_classes=3)
    if predictions[mine]:
        metric.update(predictions[mine], targets[mine])
    own = metric.precision().per_class, metric.compute()["mean"], len(metric.scores)
    torch.save(own, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize("share", [4, 0])
def test_ranks_reduce_to_the_whole(tmp_path, share):
    multiprocessing.start_processes(on_rank, (tmp_path, share), nprocs=2, start_method="fork")
    expected = voc_average_precision(*random_images(), n_classes=3)
    for rank in (0, 1):
        per_class, mean, n_batches = torch.load(tmp_path / f"{rank}.pt")
        assert torch.equal(per_class, expected.per_class)
        assert mean == expected.mean
        assert n_batches == 1  # the state of a rank is its own again
