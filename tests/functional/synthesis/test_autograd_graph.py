import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_interp.functional.synthesis.autograd_graph import graph_nodes, is_gate, kind, rectifier_rule

SIGNAL = torch.tensor([3.0, -3.0, 3.0, -3.0])
RECTIFIERS = {
    "module": nn.ReLU(),
    "function": F.relu,
    "in place": lambda x: F.relu_(x.clone()),
    "clamp": lambda x: x.clamp(min=0),
    "clamp_min": lambda x: x.clamp_min(0),
    "hardtanh": lambda x: F.hardtanh(x, 0.0, 9.0),
    "relu6": F.relu6,
    "threshold": lambda x: F.threshold(x, 0.0, 0.0),
    "leaky": F.leaky_relu,
    "leaky in place": lambda x: F.leaky_relu_(x.clone()),
    "prelu": lambda x: F.prelu(x, torch.tensor([0.1])),
    "rrelu": lambda x: F.rrelu(x, training=False),
    "elu": F.elu,
    "selu": F.selu,
    "celu": F.celu,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "hardswish": F.hardswish,
    "softplus": F.softplus,
}


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


def points():
    return torch.tensor([-1.0, -1.0, 2.0, 2.0], requires_grad=True)


def gradient(function, rule, signal=SIGNAL):
    x = points()
    y = function(x)
    with rectifier_rule(y, rule):
        return torch.autograd.grad(y, x, signal)[0]


@pytest.mark.parametrize("name", RECTIFIERS)
def test_rules_bend_every_rectifier(name):
    function = RECTIFIERS[name]
    plain = gradient(function, "gradient")
    x = points()
    assert torch.equal(plain, torch.autograd.grad(function(x), x, SIGNAL)[0])
    assert gradient(function, "deconvnet").tolist() == [3, 0, 3, 0]
    torch.testing.assert_close(gradient(function, "leaky"), 0.9 * plain + 0.1 * SIGNAL)
    assert torch.equal(gradient(function, "guided"), plain.clamp(min=0))


@pytest.mark.parametrize("function", [lambda x: x.clamp(max=1), lambda x: x.clamp(-2, 2), F.hardtanh, lambda x: 3 * x])
def test_what_is_no_rectifier_is_left_alone(function):
    assert torch.equal(gradient(function, "leaky"), gradient(function, "gradient"))
    assert torch.equal(gradient(function, "guided"), gradient(function, "gradient"))


def test_the_rule_ends_with_its_context_also_after_an_exception():
    x = points()
    y = x.relu()
    plain = torch.autograd.grad(y, x, SIGNAL, retain_graph=True)[0]
    with pytest.raises(KeyError), rectifier_rule(y, "leaky"):
        raise KeyError
    assert torch.equal(torch.autograd.grad(y, x, SIGNAL)[0], plain)


def test_what_lies_in_front_of_the_inputs_is_left_alone():
    code = points()
    images = code.relu()
    y = (images - 1).relu()
    with rectifier_rule(y, "deconvnet", inputs=images):
        assert torch.autograd.grad(y, code, SIGNAL, retain_graph=True)[0].tolist() == [0, 0, 3, 0]
    with rectifier_rule(y, "deconvnet"):
        assert torch.autograd.grad(y, code, SIGNAL)[0].tolist() == [3, 0, 3, 0]
    squashed = code.tanh()
    with rectifier_rule(squashed.relu(), "deconvnet", inputs=squashed):
        pass


@pytest.mark.parametrize("gate", [torch.sigmoid, F.hardsigmoid, lambda x: x.softmax(0)])
def test_gates_are_held_at_their_value(gate):
    x = points()
    y = x * gate(x.exp().relu())  # behind a gate, anything goes
    with rectifier_rule(y, "deconvnet"):
        (held,) = torch.autograd.grad(y, x, SIGNAL)
    assert torch.equal(held, SIGNAL * gate(x.exp().relu()))


def divided(x):
    return 1 + x / x.detach().relu().add(1)


@pytest.mark.parametrize("function", [divided, lambda x: (x * 2 - x) @ torch.eye(4), lambda x: x[[3, 1]].sum().view(1)])
def test_what_is_linear_passes(function):
    signal = torch.ones_like(function(points()))
    assert torch.equal(gradient(function, "deconvnet", signal), gradient(function, "gradient", signal))


def in_part(x):
    x = x.clone()
    x[:2].relu_()
    return x


REFUSED = {
    "tanh": (torch.tanh, "Tanh, which is not known to be linear"),
    "hardtanh": (F.hardtanh, "Hardtanh, which is not known"),
    "layer norm": (lambda x: F.layer_norm(x, (4,)), "NativeLayerNorm"),
    "group norm": (lambda x: F.group_norm(x.view(1, 4), 2).view(4), "NativeGroupNorm"),
    "instance norm": (lambda x: F.instance_norm(x.view(1, 1, 4)).view(4), "BatchNorm with the statistics of the batch"),
    "exp": (torch.exp, "Exp"),
    "square": (lambda x: x**2, "Pow"),
    "itself": (lambda x: x * x, "Mul by a tensor that depends on the image"),
    "quotient": (lambda x: 1 + x / (x + 9), "Div by a tensor that depends on the image"),
    "divisor": (lambda x: torch.ones(4) / x, "Div by a tensor that depends on the image"),
    "product": (lambda x: (x.view(2, 2) @ x.view(2, 2)).view(4), "Mm by a tensor"),
    "attention": (lambda x: F.scaled_dot_product_attention(*[x.view(1, 1, 2, 2)] * 3).view(4), "which is not known"),
    "custom": (Double.apply, "the custom autograd function Double, which rules cannot see inside"),
    "in part": (in_part, "an in-place operation on part of a tensor"),
    "gate": (torch.sigmoid, "nothing but gates such as Sigmoid and Softmax"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_deconvnet_refuses_what_it_has_no_counterpart_for(name):
    function, text = REFUSED[name]
    with pytest.raises(ValueError, match=rf"`rule` parameter of `rectifier_rule` must be 'gradient'.*{text}"):
        gradient(function, "deconvnet")


@pytest.mark.parametrize("name", ["custom", "in part"])
def test_guided_refuses_what_may_hide_rectifiers(name):
    function, text = REFUSED[name]
    with pytest.raises(ValueError, match=f"must be 'gradient', because.*{text}.*Or choose a layer in front of it"):
        gradient(function, "guided")


def test_weights_that_are_trained_are_no_obstacle_when_the_inputs_are_named():
    layer, x = nn.Linear(4, 4), points()
    y = layer(x)
    with rectifier_rule(y, "deconvnet", inputs=x):
        assert torch.allclose(torch.autograd.grad(y, x, SIGNAL)[0], SIGNAL @ layer.weight)


def test_each_operation_is_listed_once_and_before_its_operands():
    x = points()
    half = x.relu()
    y = half + half.sigmoid() * half
    nodes = graph_nodes(y)
    assert len(nodes) == len(set(nodes)) == 5
    place = {node: i for i, node in enumerate(nodes)}
    assert all(place[node] < place[operand] for node in nodes for operand, _ in node.next_functions if operand)
    assert [kind(node) for node in nodes if is_gate(node)] == ["Sigmoid"]
    assert [kind(node) for node in graph_nodes(half.sigmoid().exp(), through_gates=False)] == ["Exp", "Sigmoid"]
    assert graph_nodes(torch.ones(1)) == []


def test_a_deep_network_is_no_recursion():
    x = points()
    y = x
    for _ in range(3000):
        y = y + 1
    assert len(graph_nodes(y)) == 3001


def test_unknown_rules_are_named():
    y = points().relu()
    with pytest.raises(ValueError, match=r"`rule` parameter .* Did you mean 'guided'"), rectifier_rule(y, "guide"):
        pass
