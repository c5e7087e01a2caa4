import math

import pytest
import torch

from lightning_interp.functional.dissection.quantile import RELATIVE_ERROR, SATURATED, ActivationHistogram, bin_keys

N = 20_000


def draw(kind):
    """One unit's values; positions by images, `(200, 100)`."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(N, generator=generator)
    values = {
        "uniform": torch.rand(N, generator=generator),
        "heavy-tailed": (6 * normal).exp().clamp(max=1e6),
        "signed": 100 * normal,
        "mostly negative": normal - 4,
        "sparse relu": (normal - 2).relu(),
        "sparser than the share": (normal - 3.5).relu(),
        "tiny": 1e-4 * normal.abs(),
        "constant": torch.full((N,), 0.7),
        "negative constant": torch.full((N,), -0.7),
        "zero": torch.zeros(N),
        "integers": normal.mul(3).round(),
    }
    return values[kind].reshape(200, 1, 10, 10)


KINDS = [
    "uniform", "heavy-tailed", "signed", "mostly negative", "sparse relu", "sparser than the share", "tiny", "constant",
    "negative constant", "zero", "integers",
]  # fmt: skip


def order_statistic(values, share):
    n = values.numel()
    return float(values.flatten().sort(descending=True).values[min(math.floor(share * n), n - 1)])


def histogram(values, batch=37):
    found = ActivationHistogram.zeros(values.shape[1])
    for part in values.split(batch):
        found = found.update(part)
    return found


@pytest.mark.parametrize("share", [0.0, 0.001, 0.005, 0.3, 0.9999, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_levels_are_order_statistics_up_to_the_stated_error(kind, share):
    values = draw(kind)
    got, exact = float(histogram(values).exceeded(share)), order_statistic(values, share)
    assert abs(got - exact) <= max(RELATIVE_ERROR * abs(exact), 2.0**-23)


@pytest.mark.parametrize("kind", KINDS)
def test_floors_hide_a_level_or_leave_it_as_it_is(kind):
    values = draw(kind)
    found = histogram(values[:20]).with_floors(0.005)
    for part in values.split(37):
        found = found.update(part)
    got, plain = found.exceeded(0.005), histogram(values).exceeded(0.005)
    assert bool(got.isnan()) or torch.equal(got, plain)
    assert not bool(got.isnan()), "the first tenth of these values is like the rest"


def test_floors_make_the_counts_sparse():
    values = draw("signed")
    found = histogram(values).with_floors(0.005).update(values)
    assert int(found.counts.sum()) <= 0.06 * N
    assert int(found.total) == N


def test_a_level_under_its_floor_is_nan_and_never_wrong():
    first, rest = torch.full((1, 1, 10, 10), 9.0), draw("uniform")
    found = ActivationHistogram.zeros(1).update(first).with_floors(0.005).update(first).update(rest)
    assert bool(found.exceeded(0.005).isnan())
    assert float(found.exceeded(0.0)) == pytest.approx(9.0, rel=RELATIVE_ERROR)


def test_zeros_under_a_floor_of_zero_are_found_again_unless_something_is_negative():
    zeros = torch.zeros(1, 2, 10, 10)
    found = ActivationHistogram.zeros(2).update(zeros).with_floors(0.005).update(zeros)
    assert found.exceeded(0.005).tolist() == [0.0, 0.0]
    below = zeros.clone()
    below[0, 1, 0, 0] = -1.0
    assert bool(found.update(below).exceeded(0.005).isnan().all())


def test_shards_add_up_to_the_same_histogram_in_any_order():
    values = torch.cat([draw("signed"), draw("heavy-tailed")], 1)
    whole = histogram(values)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    shards = histogram(values[order[:73]], batch=5) + histogram(values[order[73:]], batch=200)
    for name in ("counts", "floors", "lowest", "total"):
        assert torch.equal(getattr(shards, name), getattr(whole, name)), name


def test_shards_with_other_floors_agree_wherever_the_sum_knows_the_level():
    values = torch.cat([draw("signed"), draw("sparse relu")], 1)
    one, two = values[:100], values[100:]
    with_floors = histogram(one[:20]).with_floors(0.005).update(one) + histogram(two[:5]).with_floors(0.005).update(two)
    assert torch.equal(with_floors.exceeded(0.005), histogram(values).exceeded(0.005))


def test_memory_does_not_depend_on_the_number_of_images():
    sizes = {
        sum(part.numel() * part.element_size() for part in vars(histogram(draw("signed")[:n])).values())
        for n in (1, 200)
    }
    assert len(sizes) == 1
    assert 90_000 < sizes.pop() < 100_000


def test_halves_are_counted_as_the_floats_they_are():
    values = draw("signed").bfloat16()
    assert torch.equal(histogram(values).counts, histogram(values.float()).counts)


def test_levels_too_large_to_tell_apart_say_so():
    found = histogram(torch.full((1, 1, 2, 2), 3e9))
    assert SATURATED <= float(found.exceeded(0.0)) < 3e9


def test_located_counts_the_values_above_within_the_bin():
    values = torch.tensor([4.0, 3.0, 2.001, 2.0, 2.0, 1.0]).view(1, 1, 6)
    bins, rank = histogram(values).located(4 / 6)
    low, high = bin_keys(bins)
    assert int(rank) == 2, "2.001 and one of the twos"
    assert int(low) <= int(torch.tensor(2.0).view(torch.int32)) <= int(high)


def test_bins_meet_and_cover_all_floats():
    low, high = bin_keys(torch.arange(ActivationHistogram.zeros(1).counts.shape[1]))
    assert torch.equal(low[1:], high[:-1] + 1)
    largest = int(torch.tensor(torch.finfo(torch.float32).max).view(torch.int32))
    assert (int(low[0]), int(high[-1])) == (-largest, largest)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match=r"`share` parameter of `ActivationHistogram` must be a number in \[0, 1\]"):
        histogram(draw("uniform")).exceeded(share)


def test_no_images_have_no_levels():
    with pytest.raises(ValueError, match="of at least one image"):
        ActivationHistogram.zeros(3).exceeded(0.005)
