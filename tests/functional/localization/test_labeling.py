import pytest
import torch

from lightning_interp.functional.localization.heatmap import nmf_heatmaps
from lightning_interp.functional.localization.labeling import label_factors
from tests.functional.localization.test_cosegmentation import planted_network, planted_regions


def mixed():
    """Heatmaps of a random layer, whose factors overlap."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU())
    torch.nn.init.normal_(net[0].weight, generator=torch.Generator().manual_seed(0))
    return nmf_heatmaps(net, torch.rand(4, 3, 9, 8, generator=torch.Generator().manual_seed(1)), k=4)


def by_hand(maps, names, classes, threshold):
    labels = torch.zeros(len(maps), *maps.shape[2:]).long()
    for i, row, column in torch.ones_like(labels).nonzero().tolist():
        reached = [(float(maps[i, number, row, column]), number) for number in names]
        reached = [(value, number) for value, number in reached if value >= threshold]
        if reached:
            labels[i, row, column] = classes.index(names[max(reached, key=lambda pair: pair[0])[1]])
    return labels


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.75])
def test_the_strongest_factor_above_the_threshold_names_the_pixel(threshold):
    heatmaps, names = mixed(), {3: "leg", 0: "head", 2: "leg"}
    found = label_factors(heatmaps, names, threshold=threshold)
    assert found.names == ("background", "leg", "head")
    expected = by_hand(heatmaps.maps, names, found.names, threshold)
    assert torch.equal(found.masks, expected)
    assert expected.unique().tolist() == [0, 1, 2]


def test_planted_regions_are_labelled_exactly():
    images = planted_regions()
    heatmaps = nmf_heatmaps(planted_network(3), images, 3)
    place = (heatmaps.maps * images[:, :1]).sum((0, 2, 3)).argmax().item()
    rest = [number for number in range(3) if number != place]
    found = label_factors(heatmaps, {place: "head", rest[0]: "body", rest[1]: "body"})
    assert torch.equal(found.masks == 1, images[:, 0].bool())
    assert torch.equal(found.masks == 2, images[:, 1:].amax(1).bool())


def test_a_factor_named_background_takes_pixels_away():
    heatmaps = mixed()
    plain = label_factors(heatmaps, {0: "head"}, threshold=0.2)
    found = label_factors(heatmaps, {0: "head", 1: "sky"}, threshold=0.2, background="sky")
    assert found.names == ("sky", "head")
    stronger = heatmaps.maps[:, 1] > heatmaps.maps[:, 0]
    assert torch.equal(found.masks == 1, (plain.masks == 1) & ~stronger)
    assert (found.masks == 1).sum() < (plain.masks == 1).sum()


@pytest.mark.parametrize(
    ("names", "options", "text"),
    [
        ({}, {}, "`names` parameter of `label_factors` must be a name for one factor at least"),
        ({4: "head"}, {}, r"`names` parameter of `label_factors` must be an int in \[0, 3\]. Got 4"),
        ({0: "head"}, {"threshold": 0}, "`threshold` parameter of `label_factors`"),
    ],
)
def test_bad_input_is_named(names, options, text):
    with pytest.raises(ValueError, match=text):
        label_factors(mixed(), names, **options)
