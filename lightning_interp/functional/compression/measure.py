"""Measuring compression curves: which layers, which batches, which ranks."""

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn

from lightning_interp._checks import check_choice, check_int
from lightning_interp.functional.compression.curve import CompressionCurve
from lightning_interp.functional.compression.sweep import SweepOptions, class_scores, group_batches, sweep_ranks
from lightning_interp.functional.factorization import FactorizationMethod
from lightning_interp.functional.folding import fold
from lightning_interp.hooks import LayerSpec, capture, evaluating, select_layers

__all__ = ["check_ranks", "compression_curve", "inspect_layers", "layer_compression_curves"]

_DEFAULT_RANKS = tuple(2**i for i in range(8))  # half of a sweep's time would go into 256 alone


def compression_curve(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    layers: LayerSpec = "last_block",
    ks: Sequence[int] | None = None,
    method: FactorizationMethod = "nmf",
    residual: bool = False,
    batch_size: int = 50,
    single_class: bool = True,
    max_iter: int = 12,
    generator: torch.Generator | None = None,
) -> CompressionCurve:
    """Measure how well a network classifies when the activations of some layers are compressed to rank ``k``.

    For each ``k`` every layer in turn is replaced by its rank-``k`` reconstruction, batch by batch, so that later
    layers see compressed input. A network that memorises needs a higher rank: its AuC is lower.

    Args:
        model: Any network that maps images to class scores ``(N, n_classes)``. It is run in eval mode and left as
            it was.
        images: ``(N, C, H, W)``, on the model's device: training images, 50 per class in the thesis.
        labels: The labels used in training, ``(N,)``.
        layers: Layers to compress, see :func:`lightning_interp.hooks.select_layers`.
        ks: Ranks; powers of two below the width, up to 128, by default. Layers narrower than ``k`` stay as they are.
        method: ``"nmf"``, ``"pca"``, ``"kmeans"`` or ``"random_ablation"``.
        residual: Feed the residual ``A - A_k`` on instead: ablate the directions (thesis, eq. 3.21).
        batch_size: Images factorised together.
        single_class: Whether the images of a batch share one label, as in the thesis, or come in the order given.
        max_iter: Iterations of the NMF solver.
        generator: Source of randomness of the factorisation.

    Returns:
        The curve, with ``ks``, ``accuracy``, ``auc``, ``relative_auc`` and ``full_accuracy``.

    Raises:
        ValueError: If images and labels do not fit, a layer or method is unknown, or a ``k`` is out of range.
        NegativeActivationsError: If ``method="nmf"`` meets a layer with negative activations.

    Example:
        >>> from lightning_interp.models import CIFAR10CNN
        >>> net, images = CIFAR10CNN(width=4), torch.rand(20, 3, 32, 32)
        >>> curve = compression_curve(net, images, torch.arange(20) % 2, ks=[1, 4])
        >>> curve.layers
        ('features.17', 'features.19', 'features.21')

    Reference:
        Thesis, sections 3.4 and 3.5.2.
    """
    owner = "compression_curve"
    if not len(images) or len(images) != len(labels):
        raise ValueError(
            f"The `labels` parameter of `{owner}` must hold one label per image, and at least one. "
            f"Got {len(images)} images and {len(labels)} labels."
        )
    check_choice(method, "method", owner, get_args(FactorizationMethod))
    check_int(batch_size, "batch_size", owner)
    check_int(max_iter, "max_iter", owner)
    names, width, n_classes = inspect_layers(model, layers, images[:1])
    grid = check_ranks(ks, width)
    seed = 0 if generator is None else int(torch.randint(2**31, (), generator=generator))
    options = SweepOptions(names, grid, method, residual, max_iter, seed)
    batches = group_batches(labels, batch_size=batch_size, single_class=single_class)
    counts = sweep_ranks(model, images, labels, batches, options, n_classes=n_classes)
    return CompressionCurve(grid, width, names, method, residual, counts)


def layer_compression_curves(
    model: nn.Module, images: Tensor, labels: Tensor, *, layers: LayerSpec = "last_block", **options: Any
) -> dict[str, CompressionCurve]:
    """One compression curve per layer, each with only that layer compressed.

    Args:
        model: Any network that maps images to class scores.
        images: ``(N, C, H, W)``, on the model's device.
        labels: The labels used in training, ``(N,)``.
        layers: Layers to measure.
        **options: As in :func:`compression_curve`.

    Returns:
        The curves by layer name, in network order.

    Example:
        >>> from lightning_interp.models import FashionMNISTMLP
        >>> curves = layer_compression_curves(
        ...     FashionMNISTMLP(width=4), torch.rand(8, 1, 28, 28), torch.arange(8) % 2, ks=[2]
        ... )
        >>> {name: curve.width for name, curve in curves.items()}
        {'features.1': 4, 'features.3': 16, 'features.5': 64, 'features.7': 64}

    Reference:
        Thesis, section 3.5.2, figure 3.3.
    """
    names = select_layers(model, layers, example_input=images[:1])
    return {name: compression_curve(model, images, labels, layers=name, **options) for name in names}


def inspect_layers(model: nn.Module, layers: LayerSpec, image: Tensor) -> tuple[tuple[str, ...], int, int]:
    """Names of the layers, channels of the widest one, and number of classes, from a forward pass of one image."""
    names = tuple(select_layers(model, layers, example_input=image))
    with evaluating(model), capture(model, names) as activations:
        n_classes = class_scores(model(image)).shape[1]
    width = max(fold(activations[name], layer=name).shape[-1] for name in names)
    return names, width, n_classes


def check_ranks(ks: Sequence[int] | None, width: int) -> tuple[int, ...]:
    """The ranks of a sweep, sorted and checked against the layer width; powers of two below it, to 128, by default."""
    if ks is None:
        return tuple(k for k in _DEFAULT_RANKS if k < width) or (1,)
    if not ks:
        raise ValueError(f"The `ks` parameter of `compression_curve` must hold ints in [1, {width}]. Got none.")
    return tuple(sorted({check_int(k, "ks", "compression_curve", high=width) for k in ks}))
