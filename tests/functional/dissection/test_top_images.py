import torch

from lightning_interp.functional.dissection.top_images import TopImages

MAXIMA = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).mul(2).round()  # with many ties


def best(maxima, indices, k):
    """Highest value first, of equal ones the lower index."""
    rows = []
    for unit in range(maxima.shape[1]):
        order = sorted(range(len(maxima)), key=lambda row: (-float(maxima[row, unit]), int(indices[row])))[:k]
        rows.append([(float(maxima[row, unit]), int(indices[row])) for row in order])
    return rows


def pairs(top):
    return [list(zip(*row, strict=True)) for row in zip(top.values.tolist(), top.indices.tolist(), strict=True)]


def updated(order, batch, k=5):
    top = TopImages.zeros(3, k)
    for rows in order.split(batch):
        top = top.update(MAXIMA[rows], rows)
    return top


def test_the_best_are_those_of_sorting_everything():
    assert pairs(updated(torch.arange(40), 7)) == best(MAXIMA, torch.arange(40), 5)


def test_neither_order_nor_batches_nor_shards_matter():
    expected = best(MAXIMA, torch.arange(40), 5)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert pairs(updated(order, 1)) == pairs(updated(order, 40)) == expected
    assert pairs(updated(order[:3], 2) + updated(order[3:], 11)) == expected


def test_too_few_images_leave_gaps_that_say_so():
    top = updated(torch.arange(2), 1)
    assert top.indices[:, 2:].unique().tolist() == [-1]
    assert top.values[:, 2:].unique().tolist() == [-torch.inf]
    assert pairs(top)[0][:2] == best(MAXIMA[:2], torch.arange(2), 2)[0]


def test_halves_become_floats():
    top = TopImages.zeros(3, 2).update(MAXIMA[:4].bfloat16(), torch.arange(4))
    assert top.values.dtype == torch.float32
    assert pairs(top) == best(MAXIMA[:4], torch.arange(4), 2)
