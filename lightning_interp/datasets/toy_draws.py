"""Random numbers by address: any draw of any toy scene, on any machine, without drawing the ones before it."""

import numpy as np
import numpy.typing as npt

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniforms(seed: int, stream: int, rows: npt.ArrayLike, n: int) -> npt.NDArray[np.float32]:
    """Numbers in [0, 1) that depend on (seed, stream, row, column) and on nothing else.

    A generator would have to be created per image, which costs more than drawing the image; a hash (the finaliser of
    splitmix64) gives whole tables at once, in any order.

    Args:
        seed: any non-negative int below 2**63.
        stream: separates uses of one seed.
        rows: addresses, shape ``(b,)``, non-negative ints.
        n: numbers per address.

    Returns:
        ``(b, n)``.

    >>> uniforms(0, 0, [7, 8], 3)[1].tolist() == uniforms(0, 0, [8], 3)[0].tolist()
    True
    """
    key = _mix(_mix(np.array([seed], dtype=np.uint64)) + np.array([stream], dtype=np.uint64) * _GOLDEN)
    row = _mix(key + np.asarray(rows).astype(np.uint64) * _GOLDEN)
    bits = _mix(row[:, None] + np.arange(1, n + 1, dtype=np.uint64) * _GOLDEN)
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)  # 24 bits: float32 never rounds up to 1


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
