import pickle

import pytest
import torch
from torch.nn.functional import log_softmax

from lightning_interp.functional.synthesis import (
    channel,
    direction,
    feature_match,
    gram_match,
    log_odds,
    logit,
    unit,
)
from lightning_interp.hooks import OUTPUT

MAPS = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
SEEN = {"conv": MAPS, "fc": MAPS[:, :, 0, 0], OUTPUT: torch.tensor([[1.0, 2.0, -1.0], [0.0, 5.0, 3.0]])}


def test_units_and_channels_by_hand():
    assert torch.equal(unit("conv", 1)(SEEN), MAPS[:, 1, 2, 2])
    assert torch.equal(unit("conv", 1, position=(3, 0))(SEEN), MAPS[:, 1, 3, 0])
    assert torch.equal(unit("conv", 2, position="max")(SEEN), MAPS[:, 2, 3, 4])
    assert torch.equal(unit("fc", 2)(SEEN), SEEN["fc"][:, 2])
    assert torch.equal(channel("conv", 0)(SEEN), MAPS[:, 0].mean((1, 2)))
    assert torch.equal(logit(1)(SEEN), torch.tensor([2.0, 5.0]))


def test_log_odds_are_those_of_the_softmax():
    p = SEEN[OUTPUT].double().softmax(1)[:, 1]
    torch.testing.assert_close(log_odds(1)(SEEN).double(), (p / (1 - p)).log())
    assert log_softmax(SEEN[OUTPUT], 1).shape == (2, 3)


def test_they_add_and_scale():
    mixed = 2 * channel("conv", 0) - unit("fc", 1) * 0.5 + -logit(0)
    expected = 2 * MAPS[:, 0].mean((1, 2)) - 0.5 * SEEN["fc"][:, 1] - SEEN[OUTPUT][:, 0]
    torch.testing.assert_close(mixed(SEEN), expected)
    assert mixed.layers == ("conv", "fc", OUTPUT)
    assert mixed.name == "2 * conv:0 - 0.5 * fc:1 + -1 * class 0"
    assert (3 * (logit(0) + logit(1))).name == "3 * (class 0 + class 1)"


def test_direction_is_the_mean_of_powers_of_cosines():
    vector = torch.tensor([1.0, -2.0, 0.5])
    slow = torch.zeros(2)
    for n in range(2):
        for i in range(4):
            for j in range(5):
                a = MAPS[n, :, i, j]
                cosine = a @ vector / (a.norm() * vector.norm()).clamp(min=1e-8)
                slow[n] += cosine.sign() * cosine.abs() ** 2 / 20
    torch.testing.assert_close(direction("conv", vector)(SEEN), slow, atol=1e-6, rtol=1e-5)
    along = {"conv": vector[None, :, None, None].expand(1, 3, 2, 2)}
    torch.testing.assert_close(direction("conv", 7 * vector, power=3)(along), torch.ones(1))
    torch.testing.assert_close(direction("conv", -vector)(along), -torch.ones(1))
    assert direction("fc", torch.tensor([1.0, 0.0, 0.0]))(SEEN).shape == (2,)


def test_matches_are_zero_at_the_target_and_one_at_zero():
    assert feature_match("conv", MAPS)(SEEN).tolist() == [0.0, 0.0]
    assert feature_match("conv", MAPS)({"conv": torch.zeros_like(MAPS)}).tolist() == [-1.0, -1.0]
    assert feature_match("conv", MAPS[:1])(SEEN)[0] == 0


def test_gram_does_not_see_where_and_does_not_depend_on_size():
    shuffled = MAPS.flatten(2)[:, :, torch.randperm(20, generator=torch.Generator().manual_seed(0))].view(2, 3, 5, 4)
    torch.testing.assert_close(gram_match("conv", shuffled)(SEEN), torch.zeros(2), atol=1e-9, rtol=0)
    torch.testing.assert_close(gram_match("conv", MAPS.tile(1, 1, 2, 3))(SEEN), torch.zeros(2), atol=1e-9, rtol=0)
    assert bool((gram_match("conv", MAPS.flip(1))(SEEN) < -1e-3).all())


@pytest.mark.parametrize(
    ("objective", "error", "says"),
    [
        (unit("conv", 3), ValueError, r"int in \[0, 2\]. Got 3. Layer 'conv' has 3 units"),
        (channel("conv", -1), ValueError, "Got -1"),
        (channel("conv", 1.0), TypeError, "Got 1.0"),
        (logit(5), ValueError, "Layer '<output>' has 3 units"),
        (unit("conv", 0, position=(4, 0)), ValueError, r"a place in the map of layer 'conv', which is \(4, 5\)"),
        (unit("conv", 0, position="middle"), ValueError, "'center', 'max'"),
        (direction("conv", torch.ones(4)), ValueError, "of length 3, the units of layer 'conv'"),
        (feature_match("conv", MAPS[:, :2]), ValueError, "as the activations of layer 'conv'"),
    ],
)
def test_bad_places(objective, error, says):
    with pytest.raises(error, match=says):
        objective(SEEN)


def test_they_can_be_pickled():
    everything = 2 * unit("conv", 1) - channel("fc", 0) + log_odds(1) + direction("conv", torch.ones(3))
    everything = everything + feature_match("conv", MAPS[:1]) + gram_match("conv", MAPS[:1])
    again = pickle.loads(pickle.dumps(everything))
    assert again.name == everything.name
    assert torch.equal(again(SEEN), everything(SEEN))


def test_bad_vectors_and_targets():
    for vector in (torch.zeros(3), torch.ones(3, 1), torch.tensor([1.0, float("nan")])):
        with pytest.raises(ValueError, match="one finite vector that is not zero"):
            direction("conv", vector)
    with pytest.raises(ValueError, match="a layer with maps"):
        gram_match("fc", SEEN["fc"])
    with pytest.raises(ValueError, match="a layer with outputs"):
        unit("flat", 0)({"flat": torch.ones(3)})
