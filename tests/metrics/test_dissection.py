import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_interp.functional.dissection import Concepts, network_dissection
from lightning_interp.metrics.dissection import ConceptIoU, UnitActivations

ROOT = Path(__file__).parents[2]
NAMES = {"color": ["unlabelled", "red", "blue"], "scene": ["unlabelled", "sea"]}
LAYERS, SIZES = ["0", "1"], [6, 6]


class Data(list):
    concepts = NAMES


def problem(n=20):
    generator = torch.Generator().manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    images = torch.randn(n, 3, 8, 8, generator=generator)
    masks = torch.randint(-1, 3, (n, 5, 6), generator=generator)
    targets = [{"color": mask, **({"scene": 1} if i % 3 else {})} for i, mask in enumerate(masks)]
    return net, Data(zip(images, targets, strict=True))


def batches(data, rows, size=4):
    rows = list(rows)
    for i in range(0, len(rows), size):
        part = rows[i : i + size]
        yield torch.tensor(part), torch.stack([data[j][0] for j in part]), [data[j][1] for j in part]


def both(net, data, shares, **options):
    """Both passes, the metrics of several shares of the images merged as those of ranks are."""

    def merged(make, *update):
        first, *others = [make() for _ in shares]
        for metric, rows in zip([first, *others], shares, strict=True):
            metric.update(net, batches(data, rows), *update)
        for other in others:
            first.merge_state(other)
        return first

    seen = merged(lambda: UnitActivations(LAYERS, SIZES, n_top=3, quantile=0.05, **options))
    return seen, merged(lambda: ConceptIoU(Concepts.of(NAMES), LAYERS, SIZES), seen.compute())


@pytest.mark.parametrize("floors", [True, False])
@pytest.mark.parametrize("shares", [[range(20)], [range(0, 20, 2), range(1, 20, 2)], [range(20), [], []]])
def test_shares_of_the_images_add_up_to_the_function(shares, floors):
    net, data = problem()
    seen, overlap = both(net, data, shares, floors=floors)
    whole = network_dissection(net, data, LAYERS, quantile=0.05, n_top=3, batch_size=4)
    for name in LAYERS:
        layer, top = whole.layers[name], seen.statistics()[name].top
        assert torch.equal(seen.compute()[name], layer.levels)
        assert torch.equal(top.values, layer.top.values)
        assert torch.equal(top.indices, layer.top.indices)
        assert torch.equal(overlap.compute()[name], layer.iou)
        assert torch.equal(overlap.areas()[name].iou(Concepts.of(NAMES)), layer.iou)


def test_update_after_update_is_one_update():
    net, data = problem()
    once, twice = UnitActivations(LAYERS, SIZES, floors=False), UnitActivations(LAYERS, SIZES, floors=False)
    once.update(net, batches(data, range(20)))
    twice.update(net, batches(data, range(8)))
    twice.update(net, batches(data, range(8, 20)))
    assert torch.equal(once.counts_1, twice.counts_1)
    assert torch.equal(once.top_0, twice.top_0)
    assert (int(once.total_0), int(twice.total_0)) == (20 * 64, 20 * 64)


def test_pickles_and_resets():
    net, data = problem()
    for metric in both(net, data, [range(20)]):
        again = pickle.loads(pickle.dumps(metric))
        assert all(torch.equal(again.compute()[name], metric.compute()[name]) for name in LAYERS)
        again.reset()
        sums = {name: float(value.sum()) for name, value in again.metric_state.items()}
        assert all(
            total == 0 for name, total in sums.items() if name.startswith(("total", "counts", "concept", "unit"))
        )


def test_indices_and_values_of_the_best_images_stay_exact():
    net, data = problem(4)
    metric = UnitActivations(["1"], [6], n_top=5)
    images = torch.stack([image for image, _ in data])
    metric.update(net, [(torch.tensor([2**40, 3, 2**24 + 1, 5]), images, [])])
    top = metric.statistics()["1"].top
    assert {2**40, 3, 2**24 + 1, 5, -1} == set(top.indices.unique().tolist())
    values = net[:2](images).amax((2, 3)).T.sort(1, descending=True).values.detach()
    assert torch.equal(top.values[:, :4], values)
    assert top.values[:, 4].isneginf().all()


@pytest.mark.parametrize("options", [{"n_top": 0}, {"quantile": 1.5}])
def test_bad_options_are_named(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"The `{name}` parameter of `UnitActivations` must be"):
        UnitActivations(LAYERS, SIZES, **options)


RANKS = """
import sys, torch, torch.distributed as dist
from lightning_interp.functional.dissection import Concepts
from lightning_interp.metrics.dissection import ConceptIoU, UnitActivations
from tests.metrics.test_dissection import LAYERS, NAMES, SIZES, batches, problem

rank, world = int(sys.argv[1]), int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world)
net, data = problem()
mine = range(20) if world == 1 else [range(13), range(13, 20), []][rank]
seen = UnitActivations(LAYERS, SIZES, n_top=3, quantile=0.05)
seen.update(net, batches(data, mine))
levels = seen.compute()
overlap = ConceptIoU(Concepts.of(NAMES), LAYERS, SIZES)
overlap.update(net, batches(data, mine), levels)
tops = {name: (part.top.values, part.top.indices) for name, part in seen.statistics().items()}
torch.save((levels, tops, overlap.compute()), f"{sys.argv[3]}.{rank}")
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_one_two_and_three_ranks_find_the_same(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    results = []
    for world in (1, 2, 3):  # the third rank of three has no image
        commands = [[sys.executable, "-c", RANKS, str(r), str(world), str(tmp_path / f"{world}")] for r in range(world)]
        runs = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for command in commands]
        for run in runs:
            _, errors = run.communicate(timeout=600)
            assert run.returncode == 0, errors
        results += [torch.load(tmp_path / f"{world}.{rank}") for rank in range(world)]
    levels, tops, iou = results[0]
    for other_levels, other_tops, other_iou in results[1:]:
        for name in LAYERS:
            assert torch.equal(levels[name], other_levels[name])
            assert torch.equal(iou[name], other_iou[name])
            assert all(torch.equal(a, b) for a, b in zip(tops[name], other_tops[name], strict=True))
