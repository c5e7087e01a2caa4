"""Descriptors of the images of a loader."""

import json
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lightning_interp._checks import check_choice, message
from lightning_interp.exceptions import MeasurementWarning
from lightning_interp.functional.retrieval.describer import Describer, DescriptorMethod
from lightning_interp.functional.retrieval.image_lists import by_size, images_of, prepare, scale_box
from lightning_interp.functional.retrieval.whitening import Whitening

__all__ = ["BoxUse", "Descriptors", "describe_images", "described_batches", "learn_whitening"]

BoxUse: TypeAlias = Literal["factors", "crop"]


@dataclass(frozen=True)
class Descriptors:
    """Descriptors of images.

    Attributes:
        vectors: ``(n, D)`` of unit length, on the CPU.
        positions: Place of each image in the loader, ``(n,)``, in order.
        skipped: Images without a descriptor: place in the loader, and why.
        fell_back: Places of the queries whose box has no factor inside, so that all of them were kept.
        fingerprint: Of network, method and whitening: only equal ones can be compared.
        settings: Method, layer and numbers of the method.
    """

    vectors: Tensor
    positions: Tensor
    skipped: dict[int, str] = field(default_factory=dict)
    fell_back: tuple[int, ...] = ()
    fingerprint: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file."""
        names = ("skipped", "fell_back", "fingerprint", "settings")
        metadata = {"descriptors": json.dumps({name: getattr(self, name) for name in names})}
        save_file({"vectors": self.vectors.contiguous(), "positions": self.positions}, path, metadata)

    @classmethod
    def load(cls, path: str | Path) -> "Descriptors":
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("descriptors")
            if text is None:
                raise ValueError(message("path", "Descriptors.load", "a file written by Descriptors.save", str(path)))
            facts = json.loads(text)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        facts["skipped"] = {int(place): reason for place, reason in facts["skipped"].items()}
        facts["fell_back"] = tuple(facts["fell_back"])
        return cls(**tensors, **facts)


def describe_images(
    model: nn.Module,
    loader: Iterable[Any],
    method: DescriptorMethod = "nmf_v",
    *,
    layer: str | None = None,
    k: int = 4,
    whitening: Whitening | None = None,
    boxes: Tensor | None = None,
    box: BoxUse = "factors",
    share: float = 0.75,
    image_size: int | None = None,
    n_iter: int = 30,
    seed: int = 0,
) -> Descriptors:
    """Describe every image by one vector, so that images of the same thing have similar vectors.

    Args:
        model: A network; it runs in eval mode and is left as it was.
        loader: Batches of images as the network takes them: tensors ``(B, C, H, W)``, lists of images ``(C, H, W)`` of
            any sizes with None for one that could not be read, or tuples that begin with either.
        method: ``"nmf_v"``, the factors of an image: what there is, best for categories; ``"nmf_vtu"``, factors mixed
            with their neighbours: also how it is arranged, best for instances; ``"mac"``, ``"spoc"``, ``"gem"``,
            ``"crow"`` and ``"rmac"``, pooled activations; ``"cam"``, activations under class activation maps, of
            networks that end in a global average and linear layers.
        layer: A layer with maps, non-negative for NMF; the last one of ``"last_block"`` by default.
        k: Factors of an image, for NMF.
        whitening: Of :func:`learn_whitening`, learned on other images with the same options.
        boxes: The part of each image that is meant, as for queries, ``(N, 4)``: left, top, right and bottom in pixels
            of the images in the loader.
        box: ``"factors"`` keeps the factors inside the box (NMF only); ``"crop"`` cuts the image.
        share: Of its activation that a factor must have inside the box, more than that.
        image_size: Scale images, after the cut, so that their smaller side is this.
        n_iter: Iterations of NMF; fixed, so that a descriptor does not depend on the batch.
        seed: Of the start of NMF.

    Returns:
        Descriptors; images that cannot be read, are not finite, or on which the layer is silent, are ``skipped``.

    Raises:
        ValueError: There is no image, a box is not inside its image, an option is out of range, the layer has no map,
            or, for ``"cam"``, more than an average and linear layers follow it.
        NegativeActivationsError: NMF of a layer with negative activations.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        >>> found = describe_images(net, [torch.rand(5, 3, 16, 12), [torch.rand(3, 12, 16), None]])
        >>> found.vectors.shape, found.positions.tolist(), found.skipped
        (torch.Size([6, 8]), [0, 1, 2, 3, 4, 5], {6: 'cannot be read'})

    Reference:
        Thesis, sections 5.3.1 and 5.4.
    """
    check_choice(box, "box", "describe_images", ("factors", "crop"))
    describer = Describer(model, method, layer, k, whitening, share, n_iter, seed)
    if boxes is not None and box == "factors" and not describer.is_nmf:
        must = "'crop' for this method; only NMF has factors to choose from"
        raise ValueError(message("box", "describe_images", must, box))
    vectors: dict[int, Tensor] = {}
    skipped: dict[int, str] = {}
    fell_back: list[int] = []
    for part in described_batches(describer, loader, boxes=boxes, box=box, image_size=image_size):
        vectors |= dict(zip(part.positions.tolist(), part.vectors, strict=True))
        skipped |= part.skipped
        fell_back += part.fell_back
    if not vectors:
        ways = f" Skipped: {skipped}." if skipped else ""
        raise ValueError(message("loader", "describe_images", "with one readable image at least", "none") + ways)
    _say(fell_back, share)
    places = sorted(vectors)
    stacked = torch.stack([vectors[place] for place in places])
    facts = (dict(sorted(skipped.items())), tuple(sorted(fell_back)), describer.fingerprint(), describer.settings())
    return Descriptors(stacked, torch.tensor(places), *facts)


def described_batches(
    describer: Describer,
    loader: Iterable[Any],
    *,
    boxes: Tensor | None = None,
    box: BoxUse = "factors",
    image_size: int | None = None,
) -> Iterator[Descriptors]:
    """Descriptors batch by batch, without fingerprints: see :func:`describe_images`."""
    done = 0
    for batch in loader:
        images = images_of(batch)
        part = None if boxes is None else boxes[done : done + len(images)]
        done += len(images)
        _check_number(boxes, done, at_end=False)
        yield _described(describer, images, done - len(images), part, box, image_size)
    _check_number(boxes, done, at_end=True)


def learn_whitening(
    model: nn.Module,
    loader: Iterable[Any],
    method: DescriptorMethod = "nmf_v",
    *,
    layer: str | None = None,
    k: int = 4,
    dim: int | None = None,
    image_size: int | None = None,
    n_iter: int = 30,
    seed: int = 0,
) -> Whitening:
    """Learn the whitening of a method's local descriptors on images that are not searched.

    Args:
        model: As in :func:`describe_images`, like all but ``dim``.
        loader: Of other images than those of the collection.
        method: As for the collection, like what follows.
        layer: The layer.
        k: Factors of an image.
        dim: Dimensions to keep; by default all in which descriptors vary.
        image_size: Smaller side of the images.
        n_iter: Iterations of NMF.
        seed: Of their start.

    Returns:
        The whitening, to hand to :func:`describe_images`.

    Raises:
        ValueError: As for :func:`describe_images`, or there are too few images for ``dim``.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        >>> whitening = learn_whitening(net, [torch.rand(20, 3, 16, 12)], dim=5)
        >>> describe_images(net, [torch.rand(4, 3, 16, 12)], whitening=whitening).vectors.shape
        torch.Size([4, 5])

    Reference:
        Jegou and Chum, ECCV 2012; thesis, section 5.3.1.
    """
    describer = Describer(model, method, layer, k, n_iter=n_iter, seed=seed)
    groups = (group for batch in loader for group in by_size(prepare(images_of(batch), None, image_size)[0]))
    return Whitening.fit((describer.rows(images)[0].flatten(0, 1) for _, images in groups), dim=dim)


def _check_number(boxes: Tensor | None, n_images: int, *, at_end: bool) -> None:
    if boxes is not None and (len(boxes) < n_images or (at_end and len(boxes) > n_images)):
        must = f"a box for every image, {n_images}{'' if at_end else ' or more'}"
        raise ValueError(message("boxes", "describe_images", must, boxes))


def _described(
    describer: Describer,
    images: list[Tensor | None],
    start: int,
    boxes: Tensor | None,
    box: BoxUse,
    image_size: int | None,
) -> Descriptors:
    ready, skipped = prepare(images, boxes if box == "crop" else None, image_size)
    vectors, positions, fell_back = [torch.empty(0)], [torch.empty(0).long()], []
    for group, stacked in by_size(ready):
        inside = None
        if boxes is not None and box == "factors":
            inside = torch.stack([scale_box(boxes[i], images[i], ready[i]) for i in group])  # type: ignore[arg-type]
        found, missed = (result.cpu() for result in describer(stacked, inside))
        there, places = (found != 0).any(1), torch.tensor(group)
        skipped |= {int(i): f"layer {describer.layer!r} is silent" for i in places[~there]}
        vectors.append(found[there])
        positions.append(places[there] + start)
        fell_back += (places[missed & there] + start).tolist()
    reasons = {place + start: reason for place, reason in skipped.items()}
    return Descriptors(torch.cat(vectors), torch.cat(positions), reasons, tuple(fell_back))


def _say(fell_back: list[int], share: float) -> None:
    if fell_back:
        text = (
            f"{len(fell_back)} boxes have no factor with more than {share:.0%} of its activation inside: all factors of"
            f" these images were kept. Images: {', '.join(map(str, fell_back[:10]))}. Try a larger `k` or box='crop'."
        )
        warnings.warn(text, MeasurementWarning, stacklevel=3)
