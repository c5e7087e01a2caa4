import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from lightning_interp.functional.synthesis.deconvnet import Projections, deconvnet
from lightning_interp.hooks import OUTPUT
from tests.hooks.conftest import SmallResNet
from tests.reference import deconvnet as reference


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def planted(net):
    """Random weights and statistics that leave no unit silent for long."""
    for i, (name, tensor) in enumerate([*net.named_parameters(), *net.named_buffers()]):
        if tensor.is_floating_point():
            value = torch.randn(tensor.shape, generator=generator(i), dtype=tensor.dtype)
            tensor.data = value.abs() + 0.2 if "var" in name else value / max(tensor[0].numel(), 1) ** 0.5
    return net


def small_vgg():
    layers = [nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(5, 6, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=(0, 1)), nn.ReLU()]
    layers += [nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24, 7), nn.ReLU(), nn.Linear(7, 4)]
    return planted(nn.Sequential(*layers).double()).eval()


@pytest.fixture
def images():
    return torch.randn(3, 3, 24, 16, generator=generator(1), dtype=torch.float64)


@pytest.mark.parametrize("layer", range(13))
@pytest.mark.parametrize("position", ["max", "all"])
def test_a_small_vgg_equals_the_network_built_in_reverse(images, layer, position):
    net = small_vgg()
    found = deconvnet(net, images, str(layer), range(4), position=position)
    maps = net[: layer + 1](images).detach()
    n_silent = 0
    for unit in range(4):
        for i, image in enumerate(images):
            own, place = maps[i, unit].relu(), None
            if position == "max" and maps.ndim == 4:
                place = tuple(int(p[0]) for p in torch.nonzero(own == own.max(), as_tuple=True))
            expected = reference.project(net[: layer + 1], image, unit, place)
            assert torch.allclose(found.maps[unit, i], expected, rtol=0, atol=1e-12)
            assert float(found.activations[unit, i]) == float(own.max())
            n_silent += float(own.max()) == 0
            assert tuple(found.positions[unit, i].tolist()) == (place if place and own.max() > 0 else (-1, -1))
    assert n_silent < 9  # of 12
    assert found.maps.abs().sum() > 0


@pytest.mark.parametrize("position", [(0, 0), (2, 1)])
def test_a_given_position_is_the_same_on_all_images(images, position):
    net = small_vgg()
    found = deconvnet(net, images, "7", 2, position=position)
    assert found.positions.tolist() == [[list(position)] * 3]
    for i, image in enumerate(images):
        assert torch.allclose(found.maps[0, i], reference.project(net[:8], image, 2, position), rtol=0, atol=1e-12)
        assert found.activations[0, i] == net[:8](images)[i, 2][position]


class OwnReLU(torch.autograd.Function):
    """A ReLU whose backward pass is the rule, written out."""

    rule = "guided"

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, signal):
        (x,) = ctx.saved_tensors
        return {
            "guided": signal.clamp(min=0) * (x > 0),
            "gradient": signal * (x > 0),
            "deconvnet": signal.clamp(min=0),
        }[OwnReLU.rule]


class Rectified(nn.Module):
    def forward(self, x):
        return OwnReLU.apply(x)


def by_own_relus(net, images, unit, values):
    """The gradient of ``unit`` at its strongest position in a network of :class:`OwnReLU`."""
    x = images.clone().requires_grad_()
    output = net(x)
    signal = torch.zeros_like(output)
    for i, own in enumerate(output[:, unit]):
        place = torch.nonzero(own == own.max())[0].tolist()
        signal[(i, unit, *place)] = own.max().detach() if values else 1.0
    return torch.autograd.grad(output, x, signal)[0]


@pytest.mark.parametrize("method", ["guided", "gradient", "deconvnet"])
def test_methods_equal_autograd_functions_with_the_rule_written_out(method, monkeypatch, images):
    """On a residual network with in-place ReLUs run twice, strides, and batch norm."""
    net, other = planted(SmallResNet().double()).eval(), planted(SmallResNet().double()).eval()
    for module in [*other.modules()]:
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, Rectified())
    monkeypatch.setattr(OwnReLU, "rule", method)
    found = deconvnet(net, images, "layer2", [1, 5], method=method)
    trunk = nn.Sequential(other.stem, other.layer1, other.layer2)
    for row, unit in enumerate(found.units):
        expected = by_own_relus(trunk, images, unit, values=method == "deconvnet")
        assert torch.allclose(found.maps[row], expected, rtol=0, atol=1e-12)
        assert expected.abs().sum() > 0


class Styles(nn.Module):
    """One network, its rectifiers written in any way."""

    def __init__(self, rectify):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.rectify, self.end = rectify, nn.Identity()

    def forward(self, x):
        x -= 0.1  # in place, on the images themselves
        return self.end(self.rectify(self.conv2(self.rectify(self.conv1(x)))))


@pytest.mark.parametrize("method", ["deconvnet", "guided"])
@pytest.mark.parametrize("rectify", [F.relu, torch.relu_, lambda x: x.clamp(min=0), lambda x: x.clamp_(0)])
def test_rectifiers_are_seen_however_they_are_written(method, rectify, images):
    before = images.clone()
    one, other = planted(Styles(nn.ReLU()).double()), planted(Styles(rectify).double())
    assert torch.equal(
        deconvnet(one, images, "end", method=method).maps, deconvnet(other, images, "end", method=method).maps
    )
    assert torch.equal(images, before)


def test_gradient_is_that_of_the_activation(images):
    net = small_vgg()
    found = deconvnet(net, images, OUTPUT, method="gradient")
    x = images.clone().requires_grad_()
    for row, unit in enumerate(found.units):
        assert torch.equal(found.activations[row], net(x)[:, unit])  # negative ones as they are
        assert torch.allclose(found.maps[row], torch.autograd.grad(net(x)[:, unit].sum(), x)[0], rtol=0, atol=1e-14)
    whole = deconvnet(net, images, "6", 3, method="gradient", position="all")
    assert torch.allclose(whole.maps[0], torch.autograd.grad(net[:7](x)[:, 3].sum(), x)[0], rtol=0, atol=1e-14)


def test_the_units_with_the_largest_activations_are_chosen(images):
    net = small_vgg()
    order = net[:6](images).amax((0, 2, 3)).argsort(descending=True)
    assert deconvnet(net, images, "5", n_units=3).units == tuple(order[:3].tolist())
    assert deconvnet(net, images, "5").units == tuple(order.tolist())


def test_a_silent_unit_projects_to_nothing(images):
    net = small_vgg()
    net[4].bias.data[2] = -1e6
    for method in ("deconvnet", "guided", "gradient"):
        found = deconvnet(net, images, "5", [2, 4], method=method)
        assert not found.maps[0].any()
        assert found.maps[1].any()
        assert found.activations[0].tolist() == [0, 0, 0]
        assert found.positions[0].tolist() == [[-1, -1]] * 3
        assert found.fields[0].tolist() == [[0, 0, 24, 16]] * 3
    assert not deconvnet(net, images, "4", 2).maps.any()  # also in front of its rectifier
    assert deconvnet(net, images, "4", 2).activations.tolist() == [[0, 0, 0]]


def test_nothing_outside_the_field_and_all_of_it_used(images):
    found = deconvnet(small_vgg(), images, "5", range(6))
    for row in range(6):
        for i in range(3):
            top, left, bottom, right = found.fields[row, i].tolist()
            outside = found.maps[row, i].clone()
            outside[:, top:bottom, left:right] = 0
            assert not outside.any()
            patch, projection = found.crop(row, i)
            assert torch.equal(patch, images[i, :, top:bottom, left:right])
            assert torch.equal(projection, found.maps[row, i, :, top:bottom, left:right])
            assert bool(projection.any()) == (found.activations[row, i] > 0)
    assert 0 < int((found.fields[..., 2] - found.fields[..., 0]).min()) < 24


@pytest.mark.parametrize("channels", [1, 4])
def test_any_channels_and_shapes(channels):
    net = nn.Sequential(nn.Conv2d(channels, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = deconvnet(net, torch.rand(2, channels, 11, 30), "3", 0)
    assert found.maps.shape == (1, 2, channels, 11, 30)
    assert found.fields.tolist() == [[[0, 0, 11, 29]] * 2]  # the last column is stepped over


class Turned(nn.Module):
    def forward(self, x):
        return x.transpose(2, 3)


@pytest.mark.parametrize("arranged", [Turned(), nn.Identity()])
def test_the_layout_in_memory_does_not_matter(arranged, images):
    net = planted(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), arranged).double())
    plain = deconvnet(net, images, "1", range(4))
    turned = deconvnet(net.to(memory_format=torch.channels_last), images, "2", range(4))
    assert torch.allclose(turned.maps, plain.maps, rtol=0, atol=1e-12)
    assert turned.maps.any()


def test_results_have_the_type_of_the_images(images):
    found = deconvnet(small_vgg().bfloat16(), images.float(), "5")
    assert {found.images.dtype, found.maps.dtype, found.activations.dtype} == {torch.float32}


ZOO = {
    "resnet18": "layer2",
    "densenet121": "features.denseblock1",
    "mobilenet_v2": "features.5",
    "mobilenet_v3_small": "features.4",
    "vgg11_bn": "features.14",
    "squeezenet1_1": "features.6",
    "shufflenet_v2_x0_5": "stage2",
}


@pytest.mark.parametrize("name", ZOO)
def test_networks_of_torchvision(name):
    torch.manual_seed(0)
    net = getattr(torchvision.models, name)(weights=None).train()
    images = torch.randn(2, 3, 64, 48, generator=generator())
    for method in ("deconvnet", "guided"):
        found = deconvnet(net, images, ZOO[name], n_units=1, method=method)
        assert found.activations.min() > 0
        assert found.maps.isfinite().all()
        assert found.maps.flatten(2).any(2).all()
    assert net.training


def test_gates_are_held_and_open_no_field():
    """Squeeze and excitation looks at the whole image, but only weights what a position says."""

    class Excited(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 1)

        def forward(self, x):
            x = self.conv(x).relu()
            return x * self.fc(F.adaptive_avg_pool2d(x, 1).tanh()).sigmoid()

    net, images = planted(Excited()), torch.randn(2, 3, 9, 9, generator=generator(3))
    held = net.fc(F.adaptive_avg_pool2d(net.conv(images).relu(), 1).tanh()).sigmoid()
    found = deconvnet(net, images, OUTPUT, range(3))
    plain = deconvnet(nn.Sequential(net.conv, nn.ReLU()), images, "1", range(3))
    factor = held.detach()[:, :, 0, 0].T.square()  # once forward, once back
    assert torch.allclose(found.maps, plain.maps * factor[:, :, None, None, None], atol=1e-6)
    assert torch.equal(found.fields, plain.fields)
    through = deconvnet(net, images, OUTPUT, range(3), method="gradient")
    assert through.fields.unique(dim=1).tolist() == [[[0, 0, 9, 9]]] * 3


def test_one_forward_pass_and_one_backward_pass_for_each_unit(images):
    net, forward, backward = small_vgg(), [], []
    net[0].register_forward_hook(lambda *_: forward.append(1))

    class Counted(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, signal):
            backward.append(len(signal))
            return signal

    net.insert(0, nn.Identity())
    net[0].forward = Counted.apply
    deconvnet(net, images, "6", range(5), method="gradient")
    assert len(forward) == 1
    tells_shapes = hasattr(torch.autograd.graph.Node, "_input_metadata")  # else, receptive fields need another pass
    assert backward == [3] * (5 if tells_shapes else 6)


def test_nothing_is_left_behind(images):
    net = small_vgg().train()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.get_rng_state()
    with torch.no_grad():
        found = deconvnet(net, images, "7")
    with torch.inference_mode():
        inside = deconvnet(net, images, "7")
    assert torch.equal(found.maps, inside.maps)
    assert not found.maps.requires_grad
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())
    assert net.training
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_the_same_after_saving_and_loading(images, tmp_path):
    found = deconvnet(small_vgg(), images.flip(3).transpose(2, 3), "5", [4, 1], position="all")
    found.save(tmp_path / "projections.safetensors")
    again = Projections.load(tmp_path / "projections.safetensors")
    assert (again.method, again.layer, again.units) == ("deconvnet", "5", (4, 1))
    for name in ("images", "maps", "activations", "positions", "fields"):
        assert torch.equal(getattr(again, name), getattr(found, name))


def test_the_table_has_a_row_per_unit_and_image(images):
    found = deconvnet(small_vgg(), images, "5", [4, 1])
    table = found.to_dataframe()
    assert table["unit"].tolist() == [4, 4, 4, 1, 1, 1]
    assert table["image"].tolist() == [0, 1, 2, 0, 1, 2]
    assert table["activation"].tolist() == found.activations.flatten().tolist()
    assert table[["row", "column"]].to_numpy().tolist() == found.positions.flatten(0, 1).tolist()
    assert table[["top", "left", "bottom", "right"]].to_numpy().tolist() == found.fields.flatten(0, 1).tolist()


class Tokens(nn.Module):
    def forward(self, x):
        return x.flatten(2).transpose(1, 2)


class Detached(nn.Module):
    def forward(self, x):
        return x.detach() * 2


class Quiet(nn.Module):
    def forward(self, x):
        with torch.inference_mode():
            return x * 2


BAD = [
    ({"layer": "nowhere"}, ValueError, "matches a layer of Sequential"),
    ({"units": 6}, ValueError, r"`units` parameter of `deconvnet` must be an int in \[0, 5\]. Got 6"),
    ({"units": [0, -1]}, ValueError, r"`units` .* an int in \[0, 5\]. Got -1"),
    ({"units": []}, ValueError, "`units` .* at least one unit"),
    ({"units": [0.5]}, TypeError, "`units` .* must be an int"),
    ({"method": "guide"}, ValueError, "`method` .* Did you mean 'guided'"),
    ({"position": "min"}, ValueError, "`position` .* must be one of 'max', 'all'"),
    ({"position": (0, 4)}, ValueError, r"`position` .* an int in \[0, 3\]. Got 4"),
    ({"position": (-1, 0)}, ValueError, r"`position` .* an int in \[0, 5\]. Got -1"),
    (
        {"layer": OUTPUT, "position": (0, 0)},
        ValueError,
        "'max' or 'all', because layer '<output>' has no map",
    ),
    ({"n_units": 0}, ValueError, "`n_units` .* an int in"),
    ({"images": torch.zeros(3, 24, 16)}, ValueError, r"`images` .* \(N, C, H, W\), at least one"),
    ({"images": torch.zeros(0, 3, 24, 16)}, ValueError, r"`images` .* \(N, C, H, W\), at least one"),
    ({"images": torch.zeros(1, 3, 24, 16).byte()}, ValueError, "`images` .* must be float images"),
]


@pytest.mark.parametrize(("change", "error", "text"), BAD)
def test_bad_input_is_named(images, change, error, text):
    arguments = {"images": images, "layer": "5", **change}
    with pytest.raises(error, match=text):
        deconvnet(small_vgg(), **arguments)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (Tokens(), r"output \(3, units, h, w\) or \(3, units\).* Its output is \(3, 384, 3\). Choose a layer in front"),
        (nn.Flatten(0, 1), r"output \(3, units, h, w\).* Its output is \(9, 24, 16\)"),
        (Detached(), r"differentiated down to the image. .* detach\(\), torch.no_grad\(\) or torch.inference_mode"),
        (Quiet(), r"differentiated down to the image. .* choose a layer in front of it"),
        (
            nn.GroupNorm(1, 3),
            "`method` .* of `deconvnet` must be 'gradient' or 'guided', .*NativeGroupNorm",
        ),
        (Rectified(), "`method` .* must be 'gradient', because .* custom autograd function OwnReLU"),
    ],
)
def test_networks_without_a_way_back_are_named(images, module, text):
    with pytest.raises(ValueError, match=text):
        deconvnet(nn.Sequential(module), images, "0")


def test_a_model_made_in_inference_mode_is_named(images):
    with torch.inference_mode():
        net = nn.Conv2d(3, 2, 3)
    with pytest.raises(RuntimeError, match=r"made in torch.inference_mode\(\)"):
        deconvnet(net, images.float(), OUTPUT)
