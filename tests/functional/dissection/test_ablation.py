import pytest
import torch
from torch import nn

from lightning_interp.functional.dissection.ablation import UnitAblation, ablate_units


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Net(nn.Module):
    """A skip connection, batch norm and dropout between layer and classes."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(inplace=True))
        self.body = nn.Sequential(nn.Conv2d(5, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(inplace=True))
        self.drop = nn.Dropout()
        self.head = nn.Linear(5, 3)
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=generator(parameter.numel()))

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.drop((x + self.body(x)).mean((2, 3))))


@pytest.fixture
def batches():
    images, labels = torch.randn(40, 3, 6, 6, generator=generator()), torch.arange(40) % 3
    return [(images[i : i + 9], labels[i : i + 9]) for i in range(0, 40, 9)]


def by_hand(model, batches, layer, group, values, n_classes):
    """Correct images per class with channels set by a plain hook."""

    def silence(module, inputs, output):
        output = output.clone()
        for unit in group:
            output[:, unit] = values[unit]
        return output

    handle = model.get_submodule(layer).register_forward_hook(silence)
    correct = torch.zeros(n_classes, dtype=torch.float64)
    model.eval()
    with torch.no_grad():
        for images, labels in batches:
            for label, guess in zip(labels.tolist(), model(images).argmax(1).tolist(), strict=True):
                correct[label] += label == guess
    handle.remove()
    return correct


@pytest.mark.parametrize("layer", ["stem", "body", "body.0", "head"])
def test_it_equals_a_plain_loop_with_a_hook(layer, batches):
    model = Net()
    found = ablate_units(model, batches, layer, n_classes=3)
    n_units = 3 if layer == "head" else 5
    assert found.groups == tuple((unit,) for unit in range(n_units))
    assert found.total.tolist() == [14, 13, 13]
    assert torch.equal(found.correct, by_hand(model, batches, layer, [], {}, 3))
    for unit in range(n_units):
        assert torch.equal(found.correct_without[unit], by_hand(model, batches, layer, [unit], {unit: 0.0}, 3))


def test_groups_and_means_equal_a_plain_loop_too(batches):
    model = Net().eval()
    with torch.no_grad():
        means = torch.cat([model.stem(images) for images, _ in batches]).mean((0, 2, 3))
    found = ablate_units(model, batches, "stem", [[0, 3], 2, (1, 2, 4)], n_classes=3, value="mean")
    assert found.groups == ((0, 3), (2,), (1, 2, 4))
    for row, group in zip(found.correct_without, found.groups, strict=True):
        assert torch.equal(row, by_hand(model, batches, "stem", group, means, 3))


def test_the_unit_that_decides_a_class_alone_is_found():
    """Planted: unit `c` is all that speaks for class `c`, and unit 3 does nothing."""
    model = nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    model.append(nn.Linear(4, 4, bias=False))
    model[0].weight.data.copy_(torch.eye(4)[:, :, None, None])
    model[4].weight.data.copy_(torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0])))
    labels = torch.arange(30) % 3
    images = torch.rand(30, 4, 5, 5, generator=generator()) / 2
    images[torch.arange(30), labels, 2, 2] = 1.0
    images[:, 3] = 0.0
    found = ablate_units(model, [(images, labels)], "1", n_classes=4)
    assert found.accuracy[:3].tolist() == [1.0, 1.0, 1.0]
    assert torch.equal(found.drop[:, :3], torch.eye(4, 3, dtype=torch.float64))
    assert bool(found.drop[:, 3].isnan().all()), "no image of this class"


def test_batches_do_not_matter_and_the_model_is_left_as_it_was(batches):
    model, state = Net().train(), torch.get_rng_state()
    model.body[1].eval()
    whole = [(torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches]))]
    one, other = (ablate_units(model, part, "stem", n_classes=3) for part in (batches, whole))
    assert torch.equal(one.correct_without, other.correct_without)
    assert (model.training, model.drop.training, model.body[1].training) == (True, True, False)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in model.modules())


def test_units_that_are_silent_anyway_cost_no_pass(batches):
    model = Net()
    model.stem[0].bias.data[1] = -1e9
    passes = []
    model.head.register_forward_hook(lambda *_: passes.append(1))
    ablate_units(model, batches, "stem", [1], n_classes=3)
    idle = len(passes)
    ablate_units(model, batches, "stem", [2], n_classes=3)
    assert len(passes) - idle == idle + len(batches)


def test_the_table_has_a_row_per_group_and_class(batches, tmp_path):
    found = ablate_units(Net(), batches, "stem", [[0, 1], [4]], n_classes=3)
    table = found.to_dataframe()
    assert table["units"].tolist() == ["0 1"] * 3 + ["4"] * 3
    assert table["class"].tolist() == [0, 1, 2] * 2
    assert table["images"].tolist() == [14, 13, 13] * 2
    assert (table["before"] - table["after"]).tolist() == pytest.approx(table["drop"].tolist())
    found.save(tmp_path / "ablation.safetensors")
    assert UnitAblation.load(tmp_path / "ablation.safetensors").to_dataframe().equals(table)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"units": [5]}, ValueError, r"`units` parameter of `ablate_units` must be an int in \[0, 4\]. Got 5"),
        ({"units": [[0, -1]]}, ValueError, r"an int in \[0, 4\]. Got -1"),
        ({"units": []}, ValueError, "units, or groups of at least one unit"),
        ({"units": [[]]}, ValueError, "units, or groups of at least one unit"),
        ({"n_classes": 2}, ValueError, r"of labels in \[0, 1\]. Got \[0, 2\]"),
        ({"n_classes": 0}, ValueError, "`n_classes` parameter"),
        ({"value": "median"}, ValueError, "one of 'zero', 'mean'"),
        ({"layer": "stem.*"}, ValueError, "one layer; this matches 2"),
        ({"batches": []}, ValueError, "at least one pair of images and labels"),
        ({"batches": iter([]), "value": "mean"}, TypeError, "a list or a loader, since the mean needs a pass"),
    ],
)
def test_bad_input(options, error, match, batches):
    arguments = {"batches": batches, "layer": "stem", "n_classes": 3, **options}
    with pytest.raises(error, match=match):
        ablate_units(Net(), **arguments)
