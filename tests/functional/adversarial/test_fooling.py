import pytest
import torch
from torch import nn

from lightning_interp.functional.adversarial.fooling import FoolingImages, fooling_images
from lightning_interp.functional.synthesis.regularizers import GaussianBlur, Jitter, TotalVariation

CLASSES = [0, 1, 2, 3]


def roughness(images):
    return float((images[..., 1:] - images[..., :-1]).abs().mean())


@pytest.fixture(scope="module")
def plain(trained):
    return fooling_images(trained[0], CLASSES, image_shape=(3, 32, 32))


def test_the_network_is_all_but_certain_of_noise(trained, plain):
    assert bool(plain.reached.all())
    with torch.no_grad():
        probabilities = trained[0](plain.images).double().softmax(1)
    assert torch.allclose(plain.confidences, probabilities.diag(), atol=1e-6)
    assert float(plain.confidences.min()) >= 0.9999
    assert bool(((plain.pixels >= 0) & (plain.pixels <= 1)).all())


def test_the_trace_says_after_how_many_steps(plain):
    threshold = torch.tensor(0.9999, dtype=torch.float64).logit()
    for i, steps in enumerate(plain.steps.tolist()):
        assert 0 < steps < 400
        assert plain.trace[steps, i] >= threshold
        assert bool((plain.trace[:steps, i] < threshold + 2e-3).all())


def test_regularisers_make_it_smoother_and_the_confidence_is_of_the_image_itself(trained, plain):
    regularizers = [TotalVariation(1.0), GaussianBlur(1.0, every=4), Jitter(2)]
    other = fooling_images(trained[0], CLASSES, image_shape=(3, 32, 32), regularizers=regularizers)
    assert roughness(other.images) < 0.6 * roughness(plain.images)
    with torch.no_grad():
        probabilities = trained[0](other.images).double().softmax(1).diag()
    assert torch.allclose(other.confidences, probabilities, atol=1e-5)
    assert float(other.confidences.min()) > 0.9


def test_what_is_out_of_reach_is_reported(trained):
    found = fooling_images(trained[0], [1, 1], image_shape=(3, 32, 32), steps=1, lr=1e-4)
    assert found.classes == (1, 1)
    assert not found.reached.any()
    assert found.steps.tolist() == [-1, -1]
    assert bool((found.confidences < 0.9999).all())
    assert not torch.equal(found.images[0], found.images[1]), "each has a start of its own"


def test_other_parameters_normalisation_and_seeds(trained):
    options = {"mean": [0.5] * 3, "std": [0.25] * 3, "image_shape": (3, 32, 32), "steps": 30, "lr": 0.1}
    net = nn.Sequential(nn.BatchNorm2d(3, affine=False), trained[0]).eval()
    found = [fooling_images(net, [2], parameters="fourier", seed=seed, **options) for seed in (0, 0, 1)]
    assert torch.equal(found[0].images, found[1].images)
    assert not torch.equal(found[0].images, found[2].images)
    assert torch.allclose(found[0].pixels, found[0].images * 0.25 + 0.5, atol=1e-6)


def test_a_table_and_a_file(plain, tmp_path):
    table = plain.to_dataframe()
    assert table["class"].tolist() == CLASSES
    assert table["reached"].all()
    plain.save(tmp_path / "fooling.safetensors")
    read = FoolingImages.load(tmp_path / "fooling.safetensors")
    assert read.to_dataframe().equals(table)
    assert torch.equal(read.pixels, plain.pixels)
    assert torch.equal(read.trace, plain.trace)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"classes": []}, ValueError, "`classes` parameter of `fooling_images` must be at least one class"),
        ({"classes": [4]}, ValueError, r"an int in \[0, 3\]. Got 4"),
        ({"confidence": 1}, ValueError, "above 0 and below 1"),
        ({"confidence": 99.99}, ValueError, "above 0 and below 1"),
        ({"steps": 0}, ValueError, "`steps` parameter"),
        ({"image_shape": (32, 32)}, ValueError, "`image_shape` parameter"),
    ],
)
def test_bad_input(options, error, match, trained):
    with pytest.raises(error, match=match):
        fooling_images(trained[0], **{"classes": [0], "image_shape": (3, 32, 32), **options})
