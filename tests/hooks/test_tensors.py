from collections import OrderedDict, namedtuple

import pytest
import torch

from lightning_interp.hooks.tensors import first_tensor, swap_first

Pair = namedtuple("Pair", ["loss", "logits"])
ONE, TWO = torch.ones(1), torch.zeros(1)


@pytest.mark.parametrize("output", [ONE, (ONE, TWO), [None, ONE], Pair(ONE, TWO), OrderedDict(a=None, b=ONE, c=TWO)])
def test_the_first_tensor_is_found_and_swapped(output):
    new = torch.full((1,), 7.0)
    swapped = swap_first(output, new)
    assert first_tensor(output) is ONE
    assert first_tensor(swapped) is new
    assert type(swapped) is type(output)


def test_the_other_items_stay():
    assert swap_first(Pair(ONE, TWO), ONE).logits is TWO
    assert swap_first({"a": ONE, "b": TWO}, TWO)["b"] is TWO


@pytest.mark.parametrize("output", [None, 3, (), {"a": "text"}])
def test_no_tensor_is_none(output):
    assert first_tensor(output) is None
