"""VOC average precision as the development kit computes it: class by class, detection by detection."""

import numpy as np


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inner = width * height
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)


def average_precision(predictions, targets, label, *, iou_threshold=0.5, rule="area"):
    """AP of one class; scores must differ."""
    truth = []
    for target in targets:
        own = [i for i in range(len(target["labels"])) if int(target["labels"][i]) == label]
        boxes = [target["boxes"][i].tolist() for i in own]
        difficult = [bool(target["difficult"][i]) for i in own]
        truth.append({"boxes": boxes, "difficult": difficult, "found": [False] * len(own)})
    npos = sum(not d for image in truth for d in image["difficult"])
    if npos == 0:
        return float("nan")
    detections = [
        (float(found["scores"][i]), image, found["boxes"][i].tolist())
        for image, found in enumerate(predictions)
        for i in range(len(found["labels"]))
        if int(found["labels"][i]) == label
    ]
    tp, fp = [], []
    for _, image, box in sorted(detections, key=lambda d: -d[0]):
        gt, best, owner = truth[image], -np.inf, None
        for j, other in enumerate(gt["boxes"]):
            overlap = iou(box, other)
            if overlap > best:
                best, owner = overlap, j
        right = wrong = 0
        if best >= iou_threshold:
            if not gt["difficult"][owner]:
                right, wrong = (0, 1) if gt["found"][owner] else (1, 0)
                gt["found"][owner] = True
        else:
            wrong = 1
        tp.append(right)
        fp.append(wrong)
    tp, fp = np.cumsum(tp), np.cumsum(fp)
    recall = tp / npos
    precision = tp / np.maximum(tp + fp, 1)
    return _eleven_point(tp, npos, precision) if rule == "eleven_point" else _area(recall, precision)


def _area(recall, precision):
    recall = np.concatenate([[0.0], recall, [1.0]])
    precision = np.concatenate([[0.0], precision, [0.0]])
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    changes = np.where(recall[1:] != recall[:-1])[0]
    return float(sum((recall[i + 1] - recall[i]) * precision[i + 1] for i in changes))


def _eleven_point(tp, npos, precision):
    total = 0.0
    for t in range(11):
        reached = [p for found, p in zip(tp, precision, strict=True) if found * 10 >= t * npos]
        total += max(reached, default=0.0) / 11
    return float(total)
