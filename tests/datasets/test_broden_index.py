import numpy as np
import pytest
from PIL import Image

from lightning_interp.datasets.broden_index import Row, read_categories, read_labels, read_numbers, read_rows
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import broden

HEADER = "image,split,ih,iw,sh,sw,color,object,part,material,scene,texture"


def write(file, *lines, end="\r\n"):
    file.write_bytes("".join(f"{line}{end}" for line in lines).encode())


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_rows_of_the_real_index(tmp_path, end):
    real = "opensurfaces/6582.jpg,train,224,224,112,112,opensurfaces/6582_color.png,,,opensurfaces/6582_material.png,,"
    readme = "dtd/g_0106.jpg,train,346,368,346,368,dtd/g_0106_color.png,,,,,314;194"
    write(tmp_path / "index.csv", HEADER, real, readme, end=end)
    first, second = read_rows(tmp_path, ["color", "material", "texture", "part"])
    masks = {"color": ("opensurfaces/6582_color.png",), "material": ("opensurfaces/6582_material.png",)}
    assert first == Row(2, "opensurfaces/6582.jpg", "train", (224, 224), (112, 112), masks)
    assert second.annotations == {"color": ("dtd/g_0106_color.png",), "texture": ("314", "194")}
    assert (second.line, second.size) == (3, (346, 368))


def test_rows_that_make_no_sense_are_told(tmp_path):
    write(tmp_path / "index.csv", HEADER, "../a.jpg,train,1,1,1,1,,,,,,", "a.jpg,train,1,1,1,1,,,,,,")
    bad, good = read_rows(tmp_path, ["color"])
    assert bad == f"Line 2 of '{tmp_path / 'index.csv'}': the image '../a.jpg' is no path inside of the folder images."
    assert good.image == "a.jpg"


def test_labels_of_the_real_tables(tmp_path):
    write(tmp_path / "category.csv", "name,first,last,count,frequency", "object,12,1138,529,208688")
    write(
        tmp_path / "label.csv", "number,name,category,frequency,coverage,syns", "10,red-c,color(289),289,9.140027,",
        "21,fabric,material(36);object(3),39,4.225474,cloth", '31,"chair, arm",object(1),1,1e-05,a;b',
    )  # fmt: skip
    rows = ('1,31,"chair, arm",27,0.910724454131', "2,21,fabric,3,1e-05")
    write(tmp_path / "c_object.csv", "code,number,name,frequency,coverage", *rows)
    assert read_categories(tmp_path) == ["object"]
    names, codes = read_labels(tmp_path, "object")
    assert names == ["unlabelled", "chair, arm", "fabric"]
    assert {int(number): int(codes[number]) for number in np.flatnonzero(codes >= 0)} == {0: 0, 21: 2, 31: 1}


@pytest.mark.parametrize("name", ["../../object", "", "a/b", r"a\b", "C:x"])
def test_categories_stay_in_the_folder(tmp_path, name):
    write(tmp_path / "category.csv", "name,first,last", "color,1,11", f"{name},1,2")
    with pytest.raises(DatasetNotFoundError, match=r"table '.*category.csv' of Broden has the category '.*no name"):
        read_categories(tmp_path)


@pytest.mark.parametrize(
    "row", ["3,21,fabric,3,1", "2,21,cloth,3,1", "2,22,fabric,3,1", "2,0,,3,1", "2,10,red-c,1,1", "x,21,fabric,3,1"]
)
def test_labels_that_disagree_are_named(tmp_path, row):
    write(tmp_path / "label.csv", "number,name", "10,red-c", "21,fabric", "0,")
    write(tmp_path / "c_object.csv", "code,number,name,frequency,coverage", "1,10,red-c,1,1", row)
    with pytest.raises(DatasetNotFoundError, match=r"Line 3 of '.*c_object.csv' must have the code 2, and a number"):
        read_labels(tmp_path, "object")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", r"index.csv' of Broden cannot be read \(it has no column 'image'"),
        (b"image,split,ih,iw,sh,sw\r\n", "it has no column 'color', only 'image,split"),
        (HEADER.encode() + b"\r\na.jpg,train,1,1\r\n", "line 2 has 4 cells, the first has 12"),
        (HEADER.encode() + b"\r\n\xff\xfe", "codec can't decode"),
        (HEADER.encode() + b"\r\n" + b"a" * 140000, "field larger than field limit"),
        (None, "No such file"),
    ],
)
def test_broken_tables_are_named(tmp_path, content, match):
    if content is not None:
        (tmp_path / "index.csv").write_bytes(content)
    with pytest.raises(DatasetNotFoundError, match=match):
        list(read_rows(tmp_path, ["color"]))


def test_numbers_do_not_overflow(tmp_path):
    values = np.array([[0, 1, 255], [256, 1197, 65535]])
    broden.write_mask(tmp_path / "a.png", values)
    assert np.array_equal(read_numbers(tmp_path / "a.png"), values)
    Image.fromarray(np.ones((2, 2, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DatasetNotFoundError, match="there is blue in it"):
        read_numbers(tmp_path / "a.png")
