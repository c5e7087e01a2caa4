from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.plugins import Precision
from torch import nn
from torch.utils.data import DataLoader

from lightning_interp.callbacks.pool_scorer import PoolScorer
from lightning_interp.functional.selection import (
    RANKINGS,
    ScoreOptions,
    class_predictions,
    class_statistics,
    dropout_scores,
    image_scores,
)
from tests.callbacks.conftest import Net, PoolData


def scorer(ranking="image_score", *, dataset_wide=False, layers="composites", spatial="none", options=None):
    return PoolScorer(
        ranking,
        dataset_wide=dataset_wide,
        layers=layers,
        spatial=spatial,
        options=options or ScoreOptions(),
        seed=3,
    )


def rank_of(rank=0, world=1, batch_size=10):
    """As much of one rank's Trainer as scoring needs."""
    loader = DataLoader(PoolData().labeled_dataset, batch_size=batch_size)
    return SimpleNamespace(
        train_dataloader=loader, precision_plugin=Precision(), global_rank=rank, world_size=world, current_epoch=0
    )


def run(made, module, data, world=1, batch_size=10):
    """Statistics and scores of all ranks together, as the metrics would gather them."""
    statistics = None
    made.plan(rank_of(batch_size=batch_size), module, data)
    if made.ranking == "image_score":
        parts = [made.statistics(rank_of(r, world, batch_size), module, data).statistics() for r in range(world)]
        statistics = sum(parts[1:], start=parts[0])
    pools = [made.scores(rank_of(r, world, batch_size), module, data, statistics) for r in range(world)]
    whole = pools[0]
    for pool in pools[1:]:
        for name in ("indices", "values", "labels", "probabilities"):
            getattr(whole, name).extend(getattr(pool, name))
    return statistics, whole.compute(), whole.scores()


@pytest.fixture
def data():
    return PoolData()


@pytest.fixture
def net(data):
    """Trained for a moment: it tells the classes apart, not perfectly."""
    net = Net()
    images, labels = data.labeled_dataset.tensors
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    return net.eval()


def tensors(data):
    images, labels = data.labeled_dataset.tensors
    return images, labels, data.unlabeled_dataset.tensors[0]


@pytest.mark.parametrize(
    "given",
    [{}, {"spatial": "mean"}, {"layers": "features.2"}, {"options": ScoreOptions("l2", "per_image", overlap=False)}],
)
def test_scores_are_those_of_the_functions(net, data, given):
    images, labels, pool = tensors(data)
    statistics, indices, found = run(scorer(**given), net, data)
    layers = {name: given[name] for name in ("layers", "spatial") if name in given}
    expected = class_statistics(net, images, labels=labels, n_classes=3, **layers)
    assert statistics.layers == expected.layers
    assert all(torch.allclose(a, b) for a, b in zip(statistics.sums, expected.sums, strict=True))
    options = vars(given.get("options", ScoreOptions()))
    scores = image_scores(net, pool, expected, **options)
    assert indices.tolist() == list(range(60))
    assert torch.equal(found.scores, scores.scores)
    assert torch.equal(found.labels, scores.labels)
    assert torch.allclose(found.probabilities, scores.probabilities)


def test_one_mask_for_the_whole_dataset(net, data):
    images, _, pool = tensors(data)
    statistics, _, found = run(scorer(dataset_wide=True), net, data)
    assert statistics.counts.tolist() == [60]
    assert torch.equal(found.scores, image_scores(net, pool, class_statistics(net, images, n_classes=1)).scores)
    assert found.labels.unique().tolist() == [0, 1, 2]  # labels are still those of the network


@pytest.mark.parametrize("ranking", set(RANKINGS) - {"image_score", "mc_dropout"})
def test_other_rankings_need_no_statistics(net, data, ranking):
    _, _, found = run(scorer(ranking), net, data)
    plain = class_predictions(net, tensors(data)[2], batch_size=10)
    assert torch.equal(found.labels, plain.labels)
    assert torch.equal(found.probabilities, plain.probabilities)


def test_mc_dropout_has_its_own_seed(net, data):
    _, _, found = run(scorer("mc_dropout"), net, data)
    torch.rand(5)
    _, _, again = run(scorer("mc_dropout"), net, data)
    assert torch.equal(found.scores, again.scores)
    expected = dropout_scores(net, tensors(data)[2], passes=50)
    assert torch.equal(found.labels, expected.labels)
    assert (found.scores < 0).all()


@pytest.mark.parametrize("ranking", ["image_score", "softmax"])
@pytest.mark.parametrize(("world", "batch_size"), [(2, 10), (3, 7), (1, 60), (64, 10)])  # 64 ranks, 60 images
def test_ranks_and_batches_change_nothing(net, data, ranking, world, batch_size):
    statistics, indices, alone = run(scorer(ranking), net, data)
    again, indices_too, shared = run(scorer(ranking), net, data, world, batch_size)
    assert torch.equal(indices, indices_too)
    assert torch.equal(alone.labels, shared.labels)
    assert torch.allclose(alone.scores, shared.scores, atol=1e-6)
    if statistics is not None:
        assert torch.equal(statistics.counts, again.counts)


def test_the_network_is_left_as_it_was(data):
    net = Net()  # in train mode, with a dropout that draws and a batch norm that counts
    before = {name: value.clone() for name, value in net.state_dict().items()}
    run(scorer(), net, data)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_bf16_autocast_scores_too(net, data):
    made = scorer()
    made.plan(rank_of(), net, data)
    with torch.autocast("cpu", torch.bfloat16):
        total = made.statistics(rank_of(), net, data)
        found = made.scores(rank_of(), net, data, total.statistics()).scores()
    assert found.scores.isfinite().all()
    assert found.scores.dtype == found.probabilities.dtype == torch.float32


class TestPlanRefuses:
    def plan(self, made, net, data):
        made.plan(rank_of(), net, data)

    def test_a_network_without_composites(self, data):
        class Mean(Net):
            def forward(self, x):
                return x.mean((2, 3)) * self.scale

        net = Mean()
        del net.features, net.head
        net.scale = nn.Parameter(torch.ones(3))
        with pytest.raises(ValueError, match="it has no convolution and no linear layer"):
            self.plan(scorer(), net, data)
        self.plan(scorer("softmax"), net, data)

    def test_an_unknown_layer(self, net, data):
        with pytest.raises(ValueError, match=r"Got 'feature\.5'. Did you mean 'features.5'"):
            self.plan(scorer(layers="feature.5"), net, data)

    def test_mc_dropout_without_dropout(self, net, data):
        net.head[0] = nn.Identity()
        with pytest.raises(ValueError, match="must be a network with dropout layers; choose another ranking"):
            self.plan(scorer("mc_dropout"), net, data)

    def test_a_network_without_class_scores(self, net, data):
        net.forward = net.features.forward
        with pytest.raises(TypeError, match=r"must return class scores \(N, n_classes\)"):
            self.plan(scorer(), net, data)
