import numpy as np
import pytest
from scipy.io import loadmat, savemat

from lightning_interp.datasets.pascal_part_files import PART_NAMES, find_annotations, read_part_objects, unnumbered
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import pascal_part
from tests.data.shared import shared


def structure(value):
    """Shapes and types all the way down."""
    if value.dtype.names:
        return {"shape": value.shape, **{n: [structure(each) for each in value[n].flat] for n in value.dtype.names}}
    return (value.dtype.kind, value.ndim) if value.dtype.kind == "U" else (value.dtype, value.ndim)


def masks(*spots, shape=(6, 8)):
    found = []
    for rows, columns in spots:
        found.append(np.zeros(shape, bool))
        found[-1][rows, columns] = True
    return found


def test_the_official_list():
    assert len(PART_NAMES) == len(set(PART_NAMES))
    counts = {}
    for part in PART_NAMES:
        counts.setdefault(part.split("/")[0], []).append(part.split("/")[1])
    sizes = {"aeroplane": 25, "bicycle": 15, "bird": 13, "bottle": 2, "bus": 59, "car": 59, "cat": 17, "cow": 19}
    sizes |= {"dog": 18, "horse": 21, "motorbike": 14, "person": 24, "pottedplant": 2, "sheep": 19, "train": 76}
    assert {name: len(parts) for name, parts in counts.items()} == {**sizes, "tvmonitor": 1}
    assert "dog/muzzle" in PART_NAMES
    assert "cat/muzzle" not in PART_NAMES
    assert "horse/lhorn" not in PART_NAMES
    assert len(set(map(unnumbered, PART_NAMES))) == 193  # as the literature counts them


def test_reads_what_was_written(tmp_path):
    truth = pascal_part.write(tmp_path, lists={"train": 24}, size=32)
    folder, bare, overlapping = find_annotations(tmp_path), 0, 0
    for id_, expected in truth.items():
        found = read_part_objects(folder / f"{id_}.mat")
        assert len(found) == len(expected)
        for each, (label, mask, parts) in zip(found, expected, strict=True):
            assert each.name == {"table": "diningtable"}.get(label, label)
            assert np.array_equal(each.mask.numpy(), mask)
            assert [name for name, _ in each.parts] == [f"{each.name}/{part}" for part, _ in parts]
            assert all(np.array_equal(a.numpy(), b) for (_, a), (_, b) in zip(each.parts, parts, strict=True))
            bare += not parts
            overlapping += any((a & b).any() for i, (_, a) in enumerate(parts) for _, b in parts[:i])
    assert bare > 4
    assert overlapping > 1


def test_the_sample_and_the_generator_have_one_structure(tmp_path):
    real = shared("pascal_part_synthetic/2010_000001.mat")
    person, table = read_part_objects(real)
    assert (person.name, [part for part, _ in person.parts]) == ("person", ["person/head", "person/torso"])
    assert (table.name, table.parts, tuple(table.mask.shape)) == ("diningtable", [], (6, 8))
    assert all(mask.any() and not (mask & ~person.mask).any() for _, mask in person.parts)
    objects = [("person", person.mask.numpy(), [(p.split("/")[1], m.numpy()) for p, m in person.parts])]
    pascal_part.save(tmp_path / "2010_000001.mat", [*objects, ("table", table.mask.numpy(), [])])
    ours, theirs = (loadmat(file)["anno"] for file in (tmp_path / "2010_000001.mat", real))
    assert structure(ours) == structure(theirs)


def test_single_objects_and_single_parts(tmp_path):
    body, head = masks((slice(1, 5), slice(1, 7)), (slice(1, 2), slice(2, 4)))
    pascal_part.save(tmp_path / "a.mat", [("dog", body, [("head", head)])])
    (found,) = read_part_objects(tmp_path / "a.mat")
    assert (found.name, found.parts[0][0], int(found.parts[0][1].sum())) == ("dog", "dog/head", 2)
    pascal_part.save(tmp_path / "b.mat", [])
    assert read_part_objects(tmp_path / "b.mat") == []


@pytest.mark.parametrize(
    ("objects", "match"),
    [
        ([("dgo", (6, 8), [])], "has the class 'dgo', none of VOC's. Did you mean 'dog'"),
        ([("dog", (6, 8), [("haed", (6, 8))])], "a dog has the part 'dog/haed', none of PASCAL-Part's. Did you mean"),
        ([("bus", (6, 8), [("wheel_11", (6, 8))])], "a bus has the part 'bus/wheel_11'"),
        ([("dog", (6, 8), [("head", (6, 7))])], "the masks of a dog and of 'dog/head' are of different sizes"),
        ([("dog", (6, 8, 3), [])], r"a mask is uint8 of shape \(6, 8, 3\)"),
    ],
)
def test_unknown_names_and_odd_masks(tmp_path, objects, match):
    made = [(name, np.ones(shape), [(p, np.ones(s)) for p, s in parts]) for name, shape, parts in objects]
    pascal_part.save(tmp_path / "a.mat", made)
    with pytest.raises(DatasetNotFoundError, match=rf"annotation '.*a.mat' cannot be read \(.*{match}"):
        read_part_objects(tmp_path / "a.mat")


def test_other_files_are_refused(tmp_path):
    savemat(tmp_path / "other.mat", {"x": 1})
    savemat(tmp_path / "flat.mat", {"anno": np.arange(3)})
    (tmp_path / "text.mat").write_text("<html>302 Found</html>")
    (tmp_path / "empty.mat").write_bytes(b"")
    for name in ("other", "flat", "text", "empty", "absent"):
        with pytest.raises(DatasetNotFoundError, match=rf"annotation '.*{name}.mat' cannot be read"):
            read_part_objects(tmp_path / f"{name}.mat")


def test_damage_anywhere_is_an_error_that_names_the_file_or_harmless(tmp_path):
    (body,) = masks((slice(1, 5), slice(1, 7)))
    pascal_part.save(tmp_path / "a.mat", [("dog", body, [("head", body), ("tail", body)])])
    content = (tmp_path / "a.mat").read_bytes()
    generator, refused = np.random.default_rng(0), 0
    for k in range(60):
        at = int(generator.integers(len(content)))
        bad = content[:at] if k % 2 else content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]
        (tmp_path / "b.mat").write_bytes(bad)
        try:
            read_part_objects(tmp_path / "b.mat")
        except DatasetNotFoundError:
            refused += 1
    assert refused > 30


def test_the_folder_is_looked_for(tmp_path):
    with pytest.raises(DatasetNotFoundError, match=r"no folder '.*Annotations_Part' or .* Pass the right `root`"):
        find_annotations(tmp_path)
    (tmp_path / "VOCdevkit" / "VOC2010" / "Annotations_Part").mkdir(parents=True)
    assert find_annotations(tmp_path).parent.name == "VOC2010"
