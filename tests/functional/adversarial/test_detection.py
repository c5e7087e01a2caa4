import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from lightning_interp.functional.adversarial.attacks import pgd
from lightning_interp.functional.adversarial.comparison import equal_noise
from lightning_interp.functional.adversarial.detection import Detection, detection_auc, detection_scores
from lightning_interp.hooks import capture


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.rand(7, 3, 8, 8, generator=generator())


def network():
    return nn.Sequential(
        *[nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3), nn.ReLU(inplace=True)],
        *[nn.Flatten(), nn.Linear(96, 5)],
    ).eval()


def slow_median(image):
    """2x2 windows that end at the pixel, the border repeated."""
    smoothed = torch.empty_like(image)
    for c in range(image.shape[0]):
        for i in range(image.shape[1]):
            for j in range(image.shape[2]):
                window = [image[c, max(i - a, 0), max(j - b, 0)] for a in (0, 1) for b in (0, 1)]
                smoothed[c, i, j] = sum(sorted(window)[1:3]) / 2
    return smoothed


def slow_scores(model, images, smoothed, layers, softmax):
    scores = []
    for image, smooth in zip(images, smoothed, strict=True):
        with torch.no_grad(), capture(model, layers or nn.Module) as seen:
            one, before = model(image[None])[0].softmax(0), dict(seen)
            other, after = model(smooth[None])[0].softmax(0), dict(seen)
        changes = [(after[name] - before[name]).norm() / before[name].norm() for name in layers]
        score = sum(changes) / len(changes) if layers else torch.tensor(0.0)
        scores.append(score + (one - other).abs().sum() / 2 * softmax)
    return torch.stack(scores)


@pytest.mark.parametrize(("layers", "softmax"), [(["1", "3"], True), (["3"], False), (None, True)])
def test_it_equals_a_slow_loop_at_any_batch_size(images, layers, softmax):
    model, smoothed = network(), torch.stack([slow_median(image) for image in images])
    found = detection_scores(model, images, layers=layers, softmax=softmax, batch_size=3)
    assert torch.allclose(found, slow_scores(model, images, smoothed, layers or [], softmax), atol=1e-5)


def test_blur_is_that_of_scipy_and_functions_are_taken(images):
    model = network()
    kernel = {"sigma": (0, 0, 0.5, 0.5), "truncate": 4.0, "mode": "mirror"}
    blurred = torch.tensor(gaussian_filter(images.double().numpy(), **kernel)).float()
    assert torch.allclose(
        detection_scores(model, images, squeeze="blur"),
        detection_scores(model, images, squeeze=lambda _: blurred),
        atol=1e-3,
    )
    assert not detection_scores(model, images, squeeze=lambda batch: batch).any()


def test_the_defaults_are_the_last_block_and_the_softmax(images):
    model = network()
    assert torch.equal(detection_scores(model, images), detection_scores(model, images, layers="3"))


def test_silent_layers_are_no_reason_for_nan(images):
    model = network()
    model[2].bias.data.fill_(-99.0)
    assert torch.equal(detection_scores(model, images), torch.zeros(7))


def test_attacks_are_noticed_and_noise_of_equal_length_is_not(trained):
    """Measured: about 0.9 for the attack; a threshold well below leaves room for other machines."""
    net, images, labels = trained
    perturbed = pgd(net, images, labels, epsilon=4 / 255)
    noisy = images + equal_noise(perturbed - images, generator())
    clean, attacked, by_noise = (detection_scores(net, each) for each in (images, perturbed, noisy))
    assert detection_auc(clean, attacked).auc > 0.75
    assert 0.4 < detection_auc(clean, by_noise).auc < 0.65
    assert detection_auc(by_noise, attacked).auc > 0.75, "it is the attack that is noticed, not its length"


def test_the_area_counts_pairs_and_ties_half():
    clean = torch.randint(0, 8, (50,), generator=generator()).float()
    attacked = torch.randint(2, 10, (70,), generator=generator(1)).float()
    pairs = [(a > c) + 0.5 * (a == c) for a in attacked.tolist() for c in clean.tolist()]
    found = detection_auc(clean, attacked)
    assert found.auc == pytest.approx(sum(pairs) / len(pairs))
    for fpr, tpr, threshold in zip(found.fpr, found.tpr, found.thresholds, strict=True):
        assert float(fpr) == pytest.approx(float((clean >= threshold).double().mean()))
        assert float(tpr) == pytest.approx(float((attacked >= threshold).double().mean()))


def test_the_share_found_at_few_false_alarms():
    found = detection_auc(torch.arange(20.0), torch.tensor([5.0, 18.0, 18.5, 19.5, 30.0]))
    assert found.found_at(0.0) == 0.4
    assert found.found_at(0.05) == 0.6  # one of twenty
    assert found.found_at(1.0) == 1.0
    assert detection_auc(torch.arange(20.0), torch.arange(20.0)).found_at(0.15) == pytest.approx(0.15)


def test_it_is_read_as_it_was_written(tmp_path):
    found = detection_auc(torch.rand(9, generator=generator()), torch.rand(7, generator=generator(1)))
    found.save(tmp_path / "detection.safetensors")
    read = Detection.load(tmp_path / "detection.safetensors")
    assert read.auc == found.auc
    assert read.to_dataframe().equals(found.to_dataframe())
    assert found.to_dataframe().iloc[-1, 1:].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"layers": None, "softmax": False}, ValueError, "`softmax` parameter of `detection_scores` must be True"),
        ({"squeeze": "mean"}, ValueError, "one of 'median', 'blur'"),
        ({"squeeze": lambda batch: batch[..., 1:]}, ValueError, "a function that keeps the shape"),
        ({"batch_size": 0}, ValueError, "`batch_size` parameter"),
        ({"images": torch.zeros(3, 8, 8)}, ValueError, r"of shape \(N, C, H, W\)"),
        ({"images": torch.zeros(0, 3, 8, 8)}, ValueError, "at least one"),
    ],
)
def test_bad_input(options, error, match, images):
    with pytest.raises(error, match=match):
        detection_scores(**{"model": network(), "images": images, **options})


@pytest.mark.parametrize("scores", [torch.zeros(0), torch.tensor([0.0, torch.nan]), torch.zeros(2, 2)])
def test_scores_that_make_no_curve(scores):
    with pytest.raises(ValueError, match="`adversarial_scores` parameter of `detection_auc`"):
        detection_auc(torch.zeros(3), scores)
