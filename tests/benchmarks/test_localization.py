"""The localization benchmark, in small."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision.models import squeezenet1_0

from benchmarks import _localization_methods as methods
from benchmarks import _localization_paper as paper
from benchmarks import _localization_real as real
from benchmarks import _localization_scores as scores
from benchmarks import _localization_time, localization
from benchmarks._localization_scenes import Subject, box_of, scene_sets
from benchmarks._synthesis_peers import takes_part
from lightning_interp.datasets import ToyScenes
from lightning_interp.datasets.image_tensors import Normalize
from lightning_interp.functional.localization import cosegment
from lightning_interp.hooks import preserved_rng
from tests.data import icoseg, pascal_part, voc

AS_IT_IS = Normalize((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def build():
    with preserved_rng(0):
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 12)]
        return nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU(), *head).eval()


@pytest.fixture
def subject():
    return Subject("tiny", build(), "1", (32, 64), AS_IT_IS, classes=True)


@pytest.fixture
def scenes(subject):
    return next(scene_sets(subject, (1,), classes=1, n=4))


@pytest.fixture
def grad_cam():
    there, why = takes_part(methods.GRAD_CAM, torch.device("cpu"))
    if not there:
        pytest.skip(reason=f"the peer it compares with comes with `pip install .[bench]`: {why}")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    with preserved_rng(0):
        state = squeezenet1_0().state_dict()
    file = tmp_path_factory.mktemp("weights") / "squeezenet1_0.safetensors"
    save_file(state, file)
    return {"squeezenet1_0": file}


def run(monkeypatch, tmp_path, *words):
    monkeypatch.setattr("sys.argv", ["localization.py"])
    localization.main(["--quick", *words, "--out", str(tmp_path)])
    return {file.stem: json.loads(file.read_text()) for file in tmp_path.glob("*.json")}


class TestScenes:
    def test_a_set_is_of_one_class_and_its_truth_fits(self, subject):
        first, second = scene_sets(subject, (5,), classes=2, n=3)
        assert (first.label, second.label) == (0, 1)
        world = ToyScenes(36, size=(32, 64), seed=5, split="test")
        for i, index in enumerate((1, 13, 25)):
            truth = world.truth(index)
            torch.testing.assert_close(second.images[i], world[index][0])
            assert torch.equal(second.masks[i], truth.object_mask)
            assert second.boxes[i].tolist() == [list(map(float, truth.object_box))]
            shown = {name for name, part in zip(second.part_names, second.parts[i], strict=True) if part.any()}
            assert shown == set(truth.part_boxes)

    def test_an_empty_mask_has_no_box(self):
        assert box_of(torch.zeros(3, 4, dtype=torch.bool)).shape == (0, 4)


class TestMethods:
    def test_each_yields_masks_of_all_images(self, subject, scenes):
        for name, method in methods.object_methods(classes=True, peers=False).items():
            masks = method(subject, scenes)
            loose, tight = masks(0.25, "image"), masks(0.75, "image")
            assert loose.shape == tight.shape == (4, 32, 64), name
            assert loose.dtype == torch.bool
            if name != "NMF, one-shot":  # another threshold chooses other factors
                assert bool((tight <= loose).all()), name

    def test_one_shot_is_what_cosegment_does(self, subject, scenes):
        masks = methods.object_methods(classes=True, peers=False)["NMF, one-shot"](subject, scenes)
        truth = {0: scenes.masks[0].long()}
        found = cosegment(subject.net, scenes.images, methods.ONE_SHOT, layer="1", truth=truth, threshold=0.4)
        assert torch.equal(masks(0.4, "set"), found.masks)

    def test_a_scale_of_the_image_makes_every_image_count(self):
        maps = torch.tensor([[[0.2, 0.4]], [[0.1, 1.0]]])
        assert methods.scaled(maps, "set").amax((1, 2)).tolist() == [pytest.approx(0.4), 1.0]
        assert methods.scaled(maps, "image").amax((1, 2)).tolist() == [1.0, 1.0]

    def test_peers_leave_no_hooks_and_no_gradients(self, grad_cam, subject, scenes):
        with_peers = methods.object_methods(classes=True, peers=True)
        for name in set(with_peers) - set(methods.object_methods(classes=True, peers=False)):
            assert with_peers[name](subject, scenes)(0.5, "set").any(), name
        assert not any(module._forward_hooks for module in subject.net.modules())
        assert all(parameter.grad is None for parameter in subject.net.parameters())

    def test_grad_cam_of_an_averaging_network_is_its_cam(self, grad_cam, subject, scenes):
        maps = methods._grad_cam(subject, scenes, label=3)
        cells = torch.einsum("nchw,c->nhw", subject.net[:2](scenes.images), subject.net[4].weight[3]).relu().detach()
        cells = cells - cells.amin((1, 2), keepdim=True)
        cells = cells / cells.amax((1, 2), keepdim=True)
        large = nn.functional.interpolate(cells[:, None], (32, 64), mode="bilinear")[:, 0]
        assert (maps - large).abs().mean() < 0.02  # it scales the enlarged maps once more

    def test_without_the_package_its_methods_are_left_out(self):
        assert not any("grad-cam" in name.lower() for name in methods.object_methods(classes=True, peers=False))
        assert set(methods.part_methods(peers=False)) == {"NMF", "PCA", "strongest channels"}


class TestScores:
    def test_the_truth_itself_is_perfect_and_its_complement_is_not(self, scenes):
        cuts = len(scores.CUTS)
        perfect = scores.object_scores(lambda threshold, scale: scenes.masks, scenes)
        assert torch.equal(perfect, torch.ones(cuts, 2))
        wrong = scores.object_scores(lambda threshold, scale: ~scenes.masks, scenes)
        assert torch.equal(wrong[:, 0], torch.zeros(cuts))
        assert torch.equal(scores.part_scores(scenes.parts.float(), scenes), torch.ones(cuts, 2))

    def test_the_image_that_one_shot_has_seen_does_not_count(self, scenes):
        masks = scenes.masks.clone()
        masks[0] = ~masks[0]
        assert float(scores.object_scores(lambda threshold, scale: masks, scenes).amin()) == 1

    def test_cuts_are_chosen_on_the_calibration_sets_alone(self, subject, scenes, monkeypatch):
        def planted(_, given):
            """0.4 is right on one set, 0.5 on the other."""
            right = 0.4 if given is scenes else 0.5
            return lambda threshold, scale: given.masks & (threshold == right)

        monkeypatch.setattr(scores, "object_methods", lambda **options: {scores.OURS: planted})
        (same,) = scores.object_rows(subject, [scenes], [scenes], peers=False)
        (other,) = scores.object_rows(subject, [scenes], [replace(scenes)], peers=False)
        assert (same["IoU"], same["cut"]) == (1.0, "0.4 of the set")
        assert (other["IoU"], other["cut"]) == (0.0, "0.4 of the set")

    def test_differences_are_paired(self):
        ours = torch.tensor([0.2, 0.8])
        assert scores.against(ours, ours) == {}
        found = scores.against(ours + 0.1, ours)
        assert found["minus NMF k=1"] == pytest.approx(0.1)
        assert found["s.e."] == pytest.approx(0, abs=1e-6)


class TestTime:
    def test_the_error_of_dff_is_that_of_its_product(self, grad_cam):
        generator = torch.Generator().manual_seed(0)
        u, v = torch.rand(2 * 6, 1, generator=generator), torch.rand(1, 5, generator=generator)
        exact = (u @ v).view(2, 2, 3, 5).movedim(3, 1).numpy()
        assert _localization_time.dff_error(exact, 1) < 1e-3
        noisy = torch.rand(2, 5, 2, 3, generator=generator).numpy()
        assert 0.05 < _localization_time.dff_error(noisy, 1) < 0.8

    def test_ours_and_dff_reach_the_same_error(self, grad_cam, subject, scenes):
        row = _localization_time.time_row(subject, scenes.images, 3, repeats=1, peers=True)
        assert row["error, ours"] == pytest.approx(row["error, DFF"], abs=0.005)
        assert row["ours, ms per image"] > 0


class TestReal:
    def test_the_tables_of_the_thesis_are_complete(self):
        assert len(paper.VOC) == 19  # chairs are not legible
        assert all([len(row) for row in rows] == [1, 2, 3, 4] for rows in paper.PARTS.values())
        assert set(paper.PART_GROUPS) == {*paper.PARTS, *paper.ANIMALS}
        means = [sum(values) / 20 for values in zip(*paper.VOC.values(), strict=True)]
        for mean, theirs in zip(means, paper.VOC_MEAN, strict=True):
            assert 0 < theirs - mean < 1  # what is missing is one class

    def test_tables_are_made_where_data_and_weights_are(self, weights, tmp_path):
        icoseg.write(tmp_path / "icoseg", {"021 Elephants": 3, "brown_bear": 2})
        voc.write(tmp_path / "voc", year=2007, lists={"trainval": 30})
        lists = {"train": 12, "val": 60}
        pascal_part.write(tmp_path / "part", lists=lists)
        voc.write(tmp_path / "part", year=2010, lists=lists)
        folders = [tmp_path / name for name in ("icoseg", "voc", "part")]
        made = {name: rows for name, rows, _ in real.real_rows(real.Sources(*folders, weights, 64))}
        assert list(made) == ["icoseg", "voc", "pascal_part", "pascal_part_animals", "real"]
        elephants, bear = sorted(made["icoseg"], key=lambda row: row["group"])
        assert (elephants["thesis, VGG-19"], elephants["its one-shot, ResNet-50"]) == (65, 77)
        assert "thesis, VGG-19" not in bear
        assert made["voc"][-1]["class"] == "mean"
        assert {row["K"] for row in made["pascal_part"]} == {1, 2, 3, 4}
        assert [row["part"] for row in made["pascal_part_animals"]] == ["head", "neck+torso", "leg"]
        assert all(0 <= row["IoU"] <= 100 for row in made["icoseg"] + made["pascal_part_animals"])

    def test_pictures_without_masks_are_factorised_and_nothing_else(self, weights, tmp_path):
        (tmp_path / "bears").mkdir()
        for i, picture in enumerate(ToyScenes(3, size=64).render()):
            Image.fromarray(picture.movedim(0, 2).numpy()).save(tmp_path / "bears" / f"{i}.png")
        sources = real.Sources(tmp_path, tmp_path / "none", tmp_path / "none", weights, 64)
        made = {name: rows for name, rows, _ in real.real_rows(sources)}
        assert list(made) == ["pictures", "real"]
        errors = [row["relative error"] for row in made["pictures"]]
        assert errors == sorted(errors, reverse=True)
        assert sum(row["state"].startswith("skipped") for row in made["real"]) == 4


def test_every_part_writes_its_table(monkeypatch, tmp_path):
    nothing = ("--icoseg", "none", "--voc", "none", "--pascal_part", "none", "--squeezenet", "none")
    found = run(monkeypatch, tmp_path, *nothing)
    names = {"localization", "localization_parts", "localization_time", "localization_real"}
    assert set(found) == names
    assert all((tmp_path / f"{name}.md").exists() for name in names)
    assert "SqueezeNet takes no part" in found["localization"]["notes"]
    assert all(0 <= row["IoU"] <= 1 and 0 <= row["CorLoc"] <= 1 for row in found["localization"]["rows"])
    assert {row["k"] for row in found["localization_parts"]["rows"]} == {1, 2}
    assert len(found["localization_real"]["rows"]) == 6
