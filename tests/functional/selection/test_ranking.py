"""Rankings against libraries and loops written from the papers."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional as F

from lightning_interp.functional.selection import (
    RANKINGS,
    ImageScores,
    class_predictions,
    class_statistics,
    dropout_scores,
    image_scores,
    rank_images,
    score_images,
)


def predictions(n=200, n_classes=5, scale=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    probabilities = (scale * torch.randn(n, n_classes, generator=generator)).softmax(1)
    probabilities[:, 0] *= 1.5  # one class is easier
    probabilities /= probabilities.sum(1, keepdim=True)
    return ImageScores(torch.randn(n, generator=generator), probabilities.argmax(1), probabilities)


def dropout_network(p=0.5):
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(p)),
        *(nn.Flatten(), nn.Linear(4 * 36, 16), nn.ReLU(), nn.Dropout(p), nn.Linear(16, 3)),
    )
    return net, torch.rand(9, 3, 8, 8)


def test_softmax_is_the_confidence_of_scikit_learn():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(90, 4)), np.arange(90) % 3
    fitted = LogisticRegression().fit(x, y)
    net = nn.Linear(4, 3).double()
    net.weight.data, net.bias.data = torch.tensor(fitted.coef_), torch.tensor(fitted.intercept_)
    found = score_images(net, torch.tensor(x), "softmax", batch_size=7)
    expected = fitted.predict_proba(x)
    assert found.labels.tolist() == fitted.predict(x).tolist()
    assert found.probabilities.numpy() == pytest.approx(expected, abs=1e-6)
    assert found.scores.numpy() == pytest.approx(expected.max(1), abs=1e-6)


def test_entropy_is_that_of_scipy():
    images = predictions()
    expected = -stats.entropy(images.probabilities.double().numpy(), axis=1)
    assert rank_images(images, "entropy").numpy() == pytest.approx(expected, abs=1e-5)
    certain = ImageScores(torch.zeros(1), torch.zeros(1, dtype=torch.long), torch.tensor([[1.0, 0.0]]))
    assert rank_images(certain, "entropy").tolist() == [0.0]


def test_margin_is_that_of_a_loop():
    images = predictions()
    ordered = [sorted(row, reverse=True) for row in images.probabilities.tolist()]
    assert rank_images(images, "margin").tolist() == pytest.approx([row[0] - row[1] for row in ordered], abs=1e-6)


def flexmatch_slowly(images, tau=0.95):
    """Largest probability minus the flexible threshold of its class, step by step as the paper defines it."""
    confidence, labels = images.probabilities.amax(1).tolist(), images.labels.tolist()
    n, n_classes = images.probabilities.shape
    learnt = [0] * n_classes  # sigma, the learning effect
    for p, c in zip(confidence, labels, strict=True):
        learnt[c] += p > tau
    unused = n - sum(learnt)
    beta = [sigma / max(*learnt, unused) for sigma in learnt]  # normalised, with threshold warm-up
    mapped = [b / (2 - b) for b in beta]  # the convex mapping
    return [p - mapped[c] * tau for p, c in zip(confidence, labels, strict=True)]


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0, 30.0], ids=["nothing learnt", "little", "some", "most"])
def test_flexmatch_is_that_of_its_equations(scale):
    images = predictions(scale=scale)
    assert rank_images(images, "flexmatch").tolist() == pytest.approx(flexmatch_slowly(images), abs=1e-6)


def test_flexmatch_helps_the_class_that_is_learnt_slowly():
    probabilities = torch.tensor([[0.99, 0.01]] * 8 + [[0.03, 0.97]] * 2 + [[0.7, 0.3], [0.3, 0.7]])
    ranks = rank_images(ImageScores(torch.zeros(12), probabilities.argmax(1), probabilities), "flexmatch")
    assert ranks[11] > ranks[10]
    assert (ranks[:10] > 0).all(), "positive where FlexMatch would use the image"
    assert ranks[10] < 0


def test_given_scores_stay_and_random_ones_follow_the_seed():
    images, before = predictions(), torch.get_rng_state()
    for ranking in ("image_score", "mc_dropout"):
        assert torch.equal(rank_images(images, ranking), images.scores)
    drawn = rank_images(images, "random", seed=3)
    assert torch.equal(drawn, rank_images(images, "random", seed=3))
    assert not torch.equal(drawn, rank_images(images, "random", seed=4))
    assert stats.kstest(drawn.numpy(), "uniform").pvalue > 0.01
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("ranking", [name for name in RANKINGS if name != "random"])
def test_order_and_neighbours_do_not_matter(ranking):
    images, order = predictions(), torch.randperm(200, generator=torch.Generator().manual_seed(1))
    shuffled = ImageScores(images.scores[order], images.labels[order], images.probabilities[order])
    assert torch.equal(rank_images(shuffled, ranking), rank_images(images, ranking)[order])


@pytest.mark.parametrize("ranking", RANKINGS)
def test_an_empty_pool_has_no_ranks(ranking):
    none = ImageScores(torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.zeros(0, 0))
    assert rank_images(none, ranking).shape == (0,)


@pytest.mark.parametrize("ranking", RANKINGS)
def test_one_door_for_all(ranking):
    net, images = dropout_network()
    statistics = class_statistics(net, images, labels=torch.arange(9) % 3, n_classes=3)
    found = score_images(net, images, ranking, statistics=statistics, seed=5, batch_size=4)
    if ranking == "image_score":
        expected = image_scores(net, images, statistics).scores
    elif ranking == "mc_dropout":
        expected = dropout_scores(net, images, seed=5, batch_size=4).scores
    else:
        expected = rank_images(class_predictions(net, images), ranking, seed=5)
    assert found.scores.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert found.probabilities.sum(1).tolist() == pytest.approx([1.0] * 9, abs=1e-5)


def test_options_reach_the_image_score():
    net, images = dropout_network()
    statistics = class_statistics(net, images, labels=torch.arange(9) % 3, n_classes=3)
    found = score_images(net, images, statistics=statistics, overlap=False, norm="l2")
    assert torch.equal(found.scores, image_scores(net, images, statistics, overlap=False, norm="l2").scores)


def test_predictions_are_those_of_a_plain_pass():
    net, images = dropout_network()
    net.train()
    found = class_predictions(net, images, batch_size=2)
    assert net.training
    expected = net.eval()(images).softmax(1)
    assert torch.allclose(found.probabilities, expected, atol=1e-6)
    assert torch.equal(found.scores, found.probabilities.amax(1))
    assert torch.equal(found.labels, found.probabilities.argmax(1))


@torch.no_grad()
def dropout_slowly(net, images, passes, seed):
    """The network by hand: batch norm by its buffers, dropout drawn."""
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for _ in range(passes):
        x = net[2](F.batch_norm(net[0](images), net[1].running_mean, net[1].running_var, net[1].weight, net[1].bias))
        x = x * torch.empty(9, 4, 1, 1).bernoulli_(0.5, generator=generator) * 2
        x = net[6](net[5](x.flatten(1)))
        x = x * torch.empty(9, 16).bernoulli_(0.5, generator=generator) * 2
        drawn.append(net[8](x).softmax(1))
    mean = sum(drawn) / passes
    labels = mean.argmax(1)
    own = [[float(each[i, labels[i]]) for each in drawn] for i in range(9)]
    return [-np.std(values, ddof=1) for values in own], labels, mean


def test_dropout_scores_are_minus_the_deviation_over_passes():
    net, images = dropout_network()
    found = dropout_scores(net, images, passes=6, seed=11)
    scores, labels, mean = dropout_slowly(net, images, 6, 11)
    assert found.scores.tolist() == pytest.approx(scores, abs=1e-5)
    assert torch.equal(found.labels, labels)
    assert torch.allclose(found.probabilities, mean, atol=1e-5)


def test_dropout_alone_is_switched_on_and_no_trace_is_left():
    net, images = dropout_network()
    net.eval()[3].train()
    flags, rng = [module.training for module in net.modules()], torch.get_rng_state()
    seen = []
    handle = net.register_forward_hook(lambda module, *_: seen.append([each.training for each in module]))
    state = {name: value.clone() for name, value in net.state_dict().items()}
    first = dropout_scores(net, images, passes=3, seed=1)
    handle.remove()
    assert seen == [[isinstance(layer, nn.Dropout | nn.Dropout2d) for layer in net]] * 3
    assert [module.training for module in net.modules()] == flags
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    torch.rand(5)
    assert torch.equal(dropout_scores(net, images, passes=3, seed=1).scores, first.scores)
    assert not torch.equal(dropout_scores(net, images, passes=3, seed=2).scores, first.scores)


def test_more_dropout_is_more_uncertain():
    scores = [dropout_scores(*dropout_network(p), passes=30).scores.mean() for p in (0.05, 0.5)]
    assert scores[0] > scores[1]


@pytest.mark.parametrize("net", [nn.Linear(2, 3), nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.0))])
def test_a_network_without_dropout_is_refused(net):
    with pytest.raises(ValueError, match="`model` parameter of `dropout_scores` must be a network with dropout layers"):
        score_images(net, torch.rand(4, 2), "mc_dropout")


def test_bad_input_is_named():
    net, images = dropout_network()
    with pytest.raises(ValueError, match=r"`ranking` parameter of `rank_images` .* Did you mean 'margin'\?"):
        rank_images(predictions(), "margins")
    with pytest.raises(ValueError, match="`ranking` parameter of `score_images`"):
        score_images(net, images, "max")
    with pytest.raises(ValueError, match=r"`statistics` parameter .* see `class_statistics`\. Got None"):
        score_images(net, images)
    with pytest.raises(ValueError, match="`passes` parameter of `dropout_scores`"):
        dropout_scores(net, images, passes=1)
    with pytest.raises(ValueError, match="`batch_size` parameter of `class_predictions`"):
        class_predictions(net, images, batch_size=0)
