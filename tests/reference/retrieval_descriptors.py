"""Descriptors by loops, written from the papers."""

import math

import numpy as np


def rmac_regions(height, width, levels):
    """Tolias et al. (2016), section 4.1: squares at several scales, neighbours at level 1 overlap by about 40 %."""
    short, long = min(height, width), max(height, width)
    extra = 0
    if long > short:
        extra = min(range(1, 7), key=lambda m: abs((short - (long - short) / m) / short - 0.4))
    regions = []
    for level in range(1, levels + 1):
        side = max(1, math.floor(2 * short / (level + 1)))
        rows, columns = level + (extra if height > width else 0), level + (extra if width > height else 0)
        for i in range(rows):
            for j in range(columns):
                top = math.floor(i * (height - side) / (rows - 1)) if rows > 1 else 0
                left = math.floor(j * (width - side) / (columns - 1)) if columns > 1 else 0
                regions.append((top, left, side))
    return regions


def rmac(maps, levels=3):
    channels, height, width = maps.shape
    rows = []
    for top, left, side in rmac_regions(height, width, levels):
        cells = [(y, x) for y in range(top, top + side) for x in range(left, left + side)]
        rows.append([max(maps[c, y, x] for y, x in cells) for c in range(channels)])
    return np.array(rows)


def crow_weights(maps):
    """Kalantidis et al. (2016), section 3.3; thesis, equation 5.4."""
    share = [(channel > 0).mean() for channel in maps]
    return np.array([math.log(sum(share) / q) if q > 0 else 0.0 for q in share])


def crow(maps):
    total = maps.sum(0)
    spatial = np.sqrt(total / math.sqrt((total**2).sum()))
    return np.array([(channel * spatial).sum() for channel in maps]) * crow_weights(maps)


def mixed(v, u):
    """Thesis, equations 5.5 to 5.7."""
    k, height, width = u.shape
    offsets = range(-6, 7)
    kernel = {(a, b): math.exp(-(a * a + b * b) / (2 * 2.0)) for a in offsets for b in offsets}
    total = sum(kernel.values())
    blurred = np.zeros_like(u)
    for n in range(k):
        for y in range(height):
            for x in range(width):
                for (a, b), weight in kernel.items():
                    if 0 <= y + a < height and 0 <= x + b < width:
                        blurred[n, y, x] += weight / total * u[n, y + a, x + b]
    flat = blurred.reshape(k, -1)
    unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    return unit @ unit.T @ v


def aggregated(rows, mean=None, projection=None, *, again):
    """L2, PCA whitening, L2 once more where the method asks for it, sum, L2."""
    total = 0.0
    for row in rows:
        if not row.any():
            continue
        row = row / np.linalg.norm(row)
        if mean is not None:
            row = projection @ (row - mean)
            row = row / np.linalg.norm(row) if again else row
        total = total + row
    return total / np.linalg.norm(total)
