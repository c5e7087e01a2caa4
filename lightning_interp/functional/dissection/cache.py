"""Dissections of layers in files, found again by what they were made from."""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lightning_interp.functional.dissection.result import LayerDissection
from lightning_interp.functional.dissection.top_images import TopImages
from lightning_interp.hooks.fingerprint import add_tensor

__all__ = ["cached_layers", "dataset_fingerprint"]

_FORMAT = 1  # another number where the same question gets another answer
_ITEMS = 64


def cached_layers(
    cache_dir: str | Path,
    names: Sequence[str],
    compute: Callable[[list[str]], Mapping[str, LayerDissection]],
    made_from: Mapping[str, Any],
) -> dict[str, LayerDissection]:
    """The dissections of layers, computed where no file has them.

    A file's name is a hash of ``made_from`` and the layer's name, so layers never share one. It is written whole or not
    at all. Its content carries a checksum: a damaged file is computed again, with a warning.

    Args:
        cache_dir: Folder; made where it is missing.
        names: Layers.
        compute: Dissects the layers that are not there.
        made_from: Everything the result depends on, as JSON.
    """
    files = {name: Path(cache_dir) / f"{_key(name, made_from)}.safetensors" for name in names}
    found = {name: layer for name, file in files.items() if (layer := _load(file, name)) is not None}
    missing = [name for name in names if name not in found]
    if missing:
        found |= compute(missing)
    for name in missing:
        _save(files[name], found[name])
    return {name: found[name] for name in names}


def dataset_fingerprint(dataset: Any) -> str:
    """``dataset.fingerprint``, or a hash of length, concepts and up to 64 items, the first and last among them.

    A change to none of these items goes unnoticed: a dataset that changes should have a ``fingerprint``.
    """
    own = getattr(dataset, "fingerprint", None)
    if own is not None:
        return str(own)
    concepts = {name: list(names) for name, names in dataset.concepts.items()}
    digest = hashlib.sha256(json.dumps([len(dataset), concepts]).encode())
    n_items = min(_ITEMS, len(dataset))
    for index in (i * (len(dataset) - 1) // max(1, n_items - 1) for i in range(n_items)):
        image, target = dataset[index]
        add_tensor(digest, str(index), image)
        for category, value in sorted(target.items()):
            add_tensor(digest, category, torch.as_tensor(value))
    return digest.hexdigest()


def _key(name: str, made_from: Mapping[str, Any]) -> str:
    text = json.dumps({**made_from, "layer": name, "format": _FORMAT}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(tensors: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors):
        add_tensor(digest, name, tensor)
    return digest.hexdigest()


def _save(file: Path, layer: LayerDissection) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        "levels": layer.levels, "iou": layer.iou, "values": layer.top.values, "indices": layer.top.indices,
    }  # fmt: skip
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        unfinished,
        metadata={"sha256": _checksum(tensors.items())},
    )
    unfinished.replace(file)


def _load(file: Path, name: str) -> LayerDissection | None:
    if not file.exists():
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in ("levels", "iou", "values", "indices")}
            if opened.metadata()["sha256"] != _checksum(tensors.items()):
                raise KeyError("checksum")
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        text = f"The cached dissection of {name!r} in {file} is damaged ({error!r}): it is computed again."
        warnings.warn(text, stacklevel=4)
        return None
    return LayerDissection(tensors["levels"], tensors["iou"], TopImages(tensors["values"], tensors["indices"]))
