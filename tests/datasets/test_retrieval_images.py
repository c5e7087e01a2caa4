import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lightning_interp.datasets.retrieval_images import (
    PROTOCOLS,
    QueryImages,
    RetrievalImages,
    RetrievalQuery,
    collate_images,
    collate_queries,
)
from lightning_interp.exceptions import DatasetNotFoundError

RED, BLUE = (220, 30, 30), (30, 30, 220)
BOX = (20.0, 10.0, 50.0, 40.0)


def picture(size=(80, 60), box=(20, 10, 50, 40)):
    """A red square on blue ground; sizes are width and height."""
    image = Image.new("RGB", size, BLUE)
    image.paste(RED, box)
    return image


def query(file, box=BOX, **options):
    return RetrievalQuery(
        file.stem, file, box, **{"index": 0, "grades": {"good": (0,), "ok": (), "junk": ()}, **options}
    )


@pytest.fixture
def file(tmp_path):
    picture().save(tmp_path / "a.png")
    return tmp_path / "a.png"


def red(image):
    return image[0] > image[2]


@pytest.mark.parametrize(
    ("size", "image_size", "shape"),
    [((80, 60), 30, (30, 40)), ((60, 80), 30, (40, 30)), ((80, 60), 90, (90, 120)), ((80, 60), None, (60, 80)),
     ((101, 33), 16, (16, 49)), ((64, 64), 64, (64, 64)), ((300, 1), 2, (2, 600))],
)  # fmt: skip
def test_the_smaller_side_is_scaled(tmp_path, size, image_size, shape):
    file = tmp_path / "a.png"
    picture(size).save(file)
    image, index = RetrievalImages([file], image_size=image_size)[0]
    assert (image.shape, image.dtype, index) == ((3, *shape), torch.float32, 0)
    assert 0 <= float(image.min()) <= float(image.max()) <= 1


def test_scaling_is_antialiased(tmp_path):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "a.png")
    image, _ = RetrievalImages([tmp_path / "a.png"], image_size=8)[0]
    assert torch.allclose(image, torch.full_like(image, 0.5), atol=0.05)


def test_pixels_names_and_transform(file):
    data = pickle.loads(pickle.dumps(RetrievalImages([file, file], names=["x", "y"], image_size=None)))
    assert (data.names, len(data), data[-1][1]) == (["x", "y"], 2, 1)
    assert torch.equal(data[0][0], torch.from_numpy(np.array(picture())).permute(2, 0, 1) / 255)
    assert RetrievalImages([file]).names == ["a"]
    negative = RetrievalImages([file], image_size=None, transform=torch.neg)
    assert torch.equal(negative[0][0], -data[0][0])
    with pytest.raises(IndexError):
        data[2]


@pytest.mark.parametrize("mode", ["L", "CMYK"])
@pytest.mark.parametrize("name", ["a.jpg", "a.JPG"])
def test_grey_and_cmyk_jpegs_are_read_as_rgb(tmp_path, mode, name):
    picture().convert(mode).save(tmp_path / name, quality=95)
    image, _ = RetrievalImages([tmp_path / name], image_size=60)[0]
    assert image.shape == (3, 60, 80)
    wanted = torch.from_numpy(np.array(picture().convert(mode).convert("RGB"))).permute(2, 0, 1) / 255
    assert (image - wanted).abs().mean() < 0.02


def test_marks_of_a_turned_camera_are_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    picture().save(tmp_path / "a.jpg", exif=exif, quality=95)
    file = tmp_path / "a.jpg"
    image, box, _ = QueryImages(RetrievalImages([file], queries=[query(file)], image_size=60))[0]
    assert image.shape == (3, 60, 80)
    assert box.tolist() == list(BOX)


def test_pictures_that_cannot_be_decoded_are_none(tmp_path, file):
    picture().save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-300])
    (tmp_path / "page.jpg").write_text("<html>302 Found</html>")
    (tmp_path / "empty.jpg").touch()
    files = [tmp_path / "cut.jpg", file, tmp_path / "page.jpg", tmp_path / "empty.jpg", tmp_path / "none.jpg"]
    data = RetrievalImages(files, image_size=30)
    assert [image is None for image, _ in data] == [True, False, True, True, True]
    for n_workers in (0, 2):
        batches = list(DataLoader(data, batch_size=2, collate_fn=collate_images, num_workers=n_workers))
        assert [indices.tolist() for _, indices in batches] == [[0, 1], [2, 3], [4]]
        images = [image for images, _ in batches for image in images]
        assert [image is None for image in images] == [True, False, True, True, True]
        assert images[1].shape == (3, 30, 40)


@pytest.mark.parametrize("image_size", [None, 30, 60, 150])
def test_the_box_of_a_query_moves_with_its_picture(file, image_size):
    data = RetrievalImages([file], queries=[query(file)], image_size=image_size)
    image, box, index = data.query_images()[0]
    scale = (image_size or 60) / 60
    assert torch.equal(image, data[0][0])
    assert (box.dtype, box.tolist(), index) == (torch.float32, [scale * side for side in BOX], 0)
    rows, columns = red(image).nonzero().unbind(1)
    found = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert (found - box).abs().max() <= 1


@pytest.mark.parametrize("image_size", [None, 30, 60, 150])
def test_a_crop_is_as_large_as_in_the_picture(file, image_size):
    data = RetrievalImages([file], queries=[query(file, (20.4, 10.9, 49.2, 39.1))], image_size=image_size)
    image, box, _ = data.query_images("crop")[0]
    side = 30 * (image_size or 60) // 60
    assert image.shape == (3, side, side)
    assert box.tolist() == [0, 0, side, side]
    assert red(image).all()


def test_a_crop_of_one_pixel(file):
    data = RetrievalImages([file], queries=[query(file, (3.2, 4.2, 3.4, 4.4))], image_size=6)
    image, box, _ = data.query_images("crop")[0]
    assert image.shape == (3, 1, 1)
    assert box.tolist() == [0, 0, 1, 1]


def test_boxes_are_cut_to_the_picture(file):
    data = RetrievalImages(
        [file], queries=[query(file, (-3, 40.5, 30, 61)), query(file, (0, 0, 80, 60))], image_size=120
    )
    factors, crop = data.query_images(), data.query_images("crop")
    assert factors[0][1].tolist() == [0, 81, 60, 120]
    assert crop[0][0].shape == (3, 40, 60)
    assert factors[1][1].tolist() == crop[1][1].tolist() == [0, 0, 160, 120]
    assert torch.equal(factors[1][0], crop[1][0])


@pytest.mark.parametrize("use", ["factors", "crop"])
def test_boxes_outside_and_damaged_pictures_are_named(tmp_path, file, use):
    for box in ((80, 0, 90, 10), (-20, -20, -1, -1), (60, 40, 160, 90), (0, 59, 10, 90)):
        data = RetrievalImages([file], queries=[query(file, box)]).query_images(use)
        with pytest.raises(
            DatasetNotFoundError, match=r"box \(.*\) of the query 'a' lies outside of .*a.png', which is 80"
        ):
            data[0]
    (tmp_path / "b.jpg").write_bytes(b"x")
    with pytest.raises(DatasetNotFoundError, match=r"The picture '.*b.jpg' cannot be decoded"):
        RetrievalImages([file], queries=[query(tmp_path / "b.jpg")]).query_images(use)[0]


@pytest.mark.parametrize("n", [1, 3])
def test_batches_of_queries(file, n):
    data = RetrievalImages([file], queries=[query(file)] * 3, image_size=30).query_images()
    images, boxes, indices = collate_queries([data[i] for i in range(n)])
    assert [image.shape for image in images] == [(3, 30, 40)] * n
    assert boxes.tolist() == [[10, 5, 25, 20]] * n
    assert indices.tolist() == [*range(n)]
    assert len(pickle.loads(pickle.dumps(data))) == 3


def test_protocols(file):
    original = query(file, grades={"good": (5, 1, 5), "ok": (3,), "junk": (9,)})
    assert original.relevance("original") == ((1, 3, 5), (9,))
    revisited = query(file, index=None, grades={"easy": (5,), "hard": (3, 1), "junk": (9,)})
    assert revisited.relevance("easy") == ((5,), (1, 3, 9))
    assert revisited.relevance("medium") == ((1, 3, 5), (9,))
    assert revisited.relevance("hard") == ((1, 3), (5, 9))
    assert query(file, grades={"relevant": (2, 0)}).relevance("semantic") == ((0, 2), ())
    assert query(file, grades={"easy": (), "hard": (), "junk": ()}).relevance("medium") == ((), ())
    assert len(PROTOCOLS) == 5
    with pytest.raises(
        ValueError, match=r"`RetrievalQuery.relevance` must be one of 'easy', 'medium', 'hard'. Got 'original'"
    ):
        revisited.relevance("original")
    with pytest.raises(ValueError, match="Did you mean 'original'"):
        original.relevance("orginal")


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (5, 9, 9, 5), (0, 0, float("nan"), 4), (0, 0, float("inf"), 4)])
def test_empty_boxes_are_refused(file, box):
    with pytest.raises(ValueError, match=r"The `box` parameter of `RetrievalQuery` must be finite.*of the query 'a'"):
        query(file, box)


def test_bad_options_are_named(file):
    for options, error in (
        ({"image_size": 0}, ValueError),
        ({"image_size": 2.5}, TypeError),
        ({"names": []}, ValueError),
    ):
        with pytest.raises(error, match=f"The `{next(iter(options))}` parameter of `RetrievalImages` must be"):
            RetrievalImages([file], **options)
    with pytest.raises(ValueError, match="must be one picture or more"):
        RetrievalImages([])
    with pytest.raises(ValueError, match=r"must be one of 'factors', 'crop'\. Got 'corp'\. Did you mean 'crop'"):
        RetrievalImages([file], queries=[query(file)]).query_images("corp")
    with pytest.raises(ValueError, match="must be a database with queries"):
        RetrievalImages([file]).query_images()
