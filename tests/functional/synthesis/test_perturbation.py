import math

import pytest
import torch
from torch import nn

from lightning_interp.functional.synthesis.perturbation import (
    PerturbationErrors,
    perturb_features,
    perturbation_errors,
)
from lightning_interp.hooks import OUTPUT

KINDS = ("none", "binarize", "dropout", "drop_least")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def norms(features):
    return features.flatten(1).double().norm(dim=1)


@pytest.fixture
def features():
    """Of a ReLU layer: many zeros, images of very different strength, one of them silent."""
    features = torch.randn(5, 6, 4, 3, generator=generator()).clamp(min=-0.5)
    features[features.abs() < 0.3] = 0.0
    return features * torch.tensor([1.0, 1e-3, 0.0, 50.0, 7.0]).view(-1, 1, 1, 1)


def by_hand(values, kind, least):
    """One image as a list of numbers, from the definitions of the survey."""
    n_dropped = round(0.5 * len(values))
    if kind == "binarize":
        changed = [math.copysign(1.0, v) if v else 0.0 for v in values]
    else:
        dropped = sorted(range(len(values)), key=lambda i: least[i])[:n_dropped]
        changed = [0.0 if i in dropped else v for i, v in enumerate(values)]
    length, was = (math.sqrt(sum(v * v for v in each)) for each in (changed, values))
    return [v * was / length if length else 0.0 for v in changed]


@pytest.mark.parametrize("kind", ["binarize", "drop_least"])
def test_it_equals_a_loop_over_images_and_values(features, kind):
    changed = perturb_features(features, kind)
    for one, was in zip(changed.flatten(1).tolist(), features.flatten(1).tolist(), strict=True):
        assert one == pytest.approx(by_hand(was, kind, [abs(v) for v in was]), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_norms_signs_shapes_and_silence_are_kept(features, kind, dtype):
    before = features.to(dtype)
    changed = perturb_features(before, kind)
    assert (changed.dtype, changed.shape) == (dtype, before.shape)
    torch.testing.assert_close(norms(changed), norms(before), rtol=5e-3, atol=1e-6)
    assert bool((changed * before >= 0).all()), "a sign has turned"
    assert bool((changed[before == 0] == 0).all()), "a silent unit speaks"
    assert bool((changed[2] == 0).all())
    assert torch.equal(before, features.to(dtype)), "the argument was changed"


def test_binarized_features_have_one_magnitude_per_image(features):
    changed = perturb_features(features, "binarize")
    for one, was in zip(changed, features, strict=True):
        assert torch.equal(one.sign(), was.sign())
        assert len(one[one != 0].abs().unique()) <= 1


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("kind", ["dropout", "drop_least"])
def test_the_share_counts(kind, share):
    dense = torch.rand(4, 10, 3, generator=generator()) + 0.1
    changed = perturb_features(dense, kind, share=share)
    assert (changed == 0).flatten(1).sum(1).tolist() == [round(share * 30)] * 4
    if kind == "drop_least" and 0 < share < 1:
        for one, was in zip(changed, dense, strict=True):
            assert was[one == 0].max() <= was[one != 0].min()
    torch.testing.assert_close(norms(changed), norms(dense) * (share < 1), rtol=1e-5, atol=0)


def test_importance_decides_what_is_dropped():
    features = torch.tensor([[1.0, -2.0, 3.0, -4.0], [1.0, -2.0, 3.0, -4.0]])
    importance = torch.tensor([[9.0, 8.0, 1.0, 2.0], [-1.0, 5.0, 5.0, -2.0]])
    changed = perturb_features(features, "drop_least", importance=importance)
    assert (changed != 0).tolist() == [[True, True, False, False], [False, True, True, False]]


def test_images_do_not_see_each_other(features):
    for kind in ("none", "binarize", "drop_least"):
        alone = torch.cat([perturb_features(one[None], kind) for one in features])
        assert torch.equal(alone, perturb_features(features, kind))


def test_dropout_draws_from_its_generator_only():
    dense, state = torch.rand(3, 50, generator=generator()) + 1, torch.get_rng_state()
    one, same, other = (perturb_features(dense, "dropout", generator=generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one[0] == 0, one[1] == 0), "all images lose the same values"
    assert torch.equal(perturb_features(dense, "dropout"), perturb_features(dense, "dropout"))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"kind": "binarise"}, ValueError, "`kind` parameter of `perturb_features`.* Did you mean 'binarize'"),
        ({"share": 1.5}, ValueError, r"`share` .* must be a number in \[0, 1\]. Got 1.5"),
        ({"features": torch.tensor([[1.0, math.nan]])}, ValueError, "without NaN or inf"),
        ({"features": torch.tensor([[1.0, math.inf]])}, ValueError, "without NaN or inf"),
        ({"features": torch.ones(4)}, ValueError, r"a batch \(N, ...\)"),
        ({"features": torch.ones(4, 2).long()}, TypeError, "of a floating type. Got torch.int64"),
        ({"importance": torch.ones(2, 3)}, ValueError, "None unless kind is 'drop_least'"),
        ({"kind": "drop_least", "importance": torch.ones(2, 4)}, ValueError, r"shape of the features, \(2, 3\)"),
        ({"kind": "drop_least", "importance": torch.full((2, 3), math.nan)}, ValueError, "without NaN"),
    ],
)
def test_bad_features(options, error, match):
    with pytest.raises(error, match=match):
        perturb_features(**{"features": torch.ones(2, 3), "kind": "none", **options})


class Sign(nn.Module):
    """The side of zero a pixel is on."""

    def forward(self, x):
        return x.sign()


@pytest.fixture
def planted():
    """Two layers that are undone exactly: a rotation, and the signs of images that are signs."""
    torch.manual_seed(0)
    rotation = nn.Conv2d(3, 3, 1, bias=False)
    nn.init.orthogonal_(rotation.weight)
    back = rotation.weight.data[:, :, 0, 0].T
    model = nn.Sequential(Sign(), rotation, nn.Dropout(), nn.Conv2d(3, 2, 5))
    decoders = {"1": lambda x: torch.einsum("dc,nchw->ndhw", back, x), "0": nn.Identity()}
    images = torch.randn(7, 3, 6, 5, generator=generator()).sign()
    return model, decoders, images


def test_a_code_of_signs_needs_nothing_but_signs(planted):
    found = perturbation_errors(*planted)
    assert (found.layers, found.kinds, found.errors.shape) == (("1", "0"), KINDS, (2, 4, 7))
    errors = dict(zip(KINDS, found.errors[1], strict=True))
    assert errors["none"].max() < 1e-6
    assert errors["binarize"].max() < 1e-6
    assert errors["dropout"].min() > 0.3
    assert found.errors[0, 0].max() < 1e-6
    assert found.errors[0, 1].min() > 0.1, "a rotated code is no code of signs"


def test_errors_equal_a_loop_over_images(planted):
    model, decoders, images = planted
    images = images * torch.rand(7, 1, 1, 1, generator=generator())
    found = perturbation_errors(model, decoders, images, kinds=["binarize", "drop_least"])
    pairs = [(images[j] - images[k]).norm().item() for j in range(7) for k in range(j)]
    unit = sum(pairs) / len(pairs)
    for i, image in enumerate(images):
        for k, kind in enumerate(found.kinds):
            features = perturb_features(image.sign()[None], kind)
            expected = (image - features[0]).norm().item() / unit
            assert found.errors[1, k, i].item() == pytest.approx(expected, rel=1e-5)
        assert found.baseline[i].item() == pytest.approx((image - images.mean(0)).norm().item() / unit, rel=1e-5)


def test_batches_other_layers_and_kinds_do_not_matter(planted):
    model, decoders, images = planted
    whole = perturbation_errors(model, decoders, images, seed=3)
    parts = perturbation_errors(model, decoders, images, seed=3, batch_size=2)
    torch.testing.assert_close(parts.errors, whole.errors)
    alone = perturbation_errors(model, {"0": decoders["0"]}, images, seed=3, kinds=["dropout"])
    torch.testing.assert_close(alone.errors[0, 0], whole.errors[1, 2])
    other = perturbation_errors(model, decoders, images, seed=4)
    assert not torch.equal(other.errors[:, 2], whole.errors[:, 2])
    assert torch.equal(other.errors[:, [0, 1, 3]], whole.errors[:, [0, 1, 3]])


def test_networks_are_left_as_they_were():
    model = nn.Sequential(nn.ReLU(inplace=True), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(8, 4)).train()
    decoder = nn.Sequential(nn.Dropout(), nn.Linear(4, 8), nn.Unflatten(1, (2, 2, 2))).train()
    images, state = torch.randn(6, 2, 2, 2, generator=generator()), torch.get_rng_state()
    before = images.clone()
    one, again = (perturbation_errors(model, {OUTPUT: decoder}, images) for _ in range(2))
    assert torch.equal(one.errors, again.errors), "dropout was active"
    assert torch.equal(images, before)
    assert all(module.training for net in (model, decoder) for module in net.modules())
    assert model[1].num_batches_tracked == 0
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("keep", [True, False])
def test_table_and_file(planted, keep, tmp_path):
    found = perturbation_errors(*planted, keep_reconstructions=keep, batch_size=3)
    table = found.to_dataframe()
    assert (table.index.tolist(), table.index.name, table.columns.tolist()) == (["1", "0"], "layer", list(KINDS))
    assert table.loc["0", "dropout"] == pytest.approx(float(found.errors[1, 2].mean()))
    found.save(tmp_path / "errors.safetensors")
    again = PerturbationErrors.load(tmp_path / "errors.safetensors")
    assert (again.layers, again.kinds) == (found.layers, found.kinds)
    assert torch.equal(again.errors, found.errors)
    assert torch.equal(again.baseline, found.baseline)
    if keep:
        torch.testing.assert_close(found.reconstructions[1, 0], planted[2])
        assert torch.equal(again.reconstructions, found.reconstructions)
    else:
        assert again.reconstructions is None


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"kinds": ["nothing"]}, "`kinds` parameter of `perturbation_errors` must be one of 'none'"),
        ({"kinds": []}, "`kinds` parameter of `perturbation_errors` must be at least one"),
        ({"decoders": {}}, "`decoders` parameter of `perturbation_errors` must be at least one"),
        ({"decoders": {"conv": nn.Identity()}}, "matches a layer"),
        (
            {"decoders": {"3": nn.Identity()}},
            r"functions to images \(7, 3, 6, 5\); this is what that of layer '3' gives",
        ),
        ({"images": torch.ones(3, 3, 6, 5)}, "two or more images that differ"),
        ({"images": torch.rand(1, 3, 6, 5)}, "two or more images that differ"),
        ({"images": torch.full((2, 3, 6, 5), math.nan)}, "without NaN or inf"),
        ({"batch_size": 0}, "`batch_size` parameter"),
        ({"seed": -1}, "`seed` parameter"),
        ({"share": 2.0}, "`share` parameter"),
    ],
)
def test_bad_questions(planted, options, match):
    arguments = dict(zip(("model", "decoders", "images"), planted, strict=True))
    with pytest.raises(ValueError, match=match):
        perturbation_errors(**{**arguments, **options})
