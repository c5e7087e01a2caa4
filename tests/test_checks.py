import pytest
import torch

from lightning_interp._checks import check_choice, check_int, check_number, describe, message, suggestion


def test_the_one_sentence():
    assert message("k", "nmf", "an int in [1, 64]", 0) == "The `k` parameter of `nmf` must be an int in [1, 64]. Got 0."


@pytest.mark.parametrize(
    ("value", "text"),
    [(3, "3"), ("a", "'a'"), (torch.zeros(2, 3), "Tensor of shape (2, 3)"), ("x" * 99, "'" + "x" * 76 + "...")],
)
def test_values_are_described_shortly(value, text):
    assert describe(value) == text


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (9, ValueError), (1.0, TypeError), (True, TypeError), ("1", TypeError)]
)
def test_ints(value, error):
    assert check_int(3, "k", "f", high=8) == 3
    with pytest.raises(error, match=r"The `k` parameter of `f` must be an int in \[1, 8\]. Got"):
        check_int(value, "k", "f", high=8)


@pytest.mark.parametrize(
    ("value", "error"), [(-0.1, ValueError), (float("nan"), ValueError), ("1", TypeError), (None, TypeError)]
)
def test_numbers(value, error):
    assert check_number(1, "tol", "f") == 1.0
    with pytest.raises(error, match=r"must be a number in \[0, inf\)"):
        check_number(value, "tol", "f")


def test_choices_and_suggestions():
    assert check_choice("nmf", "method", "f", ("nmf", "pca")) == "nmf"
    with pytest.raises(ValueError, match=r"must be one of 'nmf', 'pca'\. Got 'nfm'\. Did you mean 'nmf'"):
        check_choice("nfm", "method", "f", ("nmf", "pca"))
    assert suggestion("layer5", ["layer4", "fc"]) == " Did you mean 'layer4'?"
    assert suggestion("zzz", ["layer4"]) == ""
