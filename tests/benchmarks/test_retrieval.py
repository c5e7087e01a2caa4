"""The retrieval benchmark, in small."""

import json
from dataclasses import replace
from itertools import pairwise, permutations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import vgg16

from benchmarks import _retrieval_claims as claims
from benchmarks import _retrieval_index as indices
from benchmarks import _retrieval_paper as paper
from benchmarks import _retrieval_real as real
from benchmarks import _retrieval_scores as scores
from benchmarks import _retrieval_streets as drawing
from benchmarks import _retrieval_time as times
from benchmarks import retrieval
from benchmarks._localization_scenes import Subject
from benchmarks._retrieval_worlds import World, category_world, instance_world
from lightning_interp.datasets.image_tensors import Normalize
from lightning_interp.functional.retrieval.average_precision import average_precision
from lightning_interp.functional.retrieval.descriptors import describe_images
from lightning_interp.hooks import preserved_rng
from tests.data import oxford_paris, voc

AS_IT_IS = Normalize((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
TINY = replace(retrieval.QUICK, images=16, views=2, others=24)


@pytest.fixture(scope="module")
def subject():
    with preserved_rng(0):
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 12)]
        net = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4, padding=2), nn.ReLU(), *head)
    return Subject("tiny", net.eval(), "1", (32, 64), AS_IT_IS, classes=True)


@pytest.fixture(scope="module")
def categories():
    return category_world(1, side=32, n=16, n_queries=1, n_others=24)


@pytest.fixture(scope="module")
def streets():
    return instance_world(1, side=48, families=2, orders=2, views=2, n_queries=1, n_others=6)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("retrieval")
    for name in ("oxford5k", "paris6k"):
        oxford_paris.write(root / name, name)
    voc.write(root / "voc", year=2010, lists={"trainval": 30})
    folders = [root / name for name in ("oxford5k", "paris6k", "voc")]
    return real.Sources(*folders, {"vgg16": root}, side=32, box_side=64)


def planted(positives, groups, n=6):
    """Without pictures: what is measured is known."""
    nothing = torch.empty(0, 3, 8, 16)
    boxes = torch.empty(len(positives), 4)
    return World("instances", torch.empty(n, 3, 8, 16), nothing, boxes, positives, nothing, groups, positives)


def measured(method, values, groups, *, dim=None, box=None):
    setting = scores.Setting(method, dim=dim)
    values = torch.tensor(values).repeat(3, 1)
    return scores.Scores(setting, box or setting.boxes[0], values, torch.tensor(groups), 0.25)


class TestWorlds:
    def test_the_shape_of_a_world_of_categories(self, categories):
        assert categories.images.shape == (16, 3, 32, 64)
        assert categories.queries.shape == (12, 3, 32, 64)
        assert categories.others.shape == (24, 3, 32, 64)
        assert sorted(categories.groups) == list(range(12))
        assert bool((categories.boxes[:, 2] <= 32).all()), "the object that is meant is on the left"

    def test_every_picture_shows_two_classes(self, categories):
        shown = torch.zeros(16, dtype=torch.long)
        for positives in categories.positives:
            shown[list(positives)] += 1
        assert shown.tolist() == [2] * 16

    def test_streets_are_found_within_their_family(self, streets):
        assert streets.images.shape == (8, 3, 48, 96)
        assert streets.positives == ((0, 1), (2, 3), (4, 5), (6, 7))
        assert streets.alike == ((0, 1, 2, 3),) * 2 + ((4, 5, 6, 7),) * 2
        assert streets.groups == (0, 0, 1, 1)

    def test_worlds_come_back_and_differ_by_seed(self, streets):
        sizes = {"side": 48, "families": 2, "orders": 2, "views": 2, "n_queries": 1, "n_others": 6}
        assert torch.equal(instance_world(1, **sizes).images, streets.images)
        assert not torch.equal(instance_world(2, **sizes).images, streets.images)

    def test_orders_differ_in_who_stands_beside_whom(self):
        neighbours = {frozenset(frozenset(pair) for pair in pairwise(order)) for order in drawing.ORDERS.tolist()}
        assert len(neighbours) == len(drawing.ORDERS) == 12

    def test_streets_of_a_family_are_made_of_the_same_paint(self, monkeypatch):
        """Seen from one place and without backdrop and clutter, they have as much of every colour."""
        uniforms = drawing.uniforms
        monkeypatch.setattr(drawing, "paint_scenes", lambda view, *rest: None)
        monkeypatch.setattr(drawing, "paint_blob", lambda view, draws, largest: None)
        monkeypatch.setattr(
            drawing,
            "uniforms",
            lambda seed, stream, rows, n: uniforms(seed, stream, 0 * rows if stream == drawing._PICTURES else rows, n),
        )
        images, boxes = drawing.draw_streets(3, torch.tensor([0, 1, 2, 3]), 2, 96)
        sums = images.sum((2, 3))
        torch.testing.assert_close(sums[0], sums[1], rtol=0.01, atol=0)
        assert float((images[0] - images[1]).abs().mean()) > 0.02
        assert not torch.allclose(sums[0], sums[2], rtol=0.01)
        assert torch.equal(boxes[0], boxes[1])


class TestScores:
    def test_maps_that_are_computed_once_give_the_descriptors_of_the_network(self, subject, categories):
        seen = scores.see(subject, categories)
        for method in ("nmf_vtu", "gem", "rmac"):
            ours = describe_images(scores._ONLY_MAPS, [seen.maps], method, layer="0", k=2).vectors
            whole = describe_images(subject.net, [categories.images], method, layer="1", k=2).vectors
            torch.testing.assert_close(ours, whole, rtol=1e-4, atol=1e-5)

    def test_each_use_of_the_box_is_measured(self, subject, categories):
        found = scores.measured(scores.Setting("nmf_v", 2), [scores.see(subject, categories)] * 2)
        assert [each.box for each in found] == ["factors", "crop"]
        assert found[0].precision.shape == (3, 24)
        assert found[0].by_group().shape == (3, 24), "worlds do not share groups"
        assert bool(((found[0].precision >= 0) & (found[0].precision <= 1)).all())
        torch.testing.assert_close(found[0].precision[:, :12], found[0].precision[:, 12:])

    def test_precision_of_rankings_that_are_known(self):
        database = torch.eye(6)
        queries = torch.tensor([[0.9, 0.8, 0.7, 0, 0, 0], [0, 0, 0, 0.7, 0.8, 0.9]])
        found = scores.precision(queries, database, planted(((0, 1), (3,)), (0, 1)))
        torch.testing.assert_close(found[0], torch.tensor([1, 1 / 3]))

    def test_the_best_on_another_world_is_chosen(self, monkeypatch):
        def of(setting, worlds, boxes):
            right = (setting.k == 6) + (setting.dim == 8)
            return [measured(setting.method, [0.1 + 0.3 * right], [0])]

        monkeypatch.setattr(scores, "measured", of)
        world = type("Seen", (), {"world": planted(((0,),), (0,))})
        assert scores.chosen("nmf_v", world, (2, 6), (4, 8)) == scores.Setting("nmf_v", 6, 8)
        assert scores.chosen("mac", world, (2, 6), (4, 8)) == scores.Setting("mac", 4, 8)


class TestClaims:
    def test_what_a_random_order_reaches(self):
        for n, n_positives in ((1, 1), (4, 1), (5, 3)):
            orders = [average_precision(order, range(n_positives)) for order in permutations(range(n))]
            assert claims.blind_precision(n_positives, n) == pytest.approx(sum(orders) / len(orders))

    def test_a_world_has_its_references(self, streets, categories):
        chance, alike = claims.reference_rows([streets])
        assert chance["mAP"] == pytest.approx(100 * claims.blind_precision(2, 8))
        assert alike["mAP"] == pytest.approx(100 * claims.blind_precision(2, 4))
        assert len(claims.reference_rows([categories])) == 1

    def test_differences_are_paired_by_group(self):
        ours = measured("nmf_vtu", [0.5, 0.7, 0.2, 0.4], [0, 0, 1, 1])
        theirs = measured("mac", [0.3, 0.5, 0.1, 0.3], [0, 0, 1, 1])
        elsewhere = measured("nmf_v", [1.0] * 4, [0, 0, 1, 1], box="crop")
        (row,) = claims.claim_rows("instances", [ours, theirs, elsewhere])
        assert (row["other"], row["groups"], row["it is"]) == ("mac", 2, "above")
        assert row["difference"] == pytest.approx(15)
        assert row["low"] == pytest.approx(10)
        assert row["high"] == pytest.approx(20)

    def test_the_verdict_follows_the_interval(self):
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(30, generator=generator) * 0.1
        words = [claims.verdict(noise - noise.mean() + shift)["it is"] for shift in (0.1, 0.0, -0.1)]
        assert words == ["above", "open", "below"]

    def test_errors_are_over_groups(self):
        row = claims.score_row(measured("nmf_v", [0.2, 0.4, 0.6, 0.8], [0, 0, 1, 1]))
        assert row["mAP"] == pytest.approx(50)
        assert row["mAP s.e."] == pytest.approx(20)
        assert row["no factor in the box"] == 25


class TestTime:
    def test_all_descriptors_are_timed_that_the_network_allows(self, subject):
        images = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(0))
        timed = times.Timed("tiny", subject.net, "1", 32)
        rows = list(times.network_rows(timed, images, k=2, repeats=1))
        assert [row["method"] for row in rows] == list(scores.METHODS)
        assert rows[0]["error, ours"] == pytest.approx(rows[0]["error, scikit-learn"], abs=0.01)
        no_head = times.Timed("tiny", nn.Sequential(*subject.net[:2], nn.Flatten()), "1", 32)
        assert "cam" not in {row["method"] for row in times.network_rows(no_head, images, k=2, repeats=1)}

    def test_the_matrices_are_those_of_the_descriptors(self, subject):
        images = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(0))
        rows = times.nmf_matrices(times.Timed("tiny", subject.net, "1", 32), images)
        found = times._ours(rows, 2).v
        v = nn.functional.normalize(describe_images(subject.net, [images], layer="1", k=2).vectors, dim=1)
        torch.testing.assert_close(nn.functional.normalize(found.sum(1), dim=1), v, rtol=1e-3, atol=1e-4)


class TestIndex:
    def test_exact_search_finds_all(self):
        pytest.importorskip("faiss", reason="comes with `pip install lightning-interp[retrieval]`")
        torch_row, exact, few = indices.index_rows(200, 8, clusters=5, probes=())
        assert (torch_row["recall"], exact["recall"]) == (1, 1)
        assert few["search"] == "FAISS, exact", "too few to approximate"

    def test_queries_have_neighbours(self):
        vectors, queries = indices.clustered(2000, 128, clusters=20, seed=0)
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2000))
        similar = queries @ vectors.T
        assert float(similar.amax(1).min()) > 0.35
        assert float(similar.median()) < 0.1


class TestReal:
    def test_the_tables_of_the_thesis_are_complete(self):
        assert len(paper.INSTANCES) == 2 * 2 * 6
        assert real.VOCRetrieval.classes == paper.VOC_CLASSES
        for key, values in paper.CATEGORIES.items():
            assert len(values) == 20
            assert sum(values) / 20 == pytest.approx(paper.CATEGORY_MEANS[key], abs=0.051)

    def test_without_data_it_says_so(self, tmp_path):
        none = tmp_path / "none"
        (found,) = real.real_rows(real.Sources(none, none, none, {"vgg16": none}, 64))
        assert found[0] == "real"
        assert len(found[1]) == 5
        assert all(row["state"].startswith("skipped: ") and "no weights" not in row["state"] for row in found[1])

    @pytest.mark.slow
    def test_tables_are_made_where_data_and_weights_are(self, sources, subject, monkeypatch):
        monkeypatch.setattr(real, "load_network", lambda name, ckpt: subject.net)
        monkeypatch.setitem(real.LAYERS, "vgg16", subject.layer)
        made = {name: rows for name, rows, _ in real.real_rows(sources)}
        tables = {"oxford5k", "paris6k", "oxford5k_boxes", "paris6k_boxes", "voc", "real"}
        assert set(made) == tables
        assert [row["method"] for row in made["oxford5k"]] == ["mac", "rmac", "crow", "cam", "nmf_v", "nmf_vtu"]
        assert {row["whitened"] for row in made["oxford5k"] + made["voc"]} == {"yes"}
        assert made["paris6k"][-1]["thesis, expanded"] == 83.8
        assert made["oxford5k_boxes"][0]["pairs"] == 11 * 5 * 4
        assert made["paris6k_boxes"][0]["thesis"] == 67.6
        means = [row["thesis"] for row in made["voc"] if row["class"] == "mean"]
        assert means == [31.1, 49.6, 55.7, 63.7, 76.2]
        numbers = [row[key] for row in made["oxford5k"] + made["voc"] for key in ("mAP", "mAP@30") if key in row]
        assert all(0 <= number <= 100 for number in numbers)

    def test_what_the_rankings_say_is_what_is_measured(self, sources):
        data = sources.buildings("oxford5k")
        perfect = torch.stack(
            [
                torch.tensor([*good, *sorted(set(range(len(data))) - {*good, *junk}), *junk])
                for good, junk in (query.relevance("original") for query in data.queries)
            ]
        )
        assert real.mean_ap(data, perfect) == pytest.approx(100)
        assert real.mean_ap(data, perfect, rule="trapezoid") == pytest.approx(100)
        assert real.mean_ap(data, perfect.flip(1)) < 20

    def test_each_whitens_by_the_other(self, sources):
        names = [sources.foreign(name).name for name in ("oxford5k", "paris6k", "voc")]
        assert names == ["paris6k", "oxford5k", "paris6k"]
        alone = replace(sources, oxford=sources.voc)
        assert alone.foreign("paris6k") is None

    @pytest.mark.slow
    def test_a_network_of_the_thesis(self, sources, tmp_path, monkeypatch):
        with preserved_rng(0):
            save_file(vgg16().state_dict(), tmp_path / "vgg16.safetensors")
        monkeypatch.setattr(real, "METHODS", ("cam", "nmf_vtu"))
        ready = replace(sources, paris=tmp_path, voc=tmp_path, weights={"vgg16": tmp_path / "vgg16.safetensors"})
        made = {name: rows for name, rows, _ in real.real_rows(ready)}
        assert [row["method"] for row in made["oxford5k"]] == ["nmf_vtu"], "CAM does not know its classifier"
        assert made["oxford5k"][0]["whitened"] == "no", "there is nothing to learn it on"
        assert set(made) == {"oxford5k", "oxford5k_boxes", "real"}


def test_all_methods_on_both_worlds(subject):
    tiny = replace(subject, size=(32, 64))
    for kind in ("categories", "instances"):
        rows, verdicts = retrieval.world_rows(TINY, tiny, kind)
        named = {(row["method"], row.get("box"), row.get("whitened to")) for row in rows}
        assert {("nmf_v", "factors", 4), ("nmf_vtu", "crop", None), ("cam", "crop", 4)} <= named
        assert len(verdicts) == 2 * 2 * (len(scores.METHODS) - 1)


@pytest.mark.slow
def test_every_part_writes_its_table(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["retrieval.py"])
    nothing = ("--oxford", "none", "--paris", "none", "--voc", "none", "--squeezenet", "none")
    retrieval.main(["--quick", *nothing, "--out", str(tmp_path)])
    found = {file.stem: json.loads(file.read_text()) for file in tmp_path.glob("*.json")}
    names = {"retrieval", *(f"retrieval_{name}" for name in ("claims", "time", "index", "real"))}
    assert set(found) == names
    assert "SqueezeNet takes no part" in found["retrieval"]["notes"]
    assert all(row["times forward"] > 0 for row in found["retrieval_time"]["rows"])
