"""Measures of rankings, slowly: from the thesis, and as the official programs walk through a ranking."""


def average_precision(ranking, positives, junk=(), at=None):
    """Thesis, equations 5.2, 5.3 and 5.8: a precision for every place."""
    kept = [item for item in ranking if item not in set(junk)]
    relevant = set(positives)
    places = len(kept) if at is None else min(at, len(kept))
    total = 0.0
    for n in range(1, places + 1):
        if kept[n - 1] in relevant:
            precision_at_n = len([item for item in kept[:n] if item in relevant]) / n
            total += precision_at_n
    return total / (len(relevant) if at is None else min(at, len(relevant)))


def compute_ap(ranking, positives, junk=()):
    """The program of Oxford and Paris, ``compute_ap.cpp``, line by line (in double precision)."""
    pos, amb = set(positives), set(junk)
    old_recall, old_precision = 0.0, 1.0
    ap = 0.0
    intersect_size, j = 0, 0
    for name in ranking:
        if name in amb:
            continue
        if name in pos:
            intersect_size += 1
        recall = intersect_size / len(pos)
        precision = intersect_size / (j + 1.0)
        ap += (recall - old_recall) * ((old_precision + precision) / 2.0)
        old_recall, old_precision = recall, precision
        j += 1
    return ap


def compute_map(ranking, positives, junk, kappas):
    """One query of the revisited evaluation code: AP and the precision at each of ``kappas``; all items are ranked."""
    pos = [rank for rank, item in enumerate(ranking) if item in positives]
    junks = [rank for rank, item in enumerate(ranking) if item in junk]
    k = ij = 0
    for ip in range(len(pos)):
        while ij < len(junks) and pos[ip] > junks[ij]:
            k += 1
            ij += 1
        pos[ip] -= k
    ap = 0.0
    for j, rank in enumerate(pos):
        before = 1.0 if rank == 0 else j / rank
        ap += (before + (j + 1) / (rank + 1)) / (2.0 * len(pos))
    precisions = []
    for kappa in kappas:
        kq = min(max(pos) + 1, kappa)
        precisions.append(sum(rank + 1 <= kq for rank in pos) / kq)
    return ap, precisions
