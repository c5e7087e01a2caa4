import pickle

import pytest
import torch

from lightning_interp.functional import compression_curve
from lightning_interp.metrics import CompressionAUC
from lightning_interp.models import CIFAR10CNN

LAYERS = ("features.19", "features.21")


@pytest.fixture
def problem():
    torch.manual_seed(0)
    return CIFAR10CNN(n_classes=3, width=4), torch.rand(26, 3, 32, 32), torch.arange(26) % 3


def metric(**options):
    return CompressionAUC(LAYERS, (1, 4), **{"width": 32, "n_classes": 3, "batch_size": 5, **options})


def test_one_update_is_the_function(problem):
    curve = compression_curve(*problem, layers=LAYERS, ks=(1, 4), batch_size=5)
    auc = metric()
    auc.update(*problem)
    assert auc.curve().accuracy.tolist() == pytest.approx(curve.accuracy.tolist())
    values = auc.compute()
    assert float(values["auc"]) == pytest.approx(curve.auc)
    assert float(values["relative_auc"]) == pytest.approx(curve.relative_auc)
    assert float(values["full_accuracy"]) == pytest.approx(curve.full_accuracy)
    assert torch.allclose(auc.curve().relative_error, curve.relative_error, atol=1e-5)


def test_shards_of_whole_batches_add_up_to_all(problem):
    net, images, labels = problem
    whole, shards, part = metric(), metric(), metric()
    whole.update(net, images, labels)
    for c in range(3):
        shards.update(net, images[labels == c], labels[labels == c])
        part.reset()
        part.update(net, images[labels == c], labels[labels == c])
    assert torch.equal(shards.correct, whole.correct)
    assert torch.equal(shards.total, whole.total)
    assert torch.allclose(shards.squared_error, whole.squared_error, rtol=1e-4)
    assert part.total.tolist() == [0, 0, 8]


def test_merging_states_reduces_like_ranks_do(problem):
    net, images, labels = problem
    whole, left, right = metric(), metric(), metric()
    whole.update(net, images, labels)
    left.update(net, images[labels < 2], labels[labels < 2])
    right.update(net, images[labels == 2], labels[labels == 2])
    left.merge_state(right)
    assert torch.equal(left.correct, whole.correct)


def test_a_rank_without_images_adds_nothing(problem):
    net, images, labels = problem
    auc = metric()
    auc.update(net, images[:0], labels[:0])
    assert auc.total.sum() == 0
    auc.update(net, images, labels)
    assert auc.total.tolist() == [9, 9, 8]


def test_pickles_and_resets(problem):
    auc = metric(method="pca")
    auc.update(*problem)
    again = pickle.loads(pickle.dumps(auc))
    assert torch.equal(again.correct, auc.correct)
    again.reset()
    assert again.total.sum() == 0
