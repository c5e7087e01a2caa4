import copyreg
import os
import pickle
import struct

import numpy as np
import pytest

from lightning_interp.datasets import restricted_pickle
from lightning_interp.datasets.restricted_pickle import load_plain_pickle
from lightning_interp.exceptions import DatasetNotFoundError

PLAIN = {
    "imlist": ["all_souls_000013", "ü"],
    "numbers": (1, -(2**80), 0.5, True, None, 2j),
    "sets": [{1, 2}, frozenset("a"), b"", b"\xff\0", set()],
    "nested": {"a": [{"b": ([], {})}]},
}
ARRAYS = [
    np.arange(6).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array([1.5, -2], ">f4"),
    np.zeros((0, 4)),
    np.array([True, False]),
    np.array(["ab", "c"]),
    np.array([b"ab"]),
    np.array(7, np.uint8),
    np.array([1 + 2j]),
]


def load(tmp_path, data):
    (tmp_path / "x.pkl").write_bytes(data)
    return load_plain_pickle(tmp_path / "x.pkl")


def refused(tmp_path, data, reason):
    with pytest.raises(DatasetNotFoundError, match=rf"The pickle '.*x.pkl' was not read: .*{reason}.*Fetch it again"):
        load(tmp_path, data)


def calls(function, *arguments):
    class Evil:
        def __reduce__(self):
            return function, arguments

    return Evil()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_comes_back(tmp_path, protocol):
    found = load(tmp_path, pickle.dumps(PLAIN, protocol))
    assert found == PLAIN
    assert [type(value) for value in found["numbers"]] == [int, int, float, bool, type(None), complex]
    same = []
    same.append(same)
    found = load(tmp_path, pickle.dumps(same, protocol))
    assert found[0] is found


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_scalars_come_back(tmp_path, protocol):
    for array, found in zip(ARRAYS, load(tmp_path, pickle.dumps(ARRAYS, protocol)), strict=True):
        native = array.dtype.newbyteorder("=")  # NumPy may turn the bytes of other machines around
        assert (found.shape, found.dtype.newbyteorder("=")) == (array.shape, native)
        assert isinstance(found, np.ndarray)
        assert np.array_equal(found, array)
        found[...] = found  # may be written to
    scalars = [np.float32(1.5), np.int64(-3), np.bool_(True), np.str_("a")]
    found = load(tmp_path, pickle.dumps(scalars, protocol))
    assert found == scalars
    assert [type(value) for value in found] == [type(value) for value in scalars]


def test_old_and_new_names_of_numpy(tmp_path):
    data = pickle.dumps(ARRAYS[0], 2)
    for old, new in ((b"numpy._core", b"numpy.core"), (b"numpy.core", b"numpy._core")):
        assert load(tmp_path, data.replace(old, new)).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_python_2(tmp_path):
    # pickle.dumps({'bbx': numpy.array([1.5, -2.]), 'ok': [3L], 'name': 'caf\xe9', 'u': u'\xe9'}, 2) of Python 2.7
    def text(value):
        return b"U" + bytes([len(value)]) + value

    dtype = (
        b"cnumpy\ndtype\n"
        + text(b"f8")
        + b"K\0K\1\x87R(K\3"
        + text(b"<")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    )
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + text(b"b") + b"\x87R"
    array = empty + b"(K\1K\2\x85" + dtype + b"\x89" + text(struct.pack("<2d", 1.5, -2)) + b"tb"
    items = text(b"bbx") + array + text(b"ok") + b"]\x8a\1\3a" + text(b"name") + text(b"caf\xe9")
    found = load(tmp_path, b"\x80\2}(" + items + text(b"u") + b"X\2\0\0\0\xc3\xa9u.")
    assert found.pop("bbx").tolist() == [1.5, -2]
    assert found == {"ok": [3], "name": "café", "u": "é"}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [(os.system, ("echo evil > {}",), rf"{os.system.__module__}\.system"), (eval, ("open('{}', 'w')",), r"\w+\.eval"),
     (getattr, (PLAIN, "clear"), r"\w+\.getattr"), (bytearray, (2**40,), r"\w+\.bytearray"),
     (np.load, ("x.npy",), r"numpy\.load"), (exec, ("1",), r"\w+\.exec"), (type, ("A", (), {}), r"\w+\.type")],
)  # fmt: skip
def test_what_runs_is_refused_by_name(tmp_path, protocol, function, arguments, name):
    mark = tmp_path / "mark"
    arguments = [each.format(mark) if isinstance(each, str) else each for each in arguments]
    for holder in (lambda evil: evil, lambda evil: {"gnd": [{"easy": (evil, {"x": [evil]})}]}):
        data = pickle.dumps(holder(calls(function, *arguments)), protocol)
        refused(tmp_path, data, f"it wants to build {name}, and only")
    assert not mark.exists()


class Record:
    pass


def test_objects_and_their_state_are_refused(tmp_path):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        refused(tmp_path, pickle.dumps(Record(), protocol), "it wants to build ")
    refused(tmp_path, b"\x80\4\x8c\2os\x8c\6system\x93.", r"it wants to build os\.system")
    refused(tmp_path, b"(S'echo'\nios\nsystem\n.", r"it wants to build os\.system")
    refused(tmp_path, b"\x80\4\x8c\x08builtins\x8c\x0bset.__doc__\x93.", r"build builtins\.set\.__doc__")


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    ("value", "reason"),
    [(np.array([{"a": 1}, None], object), "an array of the type 'O8'"), (np.array([(1, 2.0)], "i4,f8"), "'V12'"),
     (np.array(["2020-01-01"], "M8[D]"), "'M8'"), (np.dtype("O"), "'O8'")],
)  # fmt: skip
def test_arrays_of_objects_are_refused(tmp_path, protocol, value, reason):
    refused(tmp_path, pickle.dumps({"x": [value]}, protocol), f"it holds an array of the type .*{reason}|{reason}")


def test_numbers_that_claim_to_be_objects_are_refused(tmp_path):
    data = pickle.dumps(np.arange(2.0), 2)
    fields = pickle.dumps({"a": "f8"}, 2)[2:-1]
    evil = data.replace(b"NNNJ\xff\xff\xff\xff", b"N(X\1\0\0\0at" + fields + b"J\xff\xff\xff\xff")
    assert evil != data
    refused(tmp_path, evil, "an array of records")
    refused(tmp_path, b"\x80\2cnumpy.core.multiarray\nscalar\nNU\4abcd\x86R.", "an array of no known type")


def test_nothing_is_taken_from_outside_of_the_file(tmp_path):
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return "key" if value is Record else None

    file = tmp_path / "x.pkl"
    for protocol, name in ((0, "PERSID"), (2, "BINPERSID")):
        with file.open("wb") as opened:
            Pickler(opened, protocol).dump([Record])
        refused(tmp_path, file.read_bytes(), f"from outside of the file .opcode {name}")
    # the registry of extensions remembers objects: find_class is not asked for them a second time
    copyreg.add_extension("os", "system", 240)
    try:
        for data in (b"\x80\2\x82\xf0.", b"\x80\2\x83\xf0\0.", b"\x80\2\x84\xf0\0\0\0."):
            pickle.loads(data)
            refused(tmp_path, data, "opcode EXT")
    finally:
        copyreg.remove_extension("os", "system", 240)
        copyreg.clear_extension_cache()
    buffers = []
    data = pickle.dumps(np.arange(3), 5, buffer_callback=buffers.append)
    refused(tmp_path, data, "opcode NEXT_BUFFER")


def test_attributes_set_on_makers_do_not_stay(tmp_path):
    load(tmp_path, b"\x80\2c_codecs\nencode\nN}X\x0c\0\0\0__defaults__X\1\0\0\0x\x85s\x86b.")
    refused(tmp_path, b"\x80\2c_codecs\nencode\nX\1\0\0\0a\x85R.", "missing 1 required positional argument")


@pytest.mark.parametrize(
    "data",
    [b"", b"<html>302 Found</html>", pickle.dumps(PLAIN)[:-9], b"\x80\4.", b"\x80\x09N.",
     b"\x80\4\x8e" + struct.pack("<Q", 2**62) + b"a.", b"\x80\4]r\xff\xff\xff\x7f."],
)  # fmt: skip
def test_damaged_ones(tmp_path, data):
    refused(tmp_path, data, "")


def test_missing_and_too_large(tmp_path, monkeypatch):
    with pytest.raises(DatasetNotFoundError, match="No such file"):
        load_plain_pickle(tmp_path / "none.pkl")
    monkeypatch.setattr(restricted_pickle, "_MOST_BYTES", 99)
    assert load(tmp_path, pickle.dumps("a")) == "a"
    refused(tmp_path, pickle.dumps("a" * 200), r"has \d+ bytes, 99 are let in")
