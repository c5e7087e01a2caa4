"""The inverse-set benchmark, in small."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks import _inverse_set_ablations as ablations
from benchmarks import _inverse_set_chains as chains
from benchmarks import _inverse_set_samplers as samplers
from benchmarks import inverse_set, tables
from benchmarks._inverse_set_claims import claims
from benchmarks._inverse_set_linear import linear_rows
from benchmarks._inverse_set_scores import Judge, measured, over_seeds
from benchmarks._inverse_set_world import World, _principal
from lightning_interp.functional.inverse_set import CodeGenerator
from lightning_interp.functional.synthesis import PixelSpace


class Halved(nn.Module):
    """The generator: a code is an image of 2 x 2 pixels at half contrast."""

    def forward(self, codes):
        return codes.view(-1, 1, 2, 2) / 2


@pytest.fixture
def world():
    """A neuron that says the mean of the image, and an encoder that says the image."""
    mean = nn.Conv2d(1, 1, 2, bias=False)
    nn.init.constant_(mean.weight, 0.25)
    net = nn.Sequential()
    net.add_module("block2", nn.Identity())
    net.add_module("score", mean)
    images = torch.linspace(-1, 1, 21)[:, None, None, None].expand(21, 1, 2, 2).clone()
    return World(
        net.eval(), CodeGenerator(Halved(), (4,), space=PixelSpace((0.5,), (0.5,)), valid=False), images, 1.0, 0.0
    )


@pytest.fixture
def task(world):
    sizes = {"n": 40, "bounds": 2.0, "seed": 0}
    return samplers.Task.at(world, ("score", 0), (0.6, 0.8), **sizes)


def means(drawn):
    return drawn.images.mean((1, 2, 3))


class TestTask:
    def test_its_interval_is_between_quantiles_of_the_training_images(self, task):
        assert task.interval == pytest.approx((0.2, 0.6))
        assert task.inside(torch.tensor([0.1, 0.3, 0.6, 0.7])).tolist() == [False, True, True, False]

    def test_fewer_starts_are_the_first_of_more_and_all_are_within_the_bounds(self, task):
        near = replace(task, bounds=0.5)
        assert near.start(50).abs().amax() == 0.5
        torch.testing.assert_close(task.start(8)[:4], task.start(4))
        assert not torch.equal(replace(task, seed=1).start(4), task.start(4))


class TestSamplers:
    def test_all_of_ours_are_inside(self, task):
        drawn = samplers.ours(task)
        assert task.inside(means(drawn)).all()
        assert len(drawn.images) == task.n
        assert drawn.codes.abs().amax() <= task.bounds
        assert drawn.steps >= drawn.walk >= task.n // samplers.CHAINS
        assert drawn.differentiated == 10 * drawn.steps

    def test_a_chain_without_control_climbs_and_one_with_it_stays(self, task):
        options = {"noise": 0.01, "condition": 0.1, "prior": 0.0}
        free = samplers.chain(task, **options)
        held = samplers.chain(task, towards=0.5, **options)
        assert means(free)[-10:].min() > 0.95  # the corner of the bounds
        assert task.inside(means(held)[-10:]).all()
        assert (free.steps, free.differentiated, len(free.images)) == (200, 2000, 40)

    def test_maximisation_ends_where_the_interval_begins(self, task):
        drawn = samplers.restarts(task)
        assert len(drawn.images) == task.n
        assert (means(drawn) >= task.interval[0]).all()
        climbed = torch.tensor([0.25]) * task.start(task.n).sum(1) / 2 < task.interval[0]
        assert (means(drawn)[climbed] < task.interval[0] + 0.05).all()
        assert drawn.differentiated <= 10 * drawn.steps

    def test_maximisation_has_no_more_steps_than_it_is_given(self, task):
        drawn = samplers.restarts(replace(task, interval=(0.9, 1.0), steps=5))
        assert (drawn.steps, len(drawn.images)) == (5, 10)

    def test_random_corners_are_corners(self, task):
        assert samplers.random_corners(task).codes.abs().unique().tolist() == [2.0]
        assert samplers.random_codes(task).codes.std() == pytest.approx(1, abs=0.1)


class TestJudge:
    def test_scores_are_those_of_a_slow_loop(self, world, task):
        values = torch.tensor([0.0, 0.3, 0.4, 0.55, 0.9])
        images = values[:, None, None, None].expand(5, 1, 2, 2)
        row = Judge(world)(task, samplers.Drawn(images, codes=2 * images.flatten(1)))
        inside = [0.3, 0.4, 0.55]
        pairs = [2 * abs(a - b) for a in inside for b in inside if a < b]
        assert row["in range"] == pytest.approx(0.6)
        assert row["diversity"] == pytest.approx(sum(pairs) / 3)
        assert row["nearest training image"] == pytest.approx((0 + 0 + 2 * 0.05) / 3, abs=1e-6)
        assert row["code size"] == pytest.approx((sum((2 * a) ** 2 for a in inside) / 3) ** 0.5)

    def test_a_training_image_is_not_its_own_neighbour(self, world, task):
        row = Judge(world)(task, samplers.training_images(task))
        assert row["nearest training image"] == pytest.approx(2 * 0.1)

    def test_what_is_about_no_image_is_left_out(self, world, task):
        row = Judge(world)(task, samplers.Drawn(torch.zeros(3, 1, 2, 2)))
        assert row["in range"] == 0
        assert not {"diversity", "nearest training image", "code size", "steps after seeds"} & set(row)
        assert row["diversity, all"] == 0

    def test_seeds_are_averaged_cell_by_cell(self):
        head = {"neuron": "a", "level": "b", "low": 0.0, "high": 1.0, "sampler": "c"}
        rows = [{**head, "seed": 0, "in range": 1.0, "diversity": 2.0}, {**head, "seed": 1, "in range": 0.0}]
        (row,) = over_seeds(rows)
        assert row["in range"] == 0.5
        assert row["in range sd"] == pytest.approx(0.5**0.5)
        assert row["diversity"] == 2
        assert "diversity sd" not in row


class TestChains:
    @pytest.mark.parametrize(
        ("found", "best"),
        [
            ([(0.4, 9.0), (0.6, 2.0), (0.9, 1.0)], 1),
            ([(0.1, 9.0), (0.3, 2.0), (0.2, 3.0)], 1),
        ],
    )
    def test_the_most_diverse_with_half_in_range_wins(self, found, best):
        rows = [{"in range": share, "diversity": diversity} for share, diversity in found]
        assert rows.index(max(rows, key=chains._worth)) == best

    def test_every_kind_gets_the_setting_that_is_marked(self, world, task):
        made, rows = chains.tuned(Judge(world), replace(task, steps=8), {"neuron": "x"})
        assert len(rows) == 2 * len(chains.SETTINGS)
        for kind, towards in chains.KINDS.items():
            (chosen,) = (row for row in rows if row["sampler"] == kind and row["chosen"])
            assert made[kind].keywords == {
                "towards": towards,
                **{name: chosen[name] for name in ("noise", "condition", "prior")},
            }


class TestAblations:
    def test_variants_change_what_they_say(self, world, task):
        made = ablations.variants((5,), 30, {"chain": samplers.chain})
        near = ablations.changed(made["codes within 1: ours"])(replace(task, interval=(0.2, 0.4)))
        assert near.codes.abs().amax() <= 1
        assert len(ablations.changed(made["n = 30"])(task).images) == 30
        rows = measured(Judge(world), [({}, task)], {"five": ablations.changed(made["ours, K = 5"])})
        assert rows[0]["differentiated"] == 5 * rows[0]["steps"]

    def test_one_start_is_less_diverse(self, world, task):
        judge = Judge(world)
        alone, apart = judge(task, ablations.from_one_start(task, repulsion=None)), judge(task, samplers.ours(task))
        assert alone["diversity"] < apart["diversity"]

    def test_all_to_the_end_takes_every_step(self, task):
        (variant,) = ablations.slow_variants(30, 1).values()
        drawn = ablations.changed(variant)(task)
        assert drawn.steps - drawn.walk == 100
        assert drawn.differentiated >= 30 * 100


ROW = {"neuron": "a", "level": "b", "seed": 0, "images": 20, "in range": 1.0, "diversity": 3.0}


class TestClaims:
    def text(self, **changes):
        own = {**ROW, "sampler": "ours", "steps after seeds": 3, **changes}
        other = {**ROW, "sampler": "chain", "diversity": 2.0, "diversity, all": 4.0}
        return claims([own, other], n=20, k=10)

    def test_what_holds_and_what_does_not(self):
        text = self.text()
        assert "All images in range: in 1 of 1 (1 to 1)." in text
        assert "at most 2 n / K: in 1 of 1 (1.5 to 1.5)." in text
        assert "chain (those in range): in 1 of 1 (1.5 to 1.5)." in text
        assert "in range or not): in 0 of 1 (0.75 to 0.75); not: a b, seed 0: 0.75." in text
        assert "training images (those in range): no case." in text

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"in range": 0.95}, "All images in range: in 0 of 1 (0.95 to 0.95); not: a b, seed 0: 0.95."),
            ({"images": 19}, "As many samples as wanted: in 0 of 1 (19 to 19)"),
            ({"steps after seeds": 5}, "at most 2 n / K: in 0 of 1 (2.5 to 2.5); not: a b, seed 0: 2.5."),
        ],
    )
    def test_each_can_fail(self, change, expected):
        assert expected in self.text(**change)


def test_principal_components_are_white():
    images = torch.randn(60, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 5.0)
    codes = _principal(images, 5)(images)
    torch.testing.assert_close(codes.T.cov(), torch.eye(5), atol=1e-4, rtol=1e-4)
    largest = torch.linalg.svdvals(images.flatten(1) - images.flatten(1).mean(0))[:5]
    back = torch.linalg.lstsq(codes, images.flatten(1) - images.flatten(1).mean(0)).solution
    torch.testing.assert_close(torch.linalg.svdvals(back), largest / 59**0.5)


def test_the_slab_is_filled():
    rows = list(linear_rows((0,), 200))
    assert {row["in range"] for row in rows} == {1.0}
    for row in rows:
        assert 0.3 < row["variance of samples over it"] < 6
        assert row["lowest"] <= row["variance of samples over it"] <= row["highest"]


@pytest.mark.slow
def test_every_part_writes_its_table(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["inverse_set.py"])
    inverse_set.main(["--quick", "--cache", str(tmp_path / "cache"), "--out", str(tmp_path)])
    found = {file.stem: json.loads(file.read_text()) for file in tmp_path.glob("*.json")}
    assert set(found) == {f"inverse_set{part}" for part in ("", "_tuning", "_ablations", "_linear")}
    rows = found["inverse_set"]["rows"]
    assert all(row["in range"] == 1 for row in rows if row["sampler"] == "ours")
    assert {row["sampler"] for row in rows} == {"ours", *chains.KINDS, *inverse_set.SAMPLERS}
    assert "All images in range: in 2 of 2 (1 to 1)." in found["inverse_set"]["notes"]
    lines = tables.inverse_set(rows)
    assert [line["images"] for line in lines] == list(dict.fromkeys(row["sampler"] for row in rows))
    assert lines[0]["in range"] == "100 %"
