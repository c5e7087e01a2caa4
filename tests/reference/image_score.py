"""The image score as methods.md section 5 writes it: image by image, layer by layer, unit by unit."""

from math import log, sqrt


def class_means(chains, labels, n_classes):
    """For every class the mean chain; zeros for a class without images. A chain is a list of units per layer."""
    means = []
    for c in range(n_classes):
        own = [chain for chain, label in zip(chains, labels, strict=True) if label == c]
        sizes = [len(layer) for layer in chains[0]]
        means.append(
            [[sum(chain[i][d] for chain in own) / max(len(own), 1) for d in range(sizes[i])] for i in range(len(sizes))]
        )
    return means


def threshold(units, norm):
    """Half of the norm of a layer."""
    if norm == "linf":
        return max(units) / 2
    if norm == "l1":
        return sum(abs(unit) for unit in units) / len(units) / 2
    return sqrt(sum(unit**2 for unit in units) / len(units)) / 2


def image_score(chain, mean, *, norm="linf", reading="class_mean", overlap=True):
    """Score of one image for one class: log of the share of the mask that it activates, one added to both counts."""
    score = 0.0
    for units, usual in zip(chain, mean, strict=True):
        limit = threshold(usual, norm)
        if limit <= 0:  # a dead layer has no mask
            continue
        own = limit if reading == "class_mean" else threshold(units, norm)
        above = size = 0
        for unit, mean_unit in zip(units, usual, strict=True):
            in_mask = mean_unit >= limit
            active = own > 0 and unit >= own
            size += in_mask
            above += active and (in_mask or not overlap)
        score += log((above + 1) / (size + 1))
    return score
