import pytest
import torch
from torch import Generator, nn

from lightning_interp.exceptions import ConvergenceWarning
from lightning_interp.functional.synthesis import (
    Decay,
    FourierImages,
    GeneratedImages,
    Jitter,
    L2Norm,
    Objective,
    PixelImages,
    PixelSpace,
    TotalVariation,
    ascend,
    channel,
    logit,
    unit,
)
from lightning_interp.models import SVHNCNN

LINEAR = nn.Sequential(nn.Flatten(), nn.Linear(12, 4, bias=False))


def zeros(n=1):
    return PixelImages(torch.zeros(n, 3, 2, 2))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return SVHNCNN(width=4)


def test_plain_ascent_is_the_update_of_the_survey():
    found = ascend(LINEAR, logit(2), zeros(), steps=5, lr=0.1, optimizer="sgd")
    weight = LINEAR[1].weight[2].detach()
    torch.testing.assert_close(found.images.flatten(), 5 * 0.1 * weight)
    torch.testing.assert_close(found.trace[:, 0], 0.1 * torch.arange(6.0) * weight.square().sum())
    torch.testing.assert_close(found.scores, found.trace[-1])
    assert found.stopped == "steps"


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.5), ("adam", 0.02), ("lbfgs", 1.0)])
def test_every_optimizer_finds_the_known_maximum(optimizer, lr):
    found = ascend(LINEAR, logit(1), zeros(), regularizers=[L2Norm(6.0)], steps=300, lr=lr, optimizer=optimizer)
    # maximum of w x - 6 mean(x^2) over 12 numbers: x = w
    torch.testing.assert_close(found.images.flatten(), LINEAR[1].weight[1].detach(), atol=1e-3, rtol=1e-2)


def test_one_objective_for_each_image_is_the_same_as_alone(net):
    start = torch.randn(3, 3, 16, 16, generator=Generator().manual_seed(1))
    objectives = [
        channel("features.3", 0),
        channel("features.3", 2) - 0.1 * unit("features.5", 1),
        unit("features.7", 3),
    ]
    together = ascend(net, objectives, PixelImages(start), steps=6)
    for i, objective in enumerate(objectives):
        alone = ascend(net, objective, PixelImages(start[i : i + 1]), steps=6)
        torch.testing.assert_close(together.images[i], alone.images[0], atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(together.trace[:, i], alone.trace[:, 0], atol=1e-4, rtol=1e-3)


def test_the_best_iterate_is_kept_not_the_last():
    found = ascend(LINEAR, logit(0), PixelImages(torch.ones(1, 3, 2, 2)), regularizers=[Decay(1.0)], steps=4)
    assert found.scores == found.trace.max()
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 1, bias=False))
    nn.init.ones_(net[1].weight)
    hill = Objective(("1",), lambda seen: -(seen["1"][:, 0] - 1).square(), "hill")
    found = ascend(net, hill, zeros(), steps=8, lr=0.5, optimizer="sgd")  # overshoots ever more
    assert found.scores == found.trace.max() == found.trace[0]
    assert torch.equal(found.images, torch.zeros(1, 3, 2, 2))


def test_penalties_count_for_what_is_best_and_are_no_part_of_the_trace():
    found = ascend(LINEAR, logit(0), zeros(), regularizers=[L2Norm(1e6)], steps=3, lr=0.1)
    assert torch.equal(found.images, torch.zeros(1, 3, 2, 2))
    assert found.trace.max() > 0


def test_regularisers_combine(net):
    options = {"regularizers": [Jitter(1), TotalVariation(50.0), Decay(0.01)], "steps": 20}
    start = 0.1 * torch.randn(1, 3, 16, 16, generator=Generator().manual_seed(0))
    smooth = ascend(net, channel("features.3", 1), PixelImages(start), **options)
    rough = ascend(net, channel("features.3", 1), PixelImages(start), steps=20)
    roughness = [TotalVariation(1.0).penalty(found.images) for found in (smooth, rough)]
    assert roughness[0] < 0.5 * roughness[1]


def test_a_dead_unit_is_woken():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 1), nn.ReLU())
    nn.init.constant_(net[0].bias, -3.0)
    nn.init.constant_(net[2].weight, 1.0)
    nn.init.constant_(net[2].bias, 0.0)
    found = ascend(net, channel("3", 0), PixelImages(torch.zeros(2, 1, 6, 6)), steps=80, lr=0.2)
    assert (found.trace[0] == 0).all()
    assert (found.scores > 0).all()


def test_images_stop_one_by_one_at_the_threshold():
    found = ascend(LINEAR, [logit(0), logit(1)], zeros(2), steps=500, lr=0.01, optimizer="sgd", threshold=0.2)
    assert found.stopped == "threshold"
    assert len(found.trace) < 500
    assert (found.scores >= 0.2).all()
    crossed = (found.trace >= 0.2).float().argmax(0)
    assert torch.equal(found.scores, found.trace[crossed, torch.arange(2)])  # as soon as it is there
    assert ascend(LINEAR, logit(0), zeros(), steps=2, threshold=1e6).stopped == "steps"


def test_ctrl_c_keeps_the_images():
    class Pressed(nn.Module):
        calls = 0

        def forward(self, x):
            Pressed.calls += 1
            if Pressed.calls == 4:
                raise KeyboardInterrupt
            return x

    net = nn.Sequential(Pressed(), *LINEAR)
    found = ascend(net, logit(0), zeros(), steps=100)
    assert found.stopped == "interrupted"
    assert len(found.trace) == 3
    assert found.scores == found.trace[-1] > found.trace[0]
    Pressed.calls = 3
    with pytest.raises(KeyboardInterrupt):
        ascend(net, logit(0), zeros())


def test_what_is_not_finite():
    broken = Objective(("1",), lambda seen: (0.5 - seen["1"][:, 0]).log(), "log")
    start = PixelImages(-LINEAR[1].weight[0].detach().view(1, 3, 2, 2))
    flipped = -1.0 * broken
    with pytest.warns(
        ConvergenceWarning, match=r"not finite after \d+ steps: the best images .* Lower `lr` \(it is 1\)"
    ):
        found = ascend(LINEAR, flipped, start, steps=50, lr=1.0)
    assert found.stopped == "not finite"
    assert found.images.isfinite().all()
    assert found.scores.isfinite().all()
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    nn.init.constant_(net[1].weight, float("nan"))
    with pytest.raises(
        ValueError, match=r"`objectives` parameter of `ascend` must be finite .* 'class 1' is not on image 0. Got nan"
    ):
        ascend(net, logit(1), zeros())


def test_everything_is_left_as_it_was(net):
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    with torch.no_grad():
        ascend(net, logit(1), FourierImages((1, 3, 32, 32)), regularizers=[Jitter()], steps=2)
        seen = torch.get_rng_state()
    assert net.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    first = FourierImages((1, 3, 32, 32), generator=Generator().manual_seed(0))
    assert first.values.requires_grad
    assert state.shape == seen.shape


def test_a_generator_is_frozen_and_its_code_is_what_moves(net):
    generator = nn.Sequential(nn.Linear(5, 3 * 32 * 32), nn.Unflatten(1, (3, 32, 32)), nn.Dropout(0.9))
    parameters = GeneratedImages(generator, torch.zeros(2, 5), l2=0.0)
    found = ascend(net, [logit(0), logit(1)], parameters, steps=10)
    assert generator.training
    assert generator[0].weight.grad is None
    assert (found.scores > found.trace[0]).all()
    torch.testing.assert_close(generator.eval()(parameters.values)[0].shape, found.images[0].shape)
    heavy = GeneratedImages(generator, torch.zeros(2, 5), l2=1e4)
    ascend(net, logit(0), heavy, steps=10)
    assert heavy.values.norm() < 0.2 * parameters.values.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_networks_of_other_precision(net, dtype):
    found = ascend(net.to(dtype), logit(0), PixelImages(torch.zeros(1, 3, 32, 32)), steps=4)
    assert found.images.dtype == torch.float32
    assert found.scores.dtype == torch.float32
    assert found.scores > found.trace[0]


def test_frozen_networks_and_inference_mode(net):
    net.requires_grad_(False)
    with torch.inference_mode():
        start = torch.zeros(1, 3, 32, 32)
        found = ascend(net, logit(0), PixelImages.noise(start.shape, space=PixelSpace()), steps=3)
    assert found.scores > found.trace[0]


def test_a_network_that_detaches_is_told():
    class Detaches(nn.Module):
        def forward(self, x):
            return x.detach().flatten(1)

    with pytest.raises(ValueError, match="No gradient flows from the objective to the images"):
        ascend(Detaches(), logit(0), zeros())


def test_bad_arguments(net):
    with pytest.raises(TypeError, match="objectives, such as channel"):
        ascend(net, ["features.3"], zeros())
    with pytest.raises(TypeError, match="image parameters, such as PixelImages"):
        ascend(net, logit(0), torch.zeros(1, 3, 32, 32))
    with pytest.raises(TypeError, match="regularizers, such as TotalVariation"):
        ascend(net, logit(0), zeros(), regularizers=["tv"])
    with pytest.raises(ValueError, match=r"one for all images or one for each of 3. Got '2 objectives'"):
        ascend(net, [logit(0), logit(1)], zeros(3))
    with pytest.raises(ValueError, match=r"parameters='pixel'\). Got Decay"):
        ascend(net, logit(0), FourierImages((1, 3, 32, 32)), regularizers=[Decay()])
    with pytest.raises(ValueError, match="`optimizer` parameter"):
        ascend(net, logit(0), zeros(), optimizer="newton")
    with pytest.raises(ValueError, match="matches a layer"):
        ascend(net, channel("nowhere", 0), zeros())
