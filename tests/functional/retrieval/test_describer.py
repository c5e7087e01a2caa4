import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity

from lightning_interp.functional.retrieval import pooling
from lightning_interp.functional.retrieval.cam_rows import cam_rows
from lightning_interp.functional.retrieval.describer import Describer
from lightning_interp.functional.retrieval.nmf_rows import mixed, nmf_rows
from lightning_interp.functional.retrieval.whitening import Whitening
from tests.functional.retrieval.worlds import GREEN, RED, ColorNet, picture
from tests.reference.retrieval_descriptors import aggregated

METHODS = ["nmf_v", "nmf_vtu", "mac", "spoc", "gem", "crow", "rmac", "cam"]


def images(n=6, seed=0):
    return torch.rand(n, 3, 24, 32, generator=torch.Generator().manual_seed(seed))


def net():
    torch.manual_seed(0)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 12)]
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(inplace=True), *head)


def local(method, model, batch):
    """Local descriptors, straight from the functions that the methods are made of."""
    maps = model[:2](batch).detach()
    if method == "nmf_v":
        return nmf_rows(maps, 3)[0]
    if method == "nmf_vtu":
        return mixed(*nmf_rows(maps, 3))
    if method == "cam":
        return cam_rows(maps, model[-1].weight.detach())
    return getattr(pooling, method)(maps)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("white", [False, True])
def test_rows_are_aggregated_as_in_a_loop(method, white):
    model, batch = net(), images()
    describer = Describer(model, method, k=3)
    rows = [image.double().numpy() for image in local(method, model, batch)]
    mean = projection = None
    if white:
        unit = torch.nn.functional.normalize(local(method, model, images(40, seed=1)), dim=2).flatten(0, 1)
        describer.whitening = Whitening.fit([unit], dim=5)
        mean, projection = describer.whitening.mean.numpy(), describer.whitening.projection.numpy()
    found, missed = describer(batch)
    expected = [aggregated(image, mean, projection, again="nmf" not in method) for image in rows]
    assert np.allclose(found, np.stack(expected), atol=2e-4)
    assert torch.allclose(found.norm(dim=1), torch.ones(6))
    assert not missed.any()


@pytest.mark.parametrize("method", METHODS)
def test_a_descriptor_does_not_depend_on_the_batch(method):
    describer = Describer(net(), method)
    together, _ = describer(images())
    alone = torch.cat([describer(image[None])[0] for image in images()])
    turned, _ = describer(images().flip(0))
    assert torch.allclose(together, alone, atol=1e-4)
    assert torch.allclose(together, turned.flip(0), atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_the_network_is_left_as_it_was(method):
    model = net().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    Describer(model, method)(images())
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


def test_a_box_keeps_the_factors_inside():
    image = picture((RED, (0, 0, 16, 16)), (GREEN, (28, 12, 48, 32)))
    describer = Describer(ColorNet(), k=3, layer="1")
    on_red, missed = describer(image[None], torch.tensor([[0.0, 0.0, 16.0, 16.0]]))
    on_green, _ = describer(image[None], torch.tensor([[28.0, 12.0, 48.0, 32.0]]))
    assert not missed.any()
    assert on_red[0, 0] > 0.99  # the rare channel of the red square
    assert on_green[0, 1] > 0.99
    assert cosine_similarity(on_red, on_green) < 0.1


def test_where_no_factor_is_inside_all_are_kept_and_it_is_said():
    image = picture((RED, (0, 0, 16, 16)), (GREEN, (28, 12, 48, 32)))
    for method in ("nmf_v", "nmf_vtu"):
        describer = Describer(ColorNet(), method, k=3, layer="1")
        boxes = torch.tensor([[20.0, 24.0, 24.0, 28.0], [0.0, 0.0, 16.0, 16.0]])  # only ground; the red square
        found, missed = describer(image.expand(2, -1, -1, -1), boxes)
        assert missed.tolist() == [True, False]
        assert torch.allclose(found[0], describer(image[None])[0][0], atol=1e-4)


def test_neighbours_outside_of_the_box_are_not_mixed_in():
    image = picture((RED, (0, 0, 16, 16)), (GREEN, (16, 0, 32, 16)))  # side by side
    describer = Describer(ColorNet(), "nmf_vtu", k=3, layer="1")
    whole, _ = describer(image[None])
    inside, _ = describer(image[None], torch.tensor([[0.0, 0.0, 16.0, 16.0]]))
    assert inside[0, 1] < 0.01 < whole[0, 1]


def test_a_black_image_is_the_zero_vector_in_whitened_spaces_too():
    describer = Describer(ColorNet(), k=2, layer="1")
    shown = torch.stack([picture((color, (0, 0, 16, 16))) for color in (RED, GREEN, (0.0, 1.0, 1.0))])
    describer.whitening = Whitening.fit([describer.rows(shown)[0].flatten(0, 1)])
    batch = torch.stack([torch.zeros(3, 32, 48), shown[1]])
    found, _ = describer(batch)
    assert not found[0].any()
    assert float(found[1].norm()) == pytest.approx(1)


def test_fingerprints_tell_networks_methods_numbers_and_whitenings_apart():
    def fingerprint(model=None, **options):
        describer = Describer(model or net(), **{"layer": "1", **options})
        return describer.fingerprint()

    white = [Whitening.fit([torch.rand(9, 8, generator=torch.Generator().manual_seed(seed))]) for seed in (0, 1)]
    other = net()
    with torch.no_grad():
        other[0].bias[0] += 1e-3
    prints = [fingerprint(), fingerprint(other), fingerprint(method="mac"), fingerprint(k=5), fingerprint(layer="0")]
    prints += [fingerprint(whitening=one) for one in white]
    assert len(set(prints)) == 7
    assert fingerprint() == fingerprint(share=0.5)  # only of queries
    assert fingerprint(method="mac") == fingerprint(method="mac", k=5)  # has no factors


def test_the_last_block_is_found_and_then_kept():
    describer = Describer(net())
    assert describer.layer is None
    describer(images())
    assert describer.settings() == {"method": "nmf_v", "layer": "1", "k": 4, "n_iter": 30, "seed": 0}


def test_bf16_and_autocast_give_nearly_the_same():
    model = net()
    plain, _ = Describer(model, "nmf_vtu")(images())
    with torch.autocast("cpu", torch.bfloat16):
        cast, _ = Describer(model, "nmf_vtu")(images())
    half, _ = Describer(model.bfloat16(), "nmf_vtu")(images().bfloat16())
    assert cast.dtype == half.dtype == torch.float32
    assert float(cosine_similarity(plain, cast).amin()) > 0.98
    assert float(cosine_similarity(plain, half).amin()) > 0.98


def test_a_head_of_fixed_size_only_needs_the_name_of_the_layer():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 22 * 30, 4))
    assert Describer(model)(images())[0].shape == (6, 8)
    smaller = images()[..., :20]
    with pytest.raises(ValueError, match=r"`layer` parameter.*does not take images of \(3, 24, 20\)"):
        Describer(model)(smaller)
    assert Describer(model, layer="1")(smaller)[0].shape == (6, 8)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"`method` parameter of `describe_images`.*Did you mean 'nmf_v'"):
        Describer(net(), "nmf")
    with pytest.raises(ValueError, match="`k` parameter"):
        Describer(net(), k=0)
    with pytest.raises(ValueError, match="`share` parameter"):
        Describer(net(), share=1.5)
    with pytest.raises(ValueError, match=r"a layer with maps \(N, C, h, w\); '4' has none"):
        Describer(net(), layer="4")(images())
    with pytest.raises(ValueError, match=r"in \[1, 8\]"):
        Describer(net(), k=9)(images())
