"""The assembly against a loop written from the paper."""

import pytest
import torch

from lightning_interp.functional.selection.assembly import assemble


def assemble_slowly(scores, labels, baseline, classes):
    """For every image, go through the models and keep the best claim so far."""
    result = []
    for i in range(scores.shape[1]):
        best, label, claims = -1, int(baseline[i]), 0
        for k in range(len(scores)):
            if labels[k, i] == classes[k]:
                claims += 1
                if best < 0 or scores[k, i] > scores[best, i]:
                    best, label = k, classes[k]
        result.append((label, best, claims))
    return result


@pytest.mark.parametrize("classes", [None, [2, 0, 3, 1], [0, 0, 1, 1]], ids=["in order", "permuted", "shared"])
def test_agrees_with_the_loop_ties_included(classes):
    generator = torch.Generator().manual_seed(0)
    scores = -torch.randint(0, 4, (4, 300), generator=generator).float()
    labels = torch.randint(0, 4, (4, 300), generator=generator)
    baseline = torch.randint(0, 4, (300,), generator=generator)
    found = assemble(scores, labels, baseline, classes=classes)
    expected = assemble_slowly(scores, labels, baseline, classes or [0, 1, 2, 3])
    assert [tuple(row) for row in found.to_dataframe().itertuples(index=False)] == expected
    assert {0, 1, 2} <= set(found.n_claims.tolist()), "the draw shows all cases"


def test_perfect_specialists_are_perfect_together():
    truth, model = torch.arange(5).repeat(4), torch.arange(5).unsqueeze(1)
    labels = torch.where(truth == model, truth, (model + 1) % 5)  # no specialist claims a foreign image
    found = assemble(-torch.ones(5, 20), labels, torch.zeros(20, dtype=torch.long))
    assert torch.equal(found.labels, truth)
    assert torch.equal(found.models, truth)
    assert found.n_claims.tolist() == [1] * 20


def test_the_baseline_decides_where_nobody_claims():
    found = assemble(torch.zeros(2, 3), torch.tensor([[1, 1, 0], [0, 0, 0]]), torch.tensor([4, 5, 6]))
    assert found.labels.tolist() == [4, 5, 0]
    assert found.models.tolist() == [-1, -1, 0]
    assert found.n_claims.tolist() == [0, 0, 1]


def test_only_the_order_of_scores_and_no_neighbour_matters():
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(3, 50, generator=generator)
    labels = torch.randint(0, 3, (3, 50), generator=generator)
    baseline = torch.randint(0, 3, (50,), generator=generator)
    found = assemble(scores, labels, baseline).labels
    assert torch.equal(assemble(scores.exp().double(), labels, baseline).labels, found)
    order = torch.randperm(50, generator=generator)
    assert torch.equal(assemble(scores[:, order], labels[:, order], baseline[order]).labels, found[order])


def test_no_images_give_an_empty_assembly():
    empty = torch.zeros(2, 0)
    found = assemble(empty, empty.long(), torch.zeros(0, dtype=torch.long))
    assert found.labels.shape == found.models.shape == found.n_claims.shape == (0,)


def test_scores_of_images_that_are_not_claimed_may_be_anything():
    scores = torch.tensor([[float("nan"), -1.0], [-2.0, float("inf")]])
    labels = torch.tensor([[1, 0], [1, 0]])
    assert assemble(scores, labels, torch.tensor([0, 0])).labels.tolist() == [1, 0]
    with pytest.raises(ValueError, match="`scores` parameter of `assemble` must be finite wherever a model claims"):
        assemble(scores, labels.flip(1), torch.tensor([0, 0]))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"scores": torch.zeros(3)}, r"`scores` .* must be floats of shape \(models, images\)"),
        ({"scores": torch.zeros(2, 3, dtype=torch.long)}, "`scores` .* must be floats"),
        ({"labels": torch.zeros(2, 4).long()}, r"`labels` .* class numbers of shape \(2, 3\). Got Tensor"),
        ({"labels": torch.zeros(2, 3)}, "`labels` .* must be class numbers"),
        ({"baseline": torch.zeros(2).long()}, r"`baseline` .* class numbers of shape \(3,\)"),
        ({"classes": [0]}, r"`classes` .* must be 2 class numbers, one per row of `scores`. Got \[0\]"),
    ],
)
def test_bad_input_is_named(change, text):
    arguments = {"scores": torch.zeros(2, 3), "labels": torch.zeros(2, 3).long(), "baseline": torch.zeros(3).long()}
    with pytest.raises(ValueError, match=text):
        assemble(**{**arguments, **change})
