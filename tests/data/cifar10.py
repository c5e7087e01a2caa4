"""Writes a small CIFAR-10 in the python version's own format, and teaches torchvision its checksums."""

import hashlib
import pickle

import numpy as np

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
BATCHES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]


def write(root, monkeypatch, *, per_batch=20):
    """Returns images (6 * per_batch, 32, 32, 3) and labels in file order; the last batch is the test split."""
    from torchvision.datasets import CIFAR10

    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6 * per_batch, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(6 * per_batch) % 10
    md5 = {}
    for i, name in enumerate(BATCHES):
        rows = slice(i * per_batch, (i + 1) * per_batch)
        content = {
            "batch_label": name,
            "labels": labels[rows].tolist(),
            "data": images[rows].transpose(0, 3, 1, 2).reshape(per_batch, 3072),
            "filenames": [f"{j}.png" for j in range(per_batch)],
        }
        md5[name] = _dump(folder / name, content)
    meta = {"num_cases_per_batch": per_batch, "label_names": NAMES, "num_vis": 3072}
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5[name]] for name in BATCHES[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [[BATCHES[5], md5[BATCHES[5]]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": _dump(folder / "batches.meta", meta)})
    return images, labels


def _dump(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2))
    return hashlib.md5(path.read_bytes()).hexdigest()
