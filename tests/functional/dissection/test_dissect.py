import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from lightning_interp.datasets import ToyConcepts, ToyScenes
from lightning_interp.exceptions import LayerNotReachedError
from lightning_interp.functional.dissection import network_dissection
from lightning_interp.functional.dissection.quantile import RELATIVE_ERROR
from lightning_interp.models import CIFAR10CNN
from tests.functional.dissection.planted import DETECTED, Rectangles, detectors
from tests.reference.network_dissection import activations as all_activations
from tests.reference.network_dissection import dissection, intersection_over_union, levels

CONCEPTS = Rectangles.concepts


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def net(*, size=(16, 16), channels=4):
    """Convolutions, an in-place ReLU, one ReLU called twice, and linear layers."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(channels, 5, 3, padding=1)
            self.norm = nn.BatchNorm2d(5)
            self.relu = nn.ReLU(inplace=True)
            self.pool = nn.MaxPool2d(3, 2)
            self.deep = nn.Conv2d(5, 6, 3)
            self.drop = nn.Dropout()
            self.head = nn.Linear(6, 3)

        def forward(self, x):
            x = self.relu(self.norm(self.conv(x)))
            x = self.relu(self.deep(self.pool(x)))
            return self.head(self.drop(x.mean((2, 3))))

    model = Net()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5, generator=generator(parameter.numel()))
    return model


def items(dataset):
    return [dataset[i] for i in range(len(dataset))]


class Listed(Dataset):
    def __init__(self, items, concepts):
        self.items, self.concepts = items, concepts

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


class TestPlanted:
    def test_every_detector_is_named(self):
        # All colours cover less than the share, so that a unit's level is 0.
        found = network_dissection(detectors(), Rectangles(60), "3", quantile=0.06, iou_threshold=0.5)
        table = found.to_dataframe()
        assert table["concept"].tolist()[: len(DETECTED)] == DETECTED
        assert table["category"].tolist()[: len(DETECTED)] == ["color"] * len(DETECTED)
        assert table["iou"].tolist()[: len(DETECTED)] == [1.0] * len(DETECTED)
        assert table["detector"].tolist() == [True] * len(DETECTED) + [False] * 2

    def test_noise_detects_nothing_at_the_published_share_and_threshold(self):
        table = network_dissection(detectors(), Rectangles(60), "3").to_dataframe()
        assert table["detector"].tolist() == [True] * len(DETECTED) + [False] * 2
        assert table["concept"].tolist()[: len(DETECTED)] == DETECTED

    def test_parts_and_objects_of_toy_scenes_are_named(self):
        class WithTruth(Dataset):
            """Toy scenes that show a network their truth, so that it can be planted."""

            concepts = ToyScenes.concepts

            def __init__(self):
                self.scenes = ToyConcepts(ToyScenes(72))

            def __len__(self):
                return len(self.scenes)

            def __getitem__(self, index):
                image, targets = self.scenes[index]
                wheel = targets["part"] == ToyScenes.concepts["part"].index("wheel")
                house = targets["object"] == ToyScenes.concepts["object"].index("house")
                return torch.cat([image, wheel[None], house[None]]), targets

        model = nn.Sequential(nn.Conv2d(5, 2, 1, bias=False), nn.ReLU())
        model[0].weight.data.copy_(torch.eye(5)[3:, :, None, None])
        found = network_dissection(model, WithTruth(), "1", quantile=0.2).to_dataframe()
        assert found[["concept", "category", "iou"]].to_numpy().tolist() == [
            ["wheel", "part", 1.0],
            ["house", "object", 1.0],
        ]

    def test_the_best_images_are_those_that_show_the_color(self):
        dataset = Rectangles(60)
        top = network_dissection(detectors(), dataset, "3", n_top=3).layers["3"].top
        for unit, name in enumerate(DETECTED):
            color = CONCEPTS["color"].index(name)
            assert all((dataset.masks[i] == color).any() for i in top.indices[unit].tolist())


class TestAgainstBruteForce:
    @pytest.mark.parametrize(("layer", "call"), [("conv", 0), ("norm", 0), ("relu", 0), ("relu", 1), ("head", 0)])
    def test_exact_mode_equals_it(self, layer, call):
        model, dataset = net(), Rectangles(23)
        name = f"{layer}:{call}" if call else layer
        found = network_dissection(model, dataset, name, quantile=0.02, exact=True, batch_size=1).layers[name]
        expected, iou = dissection(model, items(dataset), layer, CONCEPTS, 0.02, call)
        assert torch.equal(found.levels, expected)
        assert torch.equal(found.iou, iou)

    def test_the_default_equals_it_given_the_same_levels(self):
        model, dataset = net(), Rectangles(23)
        found = network_dissection(model, dataset, "deep", quantile=0.02, batch_size=1).layers["deep"]
        maps = all_activations(model, [image for image, _ in items(dataset)], "deep")
        assert torch.equal(found.iou, intersection_over_union(maps, found.levels, items(dataset), CONCEPTS))
        assert ((found.levels / levels(maps, 0.02) - 1).abs() <= RELATIVE_ERROR).all()

    def test_images_of_all_sizes_with_whatever_annotation(self):
        mixed = []
        for i in range(15):
            image, targets = Rectangles(1, size=(9 + i % 3, 14 - i % 4), seed=i)[0]
            if i % 3 == 0:
                targets["color"] = torch.stack([targets["color"], targets["color"].flip(0)])
                targets["color"][:, 1] = -1
            if i % 4 == 0:
                del targets["thing"]
            if i % 5 == 0:
                targets["thing"] = torch.randint(0, 3, (31, 5), generator=generator(i))
            mixed.append((image, targets))
        dataset, model = Listed(mixed, CONCEPTS), net()
        expected, iou = dissection(model, mixed, "conv", CONCEPTS, 0.01)
        found = network_dissection(model, dataset, ["conv", "deep"], quantile=0.01, exact=True, batch_size=1)
        assert torch.equal(found.layers["conv"].levels, expected)
        assert torch.equal(found.layers["conv"].iou, iou)
        assert list(found.layers) == ["conv", "deep"]

    def test_counts_of_concepts_of_a_real_network_on_toy_scenes(self):
        torch.manual_seed(0)
        model, dataset = CIFAR10CNN(width=2), ToyConcepts(ToyScenes(8))
        found = network_dissection(model, dataset, "features.[59]", exact=True, batch_size=1)
        for layer in ("features.5", "features.9"):
            expected, iou = dissection(model, items(dataset), layer, ToyScenes.concepts, 0.005)
            assert torch.equal(found.layers[layer].levels, expected)
            assert torch.equal(found.layers[layer].iou, iou)


class TestInvariants:
    @pytest.mark.parametrize("exact", [False, True])
    def test_batch_size_changes_nothing(self, exact):
        # No convolution: the rounding of those depends on the batch.
        dataset, model = Rectangles(31), nn.Sequential(nn.MaxPool2d(2), nn.ReLU())
        tables = [
            network_dissection(model, dataset, "1", batch_size=size, exact=exact).to_dataframe() for size in (1, 7, 31)
        ]
        assert tables[0].equals(tables[1])
        assert tables[0].equals(tables[2])

    def test_the_order_of_images_changes_nothing_but_their_numbers(self):
        dataset, model = Rectangles(31), detectors()
        order = torch.randperm(31, generator=generator()).tolist()
        plain = network_dissection(model, dataset, "3", batch_size=5).layers["3"]
        shuffled = network_dissection(model, Listed([dataset[i] for i in order], CONCEPTS), "3", batch_size=5).layers[
            "3"
        ]
        assert torch.equal(plain.levels, shuffled.levels)
        assert torch.equal(plain.iou, shuffled.iou)
        assert torch.equal(plain.top.values, shuffled.top.values)
        noise = slice(len(DETECTED), None)  # no two images are equally bright to these
        assert torch.equal(torch.tensor(order)[shuffled.top.indices[noise]], plain.top.indices[noise])

    def test_a_first_batch_unlike_the_rest_costs_a_pass_and_no_accuracy(self):
        dataset = Rectangles(20)
        bright = [(image + (3.0 if i < 2 else 0.0), targets) for i, (image, targets) in enumerate(items(dataset))]
        listed = Listed(bright, CONCEPTS)
        odd = network_dissection(net(), listed, ["conv", "relu"], quantile=0.2, exact=True, batch_size=2)
        even = network_dissection(net(), listed, ["conv", "relu"], quantile=0.2, exact=True, batch_size=20)
        for name, layer in odd.layers.items():
            torch.testing.assert_close(layer.levels, even.layers[name].levels, rtol=1e-5, atol=1e-6)
            assert not layer.levels.isnan().any()

    def test_the_model_and_the_random_state_are_left_as_they_were(self):
        model, state = net().train(), torch.get_rng_state()
        model.norm.eval()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        network_dissection(model, Rectangles(5), ["conv", "head"], exact=True)
        assert torch.equal(torch.get_rng_state(), state)
        assert [model.training, model.norm.training, model.drop.training] == [True, False, True]
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())

    def test_bfloat16_networks_are_dissected_in_float32(self):
        model, dataset = detectors().bfloat16(), Rectangles(10, transform=torch.Tensor.bfloat16)
        found = network_dissection(model, dataset, "3", exact=True, batch_size=1).layers["3"]
        expected, iou = dissection(model, items(dataset), "3", CONCEPTS, 0.005)
        assert found.levels.dtype == torch.float32
        assert torch.equal(found.levels, expected)
        assert torch.equal(found.iou, iou)

    def test_huge_activations_are_told_apart_without_being_asked(self):
        dataset, model = Rectangles(10), detectors()
        model[2].weight.data *= 1e12
        model[2].bias.data *= 1e12
        found = network_dissection(model, dataset, "3", batch_size=1).layers["3"]
        assert torch.equal(found.levels, dissection(model, items(dataset), "3", CONCEPTS, 0.005)[0])

    def test_last_block_is_the_default_layer(self):
        found = network_dissection(CIFAR10CNN(width=2), ToyConcepts(ToyScenes(3)))
        assert list(found.layers) == ["features.17", "features.19", "features.21"]


class TestCache:
    def counted(self, *args, **kwargs):
        passes = []
        model = args[0]
        handle = model.register_forward_hook(lambda *_: passes.append(1))
        found = network_dissection(*args, **kwargs)
        handle.remove()
        return found, len(passes)

    def test_the_second_time_nothing_runs(self, tmp_path):
        model, dataset = detectors(), Rectangles(8)
        fresh, n_passes = self.counted(model, dataset, ["1", "3"], cache_dir=tmp_path)
        again, n_again = self.counted(model, dataset, ["1", "3"], cache_dir=tmp_path, iou_threshold=0.5)
        assert (n_passes, n_again) == (3, 1), "one is a look at two images for the order of the layers"
        assert again.to_dataframe().drop(columns="detector").equals(fresh.to_dataframe().drop(columns="detector"))
        assert len(list(tmp_path.iterdir())) == 2

    def test_only_missing_layers_are_dissected_and_none_is_another(self, tmp_path):
        model, dataset = detectors(), Rectangles(8)
        network_dissection(model, dataset, "1", cache_dir=tmp_path)
        both = network_dissection(model, dataset, ["1", "3"], cache_dir=tmp_path)
        assert both.to_dataframe().equals(network_dissection(model, dataset, ["1", "3"]).to_dataframe())
        assert len(list(tmp_path.iterdir())) == 2

    @pytest.mark.parametrize("change", ["weight", "buffer", "data", "length", "quantile", "exact", "n_top", "stride"])
    def test_whatever_it_depends_on_makes_it_new(self, change, tmp_path):
        model, dataset, options = net(), Rectangles(8), {}
        network_dissection(model, dataset, "deep", cache_dir=tmp_path)
        if change == "weight":
            model.conv.weight.data[0, 0, 0, 0] += 1e-6
        elif change == "buffer":
            model.norm.running_mean[0] += 1
        elif change == "data":
            dataset.images[5, 0, 0, 0] += 0.01
        elif change == "length":
            dataset = Rectangles(9)
        elif change == "stride":
            model.pool.stride = 1
        else:
            options = {"quantile": {"quantile": 0.01}, "exact": {"exact": True}, "n_top": {"n_top": 3}}[change]
        network_dissection(model, dataset, "deep", cache_dir=tmp_path, **options)
        assert len(list(tmp_path.iterdir())) == 2


class TestBadInput:
    @pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
    def test_a_number_that_is_none_is_named_by_unit_and_image(self, value):
        dataset, model = Rectangles(9), detectors()[:3]
        dataset.images[6, 3, 2, 2] = value
        with pytest.raises(ValueError, match=r"Got (nan|-?inf) of unit \d+ of layer '2' for image 6\. Check"):
            network_dissection(model, dataset, "2", batch_size=4)

    def test_minus_infinity_is_seen_too(self):
        dataset, model = Rectangles(9), nn.Sequential(nn.Conv2d(4, 1, 1, bias=False))
        model[0].weight.data.fill_(1.0)
        dataset.images[6, 3, 2, 2] = -torch.inf
        with pytest.raises(ValueError, match="Got -inf of unit 0 of layer '0' for image 6"):
            network_dissection(model, dataset, "0", batch_size=4)

    def test_a_dataset_needs_images_and_concepts(self):
        with pytest.raises(ValueError, match="`dataset` parameter of `network_dissection` must be of at least one"):
            network_dissection(detectors(), Listed([], CONCEPTS), "3")
        with pytest.raises(TypeError, match="must be a concept dataset"):
            network_dissection(detectors(), [1], "3")

    def test_a_bad_target_stops_it(self):
        image, _ = Rectangles(1)[0]
        with pytest.raises(ValueError, match=r"numbers of concepts of 'color' below 7\. Got 9"):
            network_dissection(detectors(), Listed([(image, {"color": 9})], CONCEPTS), "3")

    def test_layers_without_units_are_refused(self):
        model = nn.Sequential(nn.Conv2d(4, 2, 1), nn.Flatten(2))
        with pytest.raises(ValueError, match=r"layers that return \(B, units, h, w\) or \(B, units\); '1' does not"):
            network_dissection(model, Rectangles(3), "1")

    def test_layers_that_do_not_run_are_named(self):
        model = detectors()
        model.spare = nn.Identity()
        model.forward = lambda x: model[2](model[1](model[0](x)))
        with pytest.raises(LayerNotReachedError, match="spare"):
            network_dissection(model, Rectangles(3), "spare")

    @pytest.mark.parametrize(
        "options",
        [{"quantile": 1.5}, {"iou_threshold": -1}, {"n_top": 0}, {"batch_size": 0}, {"num_workers": -1}],
    )
    def test_numbers_out_of_range(self, options):
        with pytest.raises(ValueError, match=f"The `{next(iter(options))}` parameter of `network_dissection` must be"):
            network_dissection(detectors(), Rectangles(3), "3", **options)
