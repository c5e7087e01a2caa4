import pytest

from lightning_interp.datasets.voc_files import VOC_CLASSES, find_voc, read_ids, read_objects
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import voc

OBJECT = "<annotation><object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"
END = "</bndbox></object></annotation>"


def annotation(tmp_path, text):
    file = tmp_path / "000001.xml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("year", [2007, 2011, 2012])
def test_reads_what_was_written(tmp_path, year):
    truth = voc.write(tmp_path, year=year)
    folder = find_voc(tmp_path, year)
    ids = read_ids(folder / "ImageSets" / "Main" / "train.txt") + read_ids(folder / "ImageSets" / "Main" / "test.txt")
    assert ids == list(truth)
    for id_ in ids:
        found = read_objects(folder / "Annotations" / f"{id_}.xml")
        assert [(VOC_CLASSES[o.label - 1], *o.box, o.difficult) for o in found] == truth[id_]


def test_the_kit_itself_will_do_for_root(tmp_path):
    voc.write(tmp_path)
    assert find_voc(tmp_path / "VOCdevkit", 2007).samefile(find_voc(tmp_path, 2007))
    with pytest.raises(DatasetNotFoundError, match=r"no folder '.*VOCdevkit.VOC2012' or .* Pass the right `root`"):
        find_voc(tmp_path, 2012)


def test_boxes_count_from_zero_and_fractions_are_cut_off(tmp_path):
    (found,) = read_objects(annotation(tmp_path, OBJECT.format("dog", 48, 240, "195", "371.9") + END))
    assert found == (12, (47, 239, 195, 371), False, False)
    (found,) = read_objects(annotation(tmp_path, OBJECT.format(" person\n", "0", "1.5", "1", "2") + END))
    assert found == (15, (0, 0, 1, 2), False, False)


@pytest.mark.parametrize("flags", [(False, False), (False, True), (True, False), (True, True)])
def test_flags_are_those_of_the_object(tmp_path, flags):
    own = "".join(f"<{tag}> {int(on)}\n</{tag}>" for tag, on in zip(("difficult", "truncated"), flags, strict=True))
    part = "<part><difficult>1</difficult><truncated>1</truncated></part>"  # nothing of the object's
    text = (OBJECT.format("dog", 1, 1, 2, 2) + END).replace("</bndbox>", f"</bndbox>{part}{own}")
    assert read_objects(annotation(tmp_path, text))[0][2:] == flags


def test_pictures_without_objects(tmp_path):
    assert read_objects(annotation(tmp_path, "<annotation><size/></annotation>")) == []


BOMB = """<!DOCTYPE lolz [<!ENTITY a "dog"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>"""
FETCH = """<!DOCTYPE annotation SYSTEM "file:///etc/passwd">"""


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (BOMB + OBJECT.format("&b;", 1, 1, 2, 2) + END, "it declares the document type 'lolz'"),
        (FETCH + OBJECT.format("dog", 1, 1, 2, 2) + END, "it declares the document type 'annotation'"),
        (OBJECT.format("&b;", 1, 1, 2, 2) + END, "undefined entity"),
        (OBJECT.format("dog", 1, 1, 2, 2), "no element found"),
        ("", "no element found"),
        (OBJECT.format("dgo", 1, 1, 2, 2) + END, "has the class 'dgo', none of VOC's. Did you mean 'dog'"),
        ("<annotation><object><bndbox/></object></annotation>", "has the class ''"),
        ("<annotation><object><name>dog</name></object></annotation>", "an object has no xmin"),
        (OBJECT.format("dog", 9, 1, 5, 2) + END, "a dog reaches from column 9 to 5 and from row 1 to 2"),
        (OBJECT.format("dog", 1, 1, 2, "1e9") + END, "to 1000000000"),
        (OBJECT.format("dog", 1, 1, 2, "1e999") + END, "infinity"),
        (OBJECT.format("dog", "nan", 1, 2, 2) + END, "NaN"),
        (OBJECT.format("dog", "left", 1, 2, 2) + END, "could not convert"),
        ('<?xml version="1.0" encoding="wurst"?><annotation/>', "encoding"),
    ],
)
def test_damaged_and_hostile_annotations_are_named(tmp_path, text, match):
    with pytest.raises(DatasetNotFoundError, match=rf"annotation '.*000001.xml' cannot be read \(.*{match}"):
        read_objects(annotation(tmp_path, text))


def test_missing_annotation(tmp_path):
    with pytest.raises(DatasetNotFoundError, match=r"000001.xml' cannot be read \(.*No such file"):
        read_objects(tmp_path / "000001.xml")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("000001\n../../../etc/passwd\n", "names '../../../etc/passwd', which is no name of a picture"),
        ("..\n", "names '..'"),
        ("/etc/passwd\n", "names '/etc/passwd'"),
        ("C:000001\n", "names 'C:000001'"),
        ("\n \n", "is empty"),
    ],
)
def test_ids_stay_in_the_dataset(tmp_path, text, match):
    file = tmp_path / "train.txt"
    file.write_text(text)
    with pytest.raises(DatasetNotFoundError, match=f"The list '.*train.txt' {match}"):
        read_ids(file)


def test_lists_come_with_any_ends_of_lines(tmp_path):
    file = tmp_path / "train.txt"
    file.write_bytes(b"000005\r\n2008_000008 \r\n")
    assert read_ids(file) == ["000005", "2008_000008"]
    with pytest.raises(DatasetNotFoundError, match=r"test.txt' cannot be read"):
        read_ids(tmp_path / "test.txt")
