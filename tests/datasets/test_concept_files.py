import numpy as np
import pytest
import torch
from PIL import Image

from lightning_interp.datasets.concept_files import (
    check_files,
    check_shape,
    checked_size,
    cut_to_centre,
    read_indices,
    read_picture,
)
from lightning_interp.exceptions import DatasetNotFoundError


def test_pictures_become_rgb_floats_and_keep_their_first_size(tmp_path):
    Image.new("L", (40, 30), 51).save(tmp_path / "a.jpg")
    image, size = read_picture(tmp_path / "a.jpg")
    assert (image.shape, size) == ((3, 30, 40), (30, 40))
    assert torch.allclose(image, torch.tensor(0.2), atol=0.01)
    image, size = read_picture(tmp_path / "a.jpg", size=(8, 8))
    assert (image.shape, size) == ((3, 8, 8), (30, 40))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_any_depth_are_indices(tmp_path, bits):
    values = np.arange(12, dtype=np.uint8).reshape(3, 4) % np.uint8(min(2**bits, 255))
    image = Image.fromarray(values)
    image.putpalette([7, 8, 9] * 256)  # one colour for all: only the numbers tell them apart
    image.save(tmp_path / "a.png", bits=bits)
    assert np.array_equal(read_indices(tmp_path / "a.png").numpy(), values)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "1", "I;16"])
def test_colours_are_no_indices(tmp_path, mode):
    Image.new(mode, (4, 3)).save(tmp_path / "a.png")
    with pytest.raises(DatasetNotFoundError, match=r"mask '.*a.png' cannot be read \(its pixels are colours of mode"):
        read_indices(tmp_path / "a.png")


@pytest.mark.parametrize("read", [read_picture, read_indices])
def test_missing_and_broken_files_are_named(tmp_path, read):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:900])
    (tmp_path / "page.png").write_text("<html>302 Found</html>")
    for name in ("cut", "page", "absent"):
        with pytest.raises(DatasetNotFoundError, match=rf"'.*{name}.png' cannot be "):
            read(tmp_path / f"{name}.png")


@pytest.mark.parametrize("size", [(32, 32), (10, 40), (64, 16), (200, 100), (1, 1), (7, 300)])
@pytest.mark.parametrize("shape", [(48, 64), (33, 17), (2, 64, 64), (5, 5)])
def test_cuts_the_centre_in_the_right_proportions(size, shape):
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in shape[-2:]), indexing="ij")
    masks = (rows * 1000 + columns).expand(shape)
    cut = cut_to_centre(masks, size=size)
    (height, width), (h, w) = shape[-2:], cut.shape[-2:]
    assert h == height or w == width
    scale = max(size[0] / height, size[1] / width)
    assert h == max(1, min(height, round(size[0] / scale)))
    assert w == max(1, min(width, round(size[1] / scale)))
    first, last = divmod(int(cut.flatten()[0]), 1000), divmod(int(cut.flatten()[-1]), 1000)
    assert 0 <= height - 1 - last[0] - first[0] <= 1
    assert 0 <= width - 1 - last[1] - first[1] <= 1


def test_what_was_not_cut_stays():
    masks = torch.zeros(3, 4)
    assert cut_to_centre(masks, size=None) is masks


def test_checks(tmp_path):
    check_shape(tmp_path / "a.png", (3, 4), (3, 4), "its picture has")
    with pytest.raises(DatasetNotFoundError, match=r"a.png' has 3 x 4 pixels \(height x width\), index.csv says 4 x 3"):
        check_shape(tmp_path / "a.png", torch.Size((3, 4)), (4, 3), "index.csv says")
    (tmp_path / "a.png").touch()
    check_files([tmp_path / "a.png"], "masks")
    with pytest.raises(DatasetNotFoundError, match=r"1 of 2 masks are missing, among them '.*b.png'"):
        check_files([tmp_path / "a.png", tmp_path / "b.png"], "masks")
    assert (checked_size(None, "X"), checked_size(3, "X"), checked_size((3, 4), "X")) == (None, (3, 3), (3, 4))
    with pytest.raises(ValueError, match="The `size` parameter of `X` must be an int"):
        checked_size((3, 0), "X")
