import pytest
import torch

from lightning_interp.functional.generalization import prediction_changes


def test_changes_equal_the_loop():
    generator = torch.Generator().manual_seed(0)
    now, before = torch.randint(4, (2, 101), generator=generator)
    changed = sum(int(a) != int(b) for a, b in zip(now, before, strict=True))
    assert prediction_changes(now, before) == pytest.approx(changed / 101)
    assert prediction_changes(now, before) == prediction_changes(before, now)


def test_the_ends_of_the_scale():
    predictions = torch.arange(7)
    assert prediction_changes(predictions, predictions.clone()) == 0
    assert prediction_changes(predictions, predictions + 1) == 1


@pytest.mark.parametrize("shape", [(6,), (7, 1), ()])
def test_other_images_are_refused(shape):
    text = r"The `previous` parameter of `prediction_changes` must be predicted classes of the same 7 images"
    with pytest.raises(ValueError, match=text):
        prediction_changes(torch.zeros(7), torch.zeros(shape))


def test_scores_and_nothing_are_refused():
    for predictions in (torch.zeros(7, 3), torch.zeros(0)):
        with pytest.raises(ValueError, match="`previous`"):
            prediction_changes(predictions, predictions)
