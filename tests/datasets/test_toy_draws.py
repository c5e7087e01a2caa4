import numpy as np

from lightning_interp.datasets.toy_draws import uniforms

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def test_equals_python_integers():
    """The same hash in Python's unbounded integers: no machine, SIMD width or overflow rule enters."""
    draws = uniforms(12345, 3, [0, 7, 10**12], 4)
    for i, row in enumerate((0, 7, 10**12)):
        key = mix((mix(mix(12345) + 3 * GOLDEN & MASK) + row * GOLDEN) & MASK)
        for j in range(4):
            assert draws[i, j] == (mix((key + (j + 1) * GOLDEN) & MASK) >> 40) / 2**24


def test_uniform_and_independent():
    draws = uniforms(0, 0, np.arange(4000), 5)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert np.abs(draws.mean(0) - 0.5).max() < 0.03
    assert np.abs(np.corrcoef(draws.T) - np.eye(5)).max() < 0.06
    assert np.abs(np.corrcoef(draws[1:, 0], draws[:-1, 0])[0, 1]) < 0.06


def test_every_part_of_the_address_counts():
    base = uniforms(1, 0, [5], 3)
    assert not np.array_equal(base, uniforms(2, 0, [5], 3))
    assert not np.array_equal(base, uniforms(1, 1, [5], 3))
    assert not np.array_equal(base, uniforms(1, 0, [6], 3))
