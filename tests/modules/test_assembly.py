"""Networks of which each knows one class, and together all."""

import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_interp.functional.selection.assembly import assemble
from lightning_interp.functional.selection.image_score import image_scores
from lightning_interp.functional.selection.statistics import class_statistics
from lightning_interp.modules.assembly import AssembledClassifier

N_CLASSES, WIDTH = 3, 4


def data(n=60, seed=0):
    """Images whose class is the third of the pixels that is bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, N_CLASSES, (n,), generator=generator)
    images = 0.2 * torch.rand(n, N_CLASSES * WIDTH, generator=generator)
    images += torch.eye(N_CLASSES)[labels].repeat_interleave(WIDTH, 1)
    return images, labels


def network(*known):
    """Recognises the classes ``known``, one per hidden unit, and calls everything else by the last class it knows."""
    net = nn.Sequential(nn.Linear(N_CLASSES * WIDTH, N_CLASSES), nn.ReLU(), nn.Linear(N_CLASSES, N_CLASSES))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(N_CLASSES).repeat_interleave(WIDTH, 1))
        net[0].bias.zero_()
        net[2].weight.zero_()
        net[2].bias.copy_(torch.nn.functional.one_hot(torch.tensor(known[-1]), N_CLASSES) - 0.5)
        for c in known:
            net[2].weight[c, c] = 1.0
    return net


@pytest.fixture
def parts():
    """For each class a network that knows it, and a baseline that knows only class 2."""
    images, labels = data(seed=1)
    nets = [network(0, 1), network(1, 2), network(2, 0)]
    statistics = [class_statistics(net, images, labels=labels, n_classes=N_CLASSES) for net in nets]
    return nets, statistics, network(2)


def trainer():
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def test_is_the_function_on_the_scores_of_each_network(parts):
    images, _ = data()
    nets, statistics, baseline = parts
    found = AssembledClassifier(nets, statistics, baseline, classes=[1, 2, 0], norm="l2").assemble(images)
    scored = [image_scores(net, images, each, norm="l2") for net, each in zip(nets, statistics, strict=True)]
    expected = assemble(
        torch.stack([each.scores for each in scored]),
        torch.stack([each.labels for each in scored]),
        baseline(images).argmax(1),
        classes=[1, 2, 0],
    )
    assert torch.equal(found.labels, expected.labels)
    assert torch.equal(found.models, expected.models)
    assert len(set(found.models.tolist())) > 1


def test_the_specialists_beat_the_baseline_and_it_is_logged(parts):
    images, labels = data()
    module = AssembledClassifier(*parts)
    (result,) = trainer().test(module, DataLoader(TensorDataset(images, labels), batch_size=25), verbose=False)
    assert result["test/baseline_accuracy"] == pytest.approx(float((labels == 2).float().mean()))
    assert result["test/accuracy"] == pytest.approx(float((module(images) == labels).float().mean()))
    assert result["test/accuracy"] > result["test/baseline_accuracy"] + 0.2
    assert result["test/claimed"] == pytest.approx(float((module.assemble(images).n_claims > 0).float().mean()))


def test_prediction_says_which_network_decided(parts):
    images, labels = data()
    module = AssembledClassifier(*parts)
    whole = module.assemble(images)
    for dataset in (TensorDataset(images, labels), images):
        batches = trainer().predict(module, DataLoader(dataset, batch_size=25))
        for name in ("labels", "models", "n_claims"):
            assert torch.equal(torch.cat([each[name] for each in batches]), getattr(whole, name))


def test_statistics_are_saved_with_the_weights(parts):
    images, labels = data()
    nets, statistics, baseline = parts
    module = AssembledClassifier(*parts)
    other = class_statistics(nets[0], images, labels=(labels + 1) % N_CLASSES, n_classes=N_CLASSES)
    copy = AssembledClassifier(nets, [other] * 3, baseline)
    before = other.sums[0].clone()
    copy.load_state_dict(module.state_dict())
    assert torch.equal(copy.experts[1].sums_0, statistics[1].sums[0])
    assert torch.equal(other.sums[0], before), "what the caller gave is left alone"


def test_testing_leaves_the_networks_as_they_were(parts):
    module = AssembledClassifier(*parts).train()
    module.experts[0].net[1].eval()
    flags = [each.training for each in module.modules()]
    module(data()[0])
    assert [each.training for each in module.modules()] == flags
    assert all(parameter.grad is None and parameter.requires_grad for parameter in module.parameters())


def test_bad_parts_are_named(parts):
    nets, statistics, baseline = parts
    images, _ = data()
    without = class_statistics(nets[1], images, labels=torch.zeros(len(images)).long(), n_classes=N_CLASSES)
    for arguments, options, text in (
        (([], [], baseline), {}, "`networks` parameter of `AssembledClassifier` must be at least one network"),
        ((nets, statistics[:2], baseline), {}, "`statistics` .* as many as there are networks, 3. Got 2"),
        ((nets, statistics, baseline), {"classes": [0]}, "`classes` .* as many as there are networks, 3. Got 1"),
        ((nets, [statistics[0], without, statistics[2]], baseline), {}, "network 1 is for class 1. Got '.60, 0, 0"),
        ((nets, statistics, baseline), {"classes": [0, 1, 7]}, "network 2 is for class 7"),
        ((nets, statistics, baseline), {"norm": "l3"}, "The `norm` parameter"),
    ):
        with pytest.raises(ValueError, match=text):
            AssembledClassifier(*arguments, **options)
