import pytest
import torch
from torch import nn

from lightning_interp.datasets import ToyConcepts, ToyScenes
from lightning_interp.functional.dissection import network_dissection
from lightning_interp.functional.dissection.concept_vectors import Net2Vec
from lightning_interp.functional.dissection.net2vec import net2vec
from tests.functional.dissection.planted import DETECTED, Rectangles, detectors
from tests.reference.network_dissection import activations, intersection_over_union

QUICK = {"quantile": 0.06, "epochs": 10, "n_permutations": 200}
THINGS = ["red or blue", "green or pink"]


@pytest.fixture(scope="module")
def found():
    return net2vec(detectors(), Rectangles(60), "3", concepts=[*DETECTED, *THINGS], top_units=(1, 2), **QUICK)


def row(found, name, category):
    table = found.to_dataframe()
    return table[(table["concept"] == name) & (table["category"] == category)].iloc[0]


@pytest.mark.parametrize("name", THINGS)
def test_a_combination_that_no_unit_has_is_recovered(found, name):
    thing = row(found, name, "thing")
    assert thing["unit_iou"] < 0.7
    assert thing["iou"] == thing["iou_top_2"] == 1.0
    parts = {DETECTED.index(part) for part in name.split(" or ")}
    i = found.names.index(name)
    assert set((found.weights[i] > 0).nonzero().flatten().tolist()) == parts
    assert thing["unit"] in parts


@pytest.mark.parametrize("name", DETECTED)
def test_a_unit_that_is_the_concept_needs_no_other(found, name):
    color = row(found, name, "color")
    assert color["unit"] == DETECTED.index(name)
    assert color["unit_iou"] == color["iou_top_1"] == color["iou"] == 1.0
    assert color["p_value"] == pytest.approx(1 / 201)


def test_columns_and_sizes(found):
    assert found.top_units == (1, 2, 7)
    assert found.weights.shape == (len(found.names), 7)
    assert torch.equal(found.iou_by_size[-1], found.iou)
    assert [name for name in found.to_dataframe().columns if name.startswith("iou_top")] == [
        "iou_top_1", "iou_top_2", "iou_top_7",
    ]  # fmt: skip


def test_corrected_p_values_are_those_of_benjamini_and_hochberg(found):
    tested = [(p, i) for i, p in enumerate(found.p_value.tolist()) if p == p]
    least = 1.0
    for rank, (p, i) in reversed(list(enumerate(sorted(tested), 1))):
        least = min(least, p * len(tested) / rank)
        assert float(found.adjusted_p[i]) == pytest.approx(least)


def test_held_out_numbers_are_those_of_a_loop_over_the_held_out_images():
    data, model, concepts = Rectangles(40), detectors(), Rectangles.concepts
    found = net2vec(model, data, "3", **QUICK)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    items = [data[i] for i in order[:12].tolist()]
    maps = activations(model, [image for image, _ in items], "3")
    units = intersection_over_union(maps, found.levels, items, concepts)
    evidence = [found.evidence(a[None])[0] for a in maps]
    combined = intersection_over_union(evidence, torch.zeros(len(found.names)), items, concepts)
    for i in range(len(found.names)):
        if not found.iou[i].isnan():
            assert float(found.unit_iou[i]) == float(units[found.unit[i], i])
            # Cut here after the bias is taken off, there before: a pixel on the edge may fall to either side.
            assert float(found.iou[i]) == pytest.approx(float(combined[i, i]), abs=2e-3)
        else:
            assert not found.n_images[i] or found.weights[i].abs().sum() == 0


def test_combinations_beat_the_best_single_unit_on_toy_scenes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 24, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
    data = ToyConcepts(ToyScenes(60))
    names = ToyScenes.concepts["color"][1:]
    found = net2vec(model, data, "2", concepts=names, quantile=0.02, epochs=15, n_permutations=50)
    known = ~found.iou.isnan()
    assert int(known.sum()) >= 5
    assert found.iou[known].mean() > 1.2 * found.unit_iou[known].mean()
    assert (found.iou >= found.unit_iou)[known].float().mean() > 0.6


def test_the_seed_decides_and_batches_do_not():
    arguments = (nn.Sequential(nn.MaxPool2d(2), nn.ReLU()), Rectangles(30), "1")
    quick = {**QUICK, "epochs": 2}
    state = torch.get_rng_state()
    one, two, other = (
        net2vec(*arguments, **quick, batch_size=size, seed=seed) for size, seed in ((32, 0), (7, 0), (32, 1))
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert one.to_dataframe().equals(two.to_dataframe())
    assert torch.equal(one.weights, two.weights)
    assert not torch.equal(one.weights, other.weights)


def test_given_levels_are_used_and_other_sizes_and_one_number_of_units_work():
    data = [Rectangles(1, size=(9 + i % 3, 12), seed=i)[0] for i in range(12)]

    class Mixed(list):
        concepts = Rectangles.concepts

    levels = torch.full((7,), 0.1)
    found = net2vec(detectors(), Mixed(data), "3", levels=levels, top_units=3, **{**QUICK, "epochs": 2})
    assert torch.equal(found.levels, levels)
    assert found.top_units == (3,)
    assert int((found.weights != 0).sum(1).max()) == 3


def test_saved_and_loaded_it_is_the_same(found, tmp_path):
    found.save(tmp_path / "vectors.safetensors")
    again = Net2Vec.load(tmp_path / "vectors.safetensors")
    assert again.to_dataframe().equals(found.to_dataframe())
    assert (again.layer, again.names, again.categories, again.top_units) == (
        found.layer, found.names, found.categories, found.top_units,
    )  # fmt: skip
    for name in ("levels", "weights", "bias", "cut", "iou_by_size"):
        assert torch.equal(getattr(again, name), getattr(found, name))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"concepts": ["rad"]}, r"names of concepts of the dataset.* Did you mean 'red'"),
        ({"concepts": []}, "names of concepts of the dataset, at least one"),
        ({"layer": "*"}, "one layer; this matches 4"),
        ({"held_out": 0.0}, "leaves at least one to fit and one to measure"),
        ({"held_out": 1.0}, "leaves at least one to fit and one to measure"),
        ({"top_units": 0}, "`top_units` parameter of `net2vec`"),
        ({"top_units": (1, 0)}, "`top_units` parameter of `net2vec`"),
        ({"epochs": 0}, "`epochs` parameter"),
        ({"lr": -1.0}, "`lr` parameter"),
        ({"max_bytes": 1000}, "take more than .* bytes. Got 1000. Use a deeper layer"),
    ],
)
def test_bad_input(options, match):
    with pytest.raises(ValueError, match=match):
        net2vec(detectors(), Rectangles(6), **{"layer": "3", **QUICK, **options})


def test_the_single_units_are_those_of_network_dissection():
    data, model = Rectangles(40), detectors()
    found = net2vec(model, data, "3", concepts=["red", *THINGS], **QUICK)
    whole = network_dissection(model, data, "3", quantile=0.06).to_dataframe()
    assert whole["concept"][int(found.unit[0])] == "red"
