import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import max_pool2d
from torch.nn.utils import parametrizations, parametrize

from lightning_interp._lightning import LightningModule
from lightning_interp.functional import compression_curve
from lightning_interp.functional.generalization import Snapshot

LAYERS = ("scores", "features", "preactivations", "first_features")


class Wrapped(LightningModule):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return {"logits": self.net(x)}


@torch.no_grad()
def by_hand(net, images):
    """Scores, input of the head, what comes before the last activation, and the pooled first layer."""
    net.eval()
    first = 0 if isinstance(net[0], nn.Conv2d) else 1
    outputs = [images]
    for layer in net:
        outputs.append(layer(outputs[-1].clone()))
    early = outputs[first + 1]
    early = max_pool2d(early, 4) if early.ndim == 4 else early
    return outputs[-1], outputs[-2], outputs[-3], early.flatten(1)


def test_everything_equals_a_forward_pass_layer_by_layer(net, pictures):
    snapshot = Snapshot(net, *pictures)
    for name, expected in zip(LAYERS, by_hand(net, pictures[0]), strict=True):
        torch.testing.assert_close(getattr(snapshot, name), expected, msg=name)
    assert torch.equal(snapshot.predictions, snapshot.scores.argmax(1))
    assert snapshot.head is net[-1]
    assert torch.equal(snapshot.head_weight, net[-1].weight)
    assert not snapshot.head_weight.requires_grad


@pytest.mark.parametrize("batch_size", [1, 7, 60, 1000])
def test_the_size_of_batches_does_not_matter(net, pictures, batch_size):
    whole = Snapshot(net, *pictures, held_out=pictures)
    parts = Snapshot(net, *pictures, held_out=pictures, batch_size=batch_size)
    for name in (*LAYERS, "held_out_scores"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), msg=name)


def test_one_forward_pass_serves_all(net, pictures):
    snapshot, shapes = Snapshot(net, *pictures, batch_size=25), []
    net.register_forward_pre_hook(lambda _, inputs: shapes.append(len(inputs[0])))
    for name in (*LAYERS, "predictions", *LAYERS):
        getattr(snapshot, name)
    assert shapes == [2, 25, 25, 10]  # the two are the trace


def test_no_hooks_stay_after_an_error(cnn, pictures):
    snapshot = Snapshot(cnn, *pictures)
    assert snapshot.calls
    snapshot.images = pictures[0][:, :1]  # too few channels
    with pytest.raises(RuntimeError):
        snapshot.scores.sum()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in cnn.modules())
    assert cnn.training


def test_held_out_images_and_their_labels(net, pictures):
    images, labels = pictures
    snapshot = Snapshot(net, images[:5], labels[:5], held_out=(images[5:], labels[5:]))
    torch.testing.assert_close(snapshot.held_out_scores, by_hand(net, images[5:])[0])
    assert torch.equal(snapshot.held_out_labels, labels[5:])


def test_the_curve_is_the_compression_curve_and_measured_once(cnn, pictures):
    snapshot = Snapshot(cnn, *pictures, layers="6", per_class=10, seed=3)
    generator = torch.Generator().manual_seed(3)
    expected = compression_curve(
        cnn, *pictures, layers="6", method="random_ablation", batch_size=10, generator=generator
    )
    assert torch.equal(snapshot.compression("random_ablation").counts.correct, expected.counts.correct)
    assert snapshot.compression("random_ablation") is snapshot.compression("random_ablation")


def test_randomness_is_fresh_and_seeded(cnn, pictures):
    snapshot = Snapshot(cnn, *pictures, seed=1)
    assert torch.equal(torch.rand(3, generator=snapshot.generator()), torch.rand(3, generator=snapshot.generator()))
    images, labels = snapshot.batch(10)
    assert torch.equal(labels, snapshot.batch(10)[1])
    assert torch.equal(labels, Snapshot(cnn, *pictures, seed=1).batch(10)[1])
    assert not torch.equal(images, Snapshot(cnn, *pictures, seed=2).batch(10)[0])
    assert len(snapshot.batch(1000)[1]) == 60


def test_memory_is_the_callers_own(cnn, pictures):
    memory = {}
    assert Snapshot(cnn, *pictures, memory=memory).memory is memory
    assert Snapshot(cnn, *pictures).memory is not Snapshot(cnn, *pictures).memory


@pytest.mark.parametrize("kind", ["lightning", "compiled", "compiled in place"])
def test_wrapped_and_compiled_networks_are_looked_into(cnn, pictures, kind):
    model = Wrapped(cnn) if kind == "lightning" else cnn
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the compiler of this version of torch has to say
        if kind == "compiled":
            model = torch.compile(cnn, backend="eager")
        if kind == "compiled in place":
            model.compile(backend="eager")
        model(pictures[0])  # compiled before there is any hook
    snapshot = Snapshot(model, *pictures)
    got = [getattr(snapshot, name) for name in LAYERS]
    for name, value, expected in zip(LAYERS, got, by_hand(cnn, pictures[0]), strict=True):
        torch.testing.assert_close(value, expected, msg=name)


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_a_parametrised_head_is_the_head_and_stays_as_it_is(cnn, pictures, wrap):
    wrap(cnn[-1])
    before = {name: value.clone() for name, value in cnn.state_dict().items()}
    snapshot = Snapshot(cnn, *pictures)
    assert snapshot.features.shape == (60, 12)
    assert snapshot.head is cnn[-1]
    assert snapshot.head_weight.shape == (3, 12)
    assert all(torch.equal(before[name], value) for name, value in cnn.state_dict().items())


def test_a_parametrisation_with_weights_of_its_own_is_no_layer(cnn, pictures):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, weight):
            return self.scale * weight

    expected = Snapshot(cnn, *pictures).preactivations
    parametrize.register_parametrization(cnn[-1], "weight", Scaled())
    snapshot = Snapshot(cnn, *pictures)
    assert torch.equal(snapshot.preactivations, expected)
    assert snapshot.head is cnn[-1]


def test_a_head_called_by_keyword_is_seen(pictures):
    class Keyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.head = nn.Linear(192, 5), nn.Linear(5, 3)

        def forward(self, x):
            return self.head(input=self.hidden(x.flatten(1)).relu())

    net = Keyword()
    snapshot = Snapshot(net, *pictures)
    torch.testing.assert_close(snapshot.features, net.hidden(pictures[0].flatten(1)).relu().detach())
    assert snapshot.preactivations.min() < 0 == snapshot.features.min()


def test_activations_with_weights_are_no_layers(pictures):
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.PReLU(), nn.Linear(5, 3), nn.PReLU())
    snapshot = Snapshot(net, *pictures)
    assert snapshot.head is net[3]
    torch.testing.assert_close(snapshot.preactivations, net[1](pictures[0].flatten(1)).detach())


def test_half_precision_is_returned_in_single(cnn, pictures):
    snapshot = Snapshot(cnn.bfloat16(), pictures[0].bfloat16(), pictures[1])
    assert {getattr(snapshot, name).dtype for name in LAYERS} == {torch.float32}


def conv_head():
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class NoLayers(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


@pytest.mark.parametrize(
    ("make", "name", "text"),
    [
        (conv_head, "features", "must end in a Linear layer for this signal. Got Sequential; choose other signals"),
        (conv_head, "head", "must end in a Linear layer"),
        (NoLayers, "head", "must end in a Linear layer"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), "preactivations", "must have a hidden layer"),
        (NoLayers, "first_features", "must have a layer with weights for this signal. Got NoLayers"),
    ],
)
def test_what_a_network_lacks_is_named(pictures, make, name, text):
    snapshot = Snapshot(make(), *pictures)
    assert snapshot.scores.shape == (60, 3)  # the rest is measured
    with pytest.raises(ValueError, match=f"The `model` parameter of `Snapshot` {text}"):
        getattr(snapshot, name)


def test_bad_input_is_named(cnn, pictures):
    images, labels = pictures
    with pytest.raises(ValueError, match=r"`labels` parameter of `Snapshot` .* Got 60 images and 59 labels"):
        Snapshot(cnn, images, labels[1:])
    with pytest.raises(ValueError, match="Got 0 images and 0 labels"):
        Snapshot(cnn, images[:0], labels[:0])
    with pytest.raises(ValueError, match=r"`held_out` parameter of `Snapshot` .* Got 5 images and 1 labels"):
        Snapshot(cnn, images, labels, held_out=(images[:5], labels[:1]))
    for option in ("per_class", "batch_size"):
        with pytest.raises(
            ValueError, match=rf"`{option}` parameter of `Snapshot` must be an int in \[1, inf\). Got 0"
        ):
            Snapshot(cnn, images, labels, **{option: 0})
    with pytest.raises(ValueError, match=r"`held_out` .* must be given for the hold-out signals"):
        Snapshot(cnn, images, labels).held_out_scores  # noqa: B018
