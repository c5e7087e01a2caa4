import pytest
import torch

from lightning_interp.functional.retrieval.boxes import box_overlaps, check_boxes, share_inside


def by_pixels(maps, box, rows, columns, size, fine=8):
    """Slow: every small piece of the image belongs to the cell whose centre is nearest."""
    pieces = [(torch.arange(n * fine) + 0.5) / fine for n in size]
    cells = [
        (piece[:, None] - 0.5 - places).abs().argmin(1) for piece, places in zip(pieces, (rows, columns), strict=True)
    ]
    left, top, right, bottom = box
    shares = torch.zeros(maps.shape[1:])
    for r, row in enumerate(shares):
        for c in range(len(row)):
            mine = (cells[0] == r)[:, None] & (cells[1] == c)
            inside = ((pieces[0] >= top) & (pieces[0] < bottom))[:, None] & ((pieces[1] >= left) & (pieces[1] < right))
            row[c] = (mine & inside).sum() / mine.sum()
    return (maps * shares).sum((1, 2)) / maps.sum((1, 2))


@pytest.mark.parametrize("box", [(0, 0, 12, 9), (2.5, 1.25, 7, 8), (4, 4, 5, 5), (11.5, 8.5, 12, 9), (0, 3, 12, 4)])
def test_shares_equal_a_count_of_small_pieces(box):
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.tensor([1.0, 4.0, 7.0]), torch.tensor([0.5, 3.5, 6.5, 9.5])
    maps = torch.rand(2, 3, 3, 4, generator=generator)
    found = share_inside(maps, torch.tensor([box, box]), rows, columns, (9, 12))
    for own, expected in zip(found, maps, strict=True):
        torch.testing.assert_close(own, by_pixels(expected, box, rows, columns, (9, 12)))


def test_a_box_and_its_surroundings_share_everything():
    maps = torch.rand(1, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    rows, columns = torch.linspace(-3, 22, 5), torch.linspace(1, 28, 6)
    strips = torch.tensor([[0, 0, 30, 4.5], [0, 4.5, 11, 20], [11, 4.5, 30, 20]])
    found = share_inside(maps.expand(3, -1, -1, -1), strips, rows, columns, (20, 30))
    torch.testing.assert_close(found.sum(0), torch.ones(4))


def test_each_image_has_its_own_box_and_silence_has_no_share():
    maps = torch.zeros(2, 2, 2, 2)
    maps[:, 0, 0, 0] = 5.0
    centers = torch.tensor([1.5, 5.5])
    boxes = torch.tensor([[0, 0, 4, 4], [4, 4, 8, 8]])
    assert share_inside(maps, boxes, centers, centers, (8, 8)).tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert share_inside(maps[:0], boxes[:0], centers, centers, (8, 8)).shape == (0, 2)


@pytest.mark.parametrize(("columns", "cell"), [((-7.0, -3.0, 1.0), 0), ((0.0, 4.0, 8.0), 2)])
def test_a_cell_far_outside_of_the_image_counts_at_the_border(columns, cell):
    maps, rows = torch.zeros(1, 1, 1, 3), torch.tensor([0.0])
    maps[..., cell] = 1.0
    there, elsewhere = ((0, 0, 1, 1), (1, 0, 2, 1))[:: 1 if cell == 0 else -1]
    for box, share in ((there, 1.0), (elsewhere, 0.0), ((0, 0, 2, 1), 1.0)):
        assert share_inside(maps, torch.tensor([box]), rows, torch.tensor(columns), (1, 2)).item() == share


def test_good_boxes_come_back_and_rounding_is_cut_off():
    boxes = [[0, 0, 16, 12], [136.5, 34.1, 648.5, 955.7], [-0.4, 2, 16.4, 12.9]]
    found = check_boxes(boxes, [(12, 16), (1024, 768), (12, 16)], "search")
    expected = torch.tensor([*boxes[:2], [0, 2, 16, 12]], dtype=torch.float64)
    assert torch.equal(found, expected)
    assert check_boxes(torch.zeros(0, 4), [], "search").shape == (0, 4)


@pytest.mark.parametrize(
    ("box", "problem"),
    [
        ([0, 0, 18, 4], "outside of the image"),
        ([20, 0, 24, 4], "outside of the image"),
        ([-2, 0, 4, 4], "outside of the image"),
        ([4, 4, 4, 8], "empty or inverted"),
        ([8, 4, 4, 8], "empty or inverted"),
        ([-0.9, 0, -0.1, 4], "empty or inverted"),
        ([0, float("nan"), 4, 4], "not finite"),
        ([0, 0, float("inf"), 4], "not finite"),
    ],
)
def test_bad_boxes_are_named(box, problem):
    with pytest.raises(ValueError, match=f"`boxes` parameter of `search` .* box 1 is {problem}, 12 x 16 pixels"):
        check_boxes([[0, 0, 4, 4], box], [(12, 16)] * 2, "search")


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"`box` parameter of `localize` must be .* each of 1 images"):
        check_boxes([[0, 0, 4]], [(12, 16)], "localize", parameter="box")
    with pytest.raises(ValueError, match="each of 2 images"):
        check_boxes(torch.ones(4), [(12, 16)] * 2, "localize")


def pixels(box):
    left, top, right, bottom = box
    return {(r, c) for r in range(top, bottom) for c in range(left, right)}


def random_pairs():
    corners = torch.randint(0, 9, (40, 2, 2, 2), generator=torch.Generator().manual_seed(0)).sort(2).values
    return (corners.flatten(2) + torch.tensor([0, 0, 1, 1])).unbind(1)


def test_overlaps_equal_a_count_of_pixels():
    boxes, truth = random_pairs()
    pairs = [(pixels(a), pixels(b)) for a, b in zip(boxes.tolist(), truth.tolist(), strict=True)]
    found = box_overlaps(boxes, truth)
    assert found.tolist() == pytest.approx([len(a & b) / len(a | b) for a, b in pairs])
    assert 0 < found.mean() < 1
    assert box_overlaps(truth, truth).tolist() == [1.0] * 40


def test_no_box_overlaps_with_nothing():
    truth = torch.tensor([[0, 0, 4, 4]])
    assert box_overlaps(torch.full((1, 4), -1), truth).tolist() == [0.0]
    assert box_overlaps(torch.zeros(0, 4).long(), torch.zeros(0, 4)).shape == (0,)


def test_bad_overlaps_are_named():
    boxes = torch.tensor([[0.0, 0, 4, 4], [1, 1, 2, 2]])
    for given in (boxes[:1], boxes[0], boxes * torch.nan):
        with pytest.raises(ValueError, match="`boxes` parameter of `box_overlaps` must be a finite box for each of 2"):
            box_overlaps(given, boxes)
    for truth in (boxes.flip(1), boxes[:, :3], torch.full((2, 4), -1), boxes * torch.inf):
        with pytest.raises(ValueError, match="`truth` parameter of `box_overlaps` must be finite boxes"):
            box_overlaps(boxes, truth)
