"""Reading pickles of strangers: plain data and nothing that runs."""

import io
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lightning_interp.exceptions import DatasetNotFoundError

_MOST_BYTES = 2**28
_REFUSED = ("EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER")  # take objects from outside of the file
_CODE = re.compile(r"[?bBhHiIlLqQefd]|[biufc]\d{1,2}|[SU]\d+")


class PlainArray(np.ndarray[Any, Any]):
    """An array that takes only numbers, truth values and texts out of a pickle."""

    def __setstate__(self, state: Any) -> None:
        """Fill it from ``(version, shape, type, is_fortran, bytes)``."""
        _, shape, kind, fortran, data = state
        plain: Any = (1, shape, _known(kind), bool(fortran), _as_bytes(data))
        super().__setstate__(plain)


class _Type:
    """Stands for a ``numpy.dtype``, whose own ``__setstate__`` would let in pointers as if they were numbers."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not (isinstance(code, str) and _CODE.fullmatch(code)):
            raise pickle.UnpicklingError(f"it holds an array of the type {str(code)[:80]!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("it holds an array of records")
        self.dtype = self.dtype.newbyteorder(state[1])


def _known(kind: Any) -> np.dtype[Any]:
    if not isinstance(kind, _Type):
        raise pickle.UnpicklingError("it holds an array of no known type")
    return kind.dtype


def _as_bytes(data: Any) -> bytes:
    return data.encode("latin1") if isinstance(data, str) else bytes(memoryview(data))  # Python 2 had no bytes


def _from_buffer(data: Any, kind: Any, shape: Any, order: str = "C", *_: Any) -> Any:
    rows: Any = "F" if order == "F" else "C"
    return np.ndarray(shape, _known(kind), _as_bytes(data), order=rows).copy(rows)


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # new at every call: a pickle may set attributes of what it is given
        makers: dict[tuple[str, str], Callable[..., Any]] = {
            ("_codecs", "encode"): lambda text, _: text.encode("latin1"),  # bytes under protocols before 3
            ("numpy", "ndarray"): lambda: None,  # only ever named, as what _reconstruct makes
            ("numpy", "dtype"): lambda code, *_: _Type(code),
        }
        for core in ("numpy.core", "numpy._core"):  # until 1.26, and from 2.0 on
            makers[core + ".multiarray", "_reconstruct"] = lambda *_: PlainArray(0, np.int8)
            makers[core + ".multiarray", "scalar"] = lambda kind, data: _from_buffer(data, kind, ())[()]
            makers[core + ".numeric", "_frombuffer"] = lambda *parts: _from_buffer(*parts)
        for builtins in ("builtins", "__builtin__"):
            makers[builtins, "bytes"] = lambda: b""
            makers.update({(builtins, kind.__name__): kind for kind in (set, frozenset, complex)})
        if (module, name) not in makers:
            raise pickle.UnpicklingError(
                f"it wants to build {module}.{name}, and only dictionaries, lists, tuples, sets, texts, numbers and"
                " arrays of numbers are let in"
            )
        return makers[module, name]


def load_plain_pickle(path: str | Path) -> Any:
    """Read a pickle, of Python 2 or 3, that comes from others: whatever it says, none of its code is run.

    Args:
        path: of the file, of at most 256 MiB.

    Returns:
        What it holds: dictionaries, lists, tuples, sets, texts, bytes, numbers, None, NumPy scalars and arrays (as
        ``PlainArray``) of numbers or texts. Bytes of Python 2 become text by Latin-1.

    Raises:
        DatasetNotFoundError: it is missing, too large or damaged, or wants to build anything else, which is named.

    Reference:
        Python documentation of ``pickle``, "Restricting globals".
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise pickle.UnpicklingError(f"it has {path.stat().st_size} bytes, {_MOST_BYTES} are let in")
        data = path.read_bytes()
        _check_opcodes(data)
        return _PlainUnpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # a damaged pickle can fail in any way
        raise DatasetNotFoundError(
            f"The pickle {str(path)!r} was not read: {error}. Fetch it again from its authors' page."
        ) from error


def _check_opcodes(data: bytes) -> None:
    """Raise before anything is built; lengths that the file does not have are refused by ``genops``."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in _REFUSED:
            raise pickle.UnpicklingError(f"it takes objects from outside of the file (opcode {opcode.name})")
        if opcode.name.endswith("PUT") and int(str(argument)) > len(data):
            raise pickle.UnpicklingError("it counts more objects than it has bytes")  # and would take as much memory
