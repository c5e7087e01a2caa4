"""The sweep behind a compression curve: re-run a network with activations of rank 0, k1, k2, ..., and full rank."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_interp.exceptions import NegativeActivationsError
from lightning_interp.functional.factorization import FactorizationMethod, factorize
from lightning_interp.functional.folding import fold, unfold
from lightning_interp.hooks import evaluating, replace, resume

__all__ = ["CompressionCounts", "SweepOptions", "class_scores", "group_batches", "sweep_ranks"]

# Image numbers that go through the network at once: 0.5 GB per 64-channel layer at input resolution.
_MAX_PIXELS = 2**21


@dataclass(frozen=True)
class CompressionCounts:
    """What a sweep counts; the counts of disjoint sets of batches add up to those of their union.

    Attributes:
        correct: Correctly classified images per class, ``(len(ks) + 2, n_classes)``: rank 0, each ``k``, full rank.
        total: Images per class, ``(n_classes,)``.
        squared_error: ``||A - A_k||^2`` summed over batches, ``(len(layers), len(ks))``.
        squared_norm: ``||A||^2`` summed over batches, ``(len(layers), len(ks))``.
    """

    correct: Tensor
    total: Tensor
    squared_error: Tensor
    squared_norm: Tensor

    def __add__(self, other: "CompressionCounts") -> "CompressionCounts":
        return CompressionCounts(
            self.correct + other.correct,
            self.total + other.total,
            self.squared_error + other.squared_error,
            self.squared_norm + other.squared_norm,
        )

    @classmethod
    def zeros(cls, n_layers: int, n_ks: int, n_classes: int) -> "CompressionCounts":
        """Counts of no images at all."""
        per_class, per_layer = (n_ks + 2, n_classes), (n_layers, n_ks)
        shapes = (per_class, (n_classes,), per_layer, per_layer)
        return cls(*(torch.zeros(shape, dtype=torch.float64) for shape in shapes))


@dataclass(frozen=True)
class SweepOptions:
    """Everything a sweep needs besides the network and the images; checked by ``compression_curve``."""

    layers: tuple[str, ...]
    ks: tuple[int, ...]
    method: FactorizationMethod = "nmf"
    residual: bool = False
    max_iter: int = 12
    seed: int = 0


def class_scores(output: Any) -> Tensor:
    """The ``(N, n_classes)`` tensor in what a model returns: itself, ``.logits``, ``["logits"]`` or the first item."""
    if isinstance(output, dict):
        output = output.get("logits", output)
    elif isinstance(output, tuple | list) and output:
        output = output[0]
    output = getattr(output, "logits", output)
    if not isinstance(output, Tensor) or output.ndim != 2:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise TypeError(f"The model must return class scores (N, n_classes), or an object with `logits`. Got {shape}.")
    return output


def group_batches(labels: Tensor, *, batch_size: int, single_class: bool) -> list[Tensor]:
    """Index tensors of the batches that are factorised together.

    Args:
        labels: Given labels, ``(N,)``.
        batch_size: Images per batch; the last one of a class (or of all) may be smaller.
        single_class: Whether a batch holds images of one class only, else images in the order they come.

    Returns:
        One index tensor per batch.

    Example:
        >>> [batch.tolist() for batch in group_batches(torch.tensor([0, 1, 0, 1]), batch_size=2, single_class=True)]
        [[0, 2], [1, 3]]
    """
    if not single_class:
        return list(torch.arange(len(labels)).split(batch_size))
    classes = labels.unique()
    return [batch for c in classes for batch in (labels == c).nonzero().flatten().cpu().split(batch_size)]


def sweep_ranks(
    model: nn.Module, images: Tensor, labels: Tensor, batches: list[Tensor], options: SweepOptions, *, n_classes: int
) -> CompressionCounts:
    """Count, for each rank, the images still classified as labelled when ``options.layers`` are compressed in turn.

    The network in front of the first layer runs once. Layers are compressed in network order, so that later ones
    see compressed input.

    Args:
        model: The network; it runs in eval mode and is left as it was.
        images: ``(N, C, H, W)``, or whatever ``(N, ...)`` the model takes, on the model's device.
        labels: Given labels, ``(N,)``.
        batches: Index tensors of the batches that are factorised together.
        options: Layers, ranks and method.
        n_classes: Number of classes.

    Returns:
        The counts, on the CPU.
    """
    counts = CompressionCounts.zeros(len(options.layers), len(options.ks), n_classes)
    with evaluating(model):
        for chunk in _chunks(batches, images):
            index = torch.cat(chunk).to(labels.device)
            counts += _sweep_chunk(model, images[index], labels[index], len(chunk), options, n_classes)
    return counts


def _chunks(batches: list[Tensor], images: Tensor) -> list[list[Tensor]]:
    """Batches of equal size together, few enough to go through the network at once."""
    pixels = max(1, images[0].numel() // 3) if len(images) else 1
    by_size: dict[int, list[Tensor]] = {}
    for batch in batches:
        by_size.setdefault(len(batch), []).append(batch)
    chunks = []
    for size, same in by_size.items():
        step = max(1, _MAX_PIXELS // (size * pixels))
        chunks += [same[i : i + step] for i in range(0, len(same), step)]
    return chunks


def _sweep_chunk(
    model: nn.Module, images: Tensor, labels: Tensor, n_batches: int, options: SweepOptions, n_classes: int
) -> CompressionCounts:
    first, *later = (_Compressor(i, n_batches, options) for i in range(len(options.layers)))
    with resume(model, first.layer, images) as tail, replace(model, {c.layer: c for c in later}):
        correct = []
        for k in (0, *options.ks):
            for compressor in (first, *later):
                compressor.k = k
            correct.append(_correct(tail(first(tail.activation)), labels, n_classes))
        correct.append(_correct(tail.output, labels, n_classes))
    errors = torch.tensor([c.squared_errors for c in (first, *later)], dtype=torch.float64)
    norms = torch.tensor([c.squared_norms for c in (first, *later)], dtype=torch.float64)
    total = torch.bincount(labels, minlength=n_classes).double().cpu()
    return CompressionCounts(torch.stack(correct), total, errors, norms)


def _correct(output: Any, labels: Tensor, n_classes: int) -> Tensor:
    hits = labels[class_scores(output).argmax(1) == labels]
    return torch.bincount(hits, minlength=n_classes).double().cpu()


class _Compressor:
    """Replaces the activations of one layer by their rank-``k`` reconstruction, warm-starting from the last ``k``."""

    def __init__(self, index: int, n_batches: int, options: SweepOptions) -> None:
        self.layer, self.n_batches, self.options = options.layers[index], n_batches, options
        self.seed = options.seed + index
        self.k = 0
        self.v: Tensor | None = None
        self.squared_errors: list[float] = []
        self.squared_norms: list[float] = []

    def __call__(self, activations: Tensor) -> Tensor:
        if self.k == 0:
            return torch.zeros_like(activations)
        matrix = fold(activations, n_batches=self.n_batches, layer=self.layer)
        kept = self._reconstruct(matrix)
        return unfold(matrix - kept if self.options.residual else kept, activations)

    def _reconstruct(self, matrix: Tensor) -> Tensor:
        k = min(self.k, *matrix.shape[1:])
        try:
            with torch.autocast(matrix.device.type, enabled=False):  # the maths stays in single precision
                factors = factorize(matrix, k, method=self.options.method, **self._arguments())
                kept = factors.reconstruct()
        except NegativeActivationsError as error:
            shape = tuple(matrix.shape)
            raise NegativeActivationsError(f"Layer {self.layer!r}, activations folded to {shape}: {error}") from None
        self.v = factors.v
        norm = matrix.float().square().sum((1, 2)).double()
        self.squared_norms.append(float(norm.sum()))
        self.squared_errors.append(float((norm * factors.error.double().square()).sum()))
        return kept

    def _arguments(self) -> dict[str, Any]:
        if self.options.method == "pca":
            return {}
        # A fresh generator per call: with NMF the result of a batch depends on nothing but the batch.
        generator = torch.Generator().manual_seed(self.seed)
        if self.options.method == "nmf":
            start = {"v": self.v, "init": "nndsvda"}  # along a path better than a fresh start at each rank
            return {"generator": generator, **start, "max_iter": self.options.max_iter, "tol": 0.0}
        return {"generator": generator}
