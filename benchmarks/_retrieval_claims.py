"""Tables of what was measured on toy worlds, and what becomes of the claims of the thesis there."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from scipy import stats
from torch import Tensor

from benchmarks._retrieval_scores import HEADLINE, Scores
from benchmarks._retrieval_worlds import World
from lightning_interp.functional.retrieval.describer import DescriptorMethod

CLAIMS: dict[str, DescriptorMethod] = {"categories": "nmf_v", "instances": "nmf_vtu"}  # the best one, it says
RESAMPLES = 5000


def score_row(scores: Scores) -> dict[str, Any]:
    """One line for a descriptor and a use of the box, in percent."""
    setting, groups = scores.setting, 100 * scores.by_group()
    means, errors = groups.mean(1).tolist(), (groups.std(1) / groups.shape[1] ** 0.5).tolist()
    row: dict[str, Any] = {"method": setting.method, "k": setting.k if setting.is_nmf else None}
    row |= {"whitened to": setting.dim, "box": scores.box}
    for i, name in enumerate(("mAP", "mAP, expanded", "mAP@30")):
        row |= {name: means[i], f"{name} s.e.": errors[i]}
    return row | ({"no factor in the box": 100 * scores.fell_back} if scores.box == "factors" else {})


def reference_rows(worlds: Sequence[World]) -> list[dict[str, Any]]:
    """What to expect by chance, and of who knows what there is and not how it stands."""
    chance, alike = [], []
    for world in worlds:
        for positives, same in zip(world.positives, world.alike, strict=True):
            chance.append(blind_precision(len(positives), len(world.images)))
            alike.append(blind_precision(len(positives), len(same)))
    rows = [{"method": "chance", "mAP": 100 * float(np.mean(chance))}]
    if worlds[0].name == "instances":
        rows.append({"method": "what there is, by the truth", "mAP": 100 * float(np.mean(alike))})
    return rows


def blind_precision(n_positives: int, n: int) -> float:
    """Expected average precision of a random order of ``n`` images: ``(1 + (R - 1) / (n - 1) (n / H_n - 1)) H_n / n``.

    At place r the image is a positive with probability R / n, and each of the r - 1 before it with (R - 1) / (n - 1).
    """
    harmonic = float((1 / np.arange(1, n + 1)).sum())
    others = (n_positives - 1) / (n - 1) if n > 1 else 0.0
    return (harmonic + others * (n - harmonic)) / n


def claim_rows(world: str, found: Sequence[Scores]) -> list[dict[str, Any]]:
    """The descriptor that should be the best minus every other one, plain and whitened, for each use of the box."""
    rows = []
    for whitened, box in product((False, True), ("factors", "crop")):
        some = [each for each in found if (each.setting.dim is not None) == whitened]
        some = [each for each in some if each.box == box or not each.setting.is_nmf]
        best = next((each for each in some if each.setting.method == CLAIMS[world]), None)
        if best is None:
            continue
        ours = best.by_group()[HEADLINE[world]]
        for other in (each for each in some if each is not best):
            row = {"best, it says": CLAIMS[world], "whitened": "yes" if whitened else "no", "its box": box}
            row |= {"score": "mAP@30" if HEADLINE[world] == 2 else "mAP", "other": other.setting.method}
            rows.append(row | verdict(ours - other.by_group()[HEADLINE[world]]))
    return rows


def verdict(differences: Tensor) -> dict[str, Any]:
    """Mean of paired differences, one for each group of queries, in points, with its 95 % bootstrap interval."""
    points = 100 * differences.double()
    mean = float(points.mean())
    low = high = mean
    if len(points) > 1 and float(points.std()) > 0:
        rng = np.random.default_rng(0)
        interval = stats.bootstrap((points.numpy(),), np.mean, n_resamples=RESAMPLES, method="percentile", rng=rng)
        low, high = map(float, interval.confidence_interval)
    word = "above" if low > 0 else "below" if high < 0 else "open"
    return {"groups": len(points), "difference": mean, "low": low, "high": high, "it is": word}
