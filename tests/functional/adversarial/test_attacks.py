import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lightning_interp.functional.adversarial.attacks import fgsm, pgd
from lightning_interp.functional.synthesis.pixels import PixelSpace
from lightning_interp.hooks import preserved_rng

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.5]
NORMALIZED = {"mean": MEAN, "std": STD}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(seed=0, dtype=torch.float64):
    with preserved_rng():
        net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Dropout(), nn.Flatten())
        net.append(nn.Linear(6 * 36, 5))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator(seed + parameter.numel()))
    return net.to(dtype)


@pytest.fixture
def images():
    return torch.rand(7, 3, 8, 8, generator=generator(), dtype=torch.float64)


LABELS = torch.arange(7) % 5


def delta_in_pixels(perturbed, images, options):
    space = PixelSpace.of(options.get("mean"), options.get("std"), channels=3)
    return (perturbed - images) / space.scale(images)


def slow_pgd(model, pixels, labels, start, *, epsilon, norm, steps, size, normalize=lambda x: x):
    """One image, one step at a time, with the cross-entropy of the papers."""
    model, found = model.eval(), []
    for pixel, label, delta in zip(pixels, labels, start, strict=True):
        for _ in range(steps):
            seen = (pixel + delta).clone().requires_grad_()
            cross_entropy(model(normalize(seen[None])), label[None]).backward()
            gradient = seen.grad
            if norm == "linf":
                delta = (delta + size * gradient.sign()).clamp(-epsilon, epsilon)
            else:
                delta = delta + size * gradient / gradient.norm()
                delta = delta * min(1.0, epsilon / float(delta.norm()))
            delta = (pixel + delta).clamp(0, 1) - pixel
        found.append(normalize((pixel + delta)[None])[0])
    return torch.stack(found)


@pytest.mark.parametrize("targeted", [False, True])
def test_fgsm_is_the_formula_of_the_paper(images, targeted):
    model, zero = network(), torch.zeros_like(images)
    size = -0.1 if targeted else 0.1
    expected = slow_pgd(model, images, LABELS, zero, epsilon=0.1, norm="linf", steps=1, size=size)
    assert torch.allclose(fgsm(model, images, LABELS, epsilon=0.1, targeted=targeted), expected, atol=1e-12)


@pytest.mark.parametrize("options", [{}, NORMALIZED])
@pytest.mark.parametrize(("norm", "epsilon", "size"), [("linf", 0.1, 0.03), ("l2", 0.8, 0.3)])
def test_pgd_equals_a_slow_loop(images, norm, epsilon, size, options):
    model, space = network(), PixelSpace.of(options.get("mean"), options.get("std"), channels=3)
    taken = {"epsilon": epsilon, "norm": norm, "steps": 6}
    found = pgd(model, space.to_network(images), LABELS, **taken, step_size=size, random_start=False, **options)
    expected = slow_pgd(model, images, LABELS, torch.zeros_like(images), **taken, size=size, normalize=space.to_network)
    assert torch.allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("options", [{}, NORMALIZED])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_stays_in_the_ball_and_in_the_box(images, norm, targeted, options):
    space = PixelSpace.of(options.get("mean"), options.get("std"), channels=3)
    clean, epsilon = space.to_network(images), 0.3 if norm == "linf" else 1.5
    steps = {"steps": 4, "step_size": epsilon}  # too large a step
    found = pgd(network(), clean, LABELS, epsilon=epsilon, norm=norm, targeted=targeted, **steps, **options)
    low, high = space.bounds(clean)
    assert bool(((found >= low) & (found <= high)).all())
    delta = delta_in_pixels(found, clean, options).flatten(1)
    size = delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)
    assert bool((size <= epsilon * (1 + 1e-12)).all())
    assert bool((size > 0.5 * epsilon).all()), "the ball is used"


def test_the_best_perturbation_of_a_linear_network_is_known():
    """Two classes, margin w x + b: within the ball it falls by epsilon times the dual norm of w."""
    weight = torch.randn(48, generator=generator(), dtype=torch.float64)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 2, bias=False)).double().requires_grad_(False)
    net[1].weight.data.copy_(torch.stack([weight, torch.zeros(48)]))
    images, labels = torch.full((1, 3, 4, 4), 0.5, dtype=torch.float64), torch.tensor([0])

    def fall(perturbed):
        return float((net(images) - net(perturbed))[0, 0])

    assert fall(fgsm(net, images, labels, epsilon=0.1)) == pytest.approx(0.1 * float(weight.abs().sum()))
    assert fall(pgd(net, images, labels, epsilon=0.1)) == pytest.approx(0.1 * float(weight.abs().sum()))
    # A random start leaves a part that is orthogonal to w, which the projections shrink but do not remove.
    straight = pgd(net, images, labels, epsilon=0.3, norm="l2", random_start=False)
    assert fall(straight) == pytest.approx(0.3 * float(weight.norm()))
    wandering = pgd(net, images, labels, epsilon=0.3, norm="l2", steps=100, step_size=0.1)
    assert fall(wandering) == pytest.approx(0.3 * float(weight.norm()), rel=1e-6)


def test_a_network_that_is_quite_sure_can_be_attacked_too():
    """In float32 its softmax is exactly 1, and the gradient of the cross-entropy exactly 0."""
    net, images = network(dtype=torch.float32).eval(), torch.rand(7, 3, 8, 8, generator=generator())
    net[-1].weight.data.mul_(1e4)
    labels = net(images).argmax(1)
    seen = images.clone().requires_grad_()
    cross_entropy(net(seen), labels).backward()
    assert not seen.grad.any()
    perturbed = fgsm(net, images, labels, epsilon=0.1)
    assert bool(((perturbed - images).abs().amax((1, 2, 3)) > 0.05).all())
    assert not torch.equal(net(perturbed).argmax(1), labels)


def test_attacks_fool_a_trained_network_and_steps_help(trained):
    net, images, labels = trained

    def accuracy(perturbed):
        return float((net(perturbed).argmax(1) == labels).float().mean())

    clean, one, ten = accuracy(images), accuracy(fgsm(net, images, labels)), accuracy(pgd(net, images, labels))
    assert clean > 0.5
    assert ten <= one < clean / 2
    target = (labels + 1) % 4
    reached = net(pgd(net, images, target, targeted=True, epsilon=16 / 255)).argmax(1) == target
    assert float(reached.float().mean()) > 0.9


def test_the_seed_decides_and_the_global_random_state_is_left_alone(images):
    state = torch.get_rng_state()
    one, again, other = (pgd(network(), images, LABELS, seed=seed, steps=1) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_frozen_models_and_contexts_without_gradients(images, context):
    model = network().train().requires_grad_(False)
    expected = pgd(network(), images, LABELS), fgsm(network(), images, LABELS)
    with context():
        found = pgd(model, images.clone(), LABELS), fgsm(model, images.clone(), LABELS)
    assert torch.equal(torch.stack(found), torch.stack(expected))
    assert model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model[1].num_batches_tracked


def test_no_epsilon_changes_nothing(images):
    for norm in ("linf", "l2"):
        assert torch.equal(pgd(network(), images, LABELS, epsilon=0, norm=norm), images)
    assert torch.equal(fgsm(network(), images, LABELS, epsilon=0.0), images)


def test_images_may_lie_a_rounding_error_outside_the_box(images):
    found = fgsm(network(), images * 1.0005, LABELS)
    assert float(found.max()) <= 1


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"labels": LABELS + 1}, ValueError, r"in \[0, 4\], the classes of the model. Got \[1, 5\]"),
        ({"labels": LABELS - 1}, ValueError, r"Got \[-1, 3\]"),
        ({"labels": LABELS[:3]}, ValueError, "one class for each of 7 images"),
        ({"labels": LABELS.float()}, ValueError, "one class for each of 7 images"),
        ({"epsilon": -0.1}, ValueError, r"`epsilon` parameter of `pgd` must be a number in \[0, inf\)"),
        ({"norm": "l1"}, ValueError, "one of 'linf', 'l2'"),
        ({"steps": 0}, ValueError, "`steps` parameter"),
        ({"step_size": "large"}, TypeError, "`step_size` parameter"),
        ({"seed": -1}, ValueError, "`seed` parameter"),
        ({"std": [1.0, 2.0]}, ValueError, "`std` parameter of `PixelSpace`"),
        ({"images": torch.full((7, 3, 8, 8), 1.5)}, ValueError, r"Got \[1.5, 1.5\]. Pass `mean` and `std`"),
        ({"images": torch.full((7, 3, 8, 8), torch.nan)}, ValueError, r"pixels in \[0, 1\]"),
        ({"images": torch.zeros(0, 3, 8, 8)}, ValueError, "at least one"),
        ({"images": torch.zeros(7, 3, 8)}, ValueError, r"of shape \(N, C, H, W\)"),
        ({"images": torch.zeros(7, 3, 8, 8, dtype=torch.uint8)}, TypeError, "of a floating type"),
        ({"model": nn.Sequential(nn.Conv2d(3, 2, 3)).double()}, ValueError, "class scores"),
    ],
)
def test_bad_input(options, error, match, images):
    arguments = {"model": network(), "images": images, "labels": LABELS, **options}
    with pytest.raises(error, match=match):
        pgd(**arguments)
