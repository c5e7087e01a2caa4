import pytest
import torch
from scipy import stats
from torch.nn.functional import cross_entropy

from lightning_interp.functional.generalization import gradient_weight_alignment


def loop(features, labels, weight):
    """Cosine between the negative gradient of each image and the weights, by autograd."""
    cosines = []
    for z, y in zip(features, labels, strict=True):
        w = weight.clone().requires_grad_()
        cross_entropy((w @ z)[None], y[None]).backward()
        cosines.append(float(torch.cosine_similarity(-w.grad.flatten(), weight.flatten(), dim=0)))
    return cosines


def test_alignment_equals_autograd_and_scipy(head_problem):
    features, scores, labels, weight = head_problem
    cosines = loop(features, labels, weight)
    got = gradient_weight_alignment(features, scores, labels, weight)
    mean, kurtosis = sum(cosines) / 40, stats.kurtosis(cosines)
    assert got.mean == pytest.approx(mean)
    assert got.kurtosis == pytest.approx(kurtosis)
    assert got.value == pytest.approx(mean / (kurtosis + 1.2))
    assert gradient_weight_alignment(features, scores, labels, weight, beta=5.0).value == pytest.approx(
        mean / (kurtosis + 5)
    )


def heads(n_flipped):
    """A head that knows the true class of every image, ``n_flipped`` of which are labelled otherwise."""
    true = torch.arange(60) % 3
    features = torch.eye(3)[true] + 0.05 * torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.where(torch.arange(60) < n_flipped, (true + 1) % 3, true)
    return features, 4 * features, labels, 4 * torch.eye(3)


def test_clean_images_pull_where_the_head_points_and_mislabelled_ones_elsewhere():
    features, scores, labels, weight = heads(20)
    clean = gradient_weight_alignment(features[20:], scores[20:], labels[20:], weight)
    flipped = gradient_weight_alignment(features[:20], scores[:20], labels[:20], weight)
    assert flipped.mean < -0.3 < 0.3 < clean.mean


def test_two_groups_turn_the_sign_of_the_value_but_not_of_the_mean():
    few, many = (gradient_weight_alignment(*heads(n)) for n in (3, 24))
    assert few.mean > many.mean > 0
    assert few.value > 0 > many.value
    assert many.kurtosis < -1.2


@pytest.mark.parametrize("scale", [0.1, 50.0])
def test_it_is_a_cosine(head_problem, scale):
    features, scores, labels, weight = head_problem
    plain = gradient_weight_alignment(features, scores, labels, weight)
    for scaled in (
        gradient_weight_alignment(scale * features, scores, labels, weight),
        gradient_weight_alignment(features, scores, labels, scale * weight),
    ):
        assert (scaled.mean, scaled.kurtosis) == pytest.approx((plain.mean, plain.kurtosis), rel=1e-6)


def test_the_order_of_the_images_does_not_matter(head_problem):
    features, scores, labels, weight = head_problem
    turned = gradient_weight_alignment(features.flip(0), scores.flip(0), labels.flip(0), weight)
    assert turned.value == pytest.approx(gradient_weight_alignment(*head_problem).value)


def test_a_head_of_zeros_aligns_with_nothing(head_problem):
    features, _, labels, weight = head_problem
    assert gradient_weight_alignment(features, torch.zeros(40, 4), labels, torch.zeros_like(weight)).mean == 0


def test_half_precision_is_measured_in_double(head_problem):
    features, scores, labels, weight = head_problem
    low = gradient_weight_alignment(features.bfloat16(), scores.bfloat16(), labels, weight.bfloat16())
    assert low.mean == pytest.approx(gradient_weight_alignment(*head_problem).mean, abs=0.01)
