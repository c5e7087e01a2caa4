"""Figures of adversarial images: what was added, what it changes inside, and whether it is noticed."""

from collections.abc import Mapping, Sequence
from math import floor, log10

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from lightning_interp._checks import check_int, message
from lightning_interp.functional.adversarial import ActivationChange, Detection, FoolingImages
from lightning_interp.plots.image_strip import displayable
from lightning_interp.plots.style import COLORS, axes_grid, finish

__all__ = ["plot_activation_change", "plot_adversarial", "plot_changed_maps", "plot_fooling", "plot_roc"]

_CELL = 1.5  # inches of a picture


def plot_adversarial(
    clean: Tensor,
    perturbed: Tensor,
    *,
    titles: Sequence[tuple[str, str]] | None = None,
    pictures: int = 4,
) -> Figure:
    r"""A row per image: clean, what was added (amplified, grey is nothing), perturbed.

    Args:
        clean: ``(N, C, H, W)`` in [0, 1].
        perturbed: ``(N, C, H, W)`` in [0, 1].
        titles: For each image, what stands above it and above its perturbed twin, such as ``"cat\n99 %"``.
        pictures: Images shown, the first ones.

    Returns:
        The figure.

    Raises:
        ValueError: If there is no image, or the arguments are not about the same images.

    Example:
        >>> import torch
        >>> clean = torch.full((1, 3, 8, 8), 0.5)
        >>> figure = plot_adversarial(clean, clean + 0.125, titles=[("cat", "dog")])
        >>> [axis.get_title() for axis in figure.axes]
        ['cat', 'added, x 4', 'dog']

    Reference:
        Goodfellow et al., ICLR 2015, figure 1; survey, figure 20.
    """
    check_int(pictures, "pictures", "plot_adversarial")
    _check(clean, perturbed, titles)
    n = min(pictures, len(clean))
    added = (perturbed[:n] - clean[:n]).detach().float().cpu()
    factor = _neat(0.5 / max(float(added.abs().max()), 1e-6))
    figure, axes = axes_grid(n, 3, width=_CELL, height=_CELL + (0.45 if titles else 0.15))
    for i, row in enumerate(axes[j : j + 3] for j in range(0, 3 * n, 3)):
        before, after = titles[i] if titles else ("clean", "perturbed") if i == 0 else ("", "")
        name = f"added, x {factor:g}" if i == 0 else ""
        grey = (0.5 + factor * added[i]).clamp(0, 1)
        for axis, picture, title in zip(row, (clean[i], grey, perturbed[i]), (before, name, after), strict=True):
            axis.imshow(displayable(picture.clamp(0, 1)), interpolation="nearest")
            axis.set_title(title, fontsize=8)
            axis.set_axis_off()
    return figure


def plot_fooling(found: Mapping[str, FoolingImages], *, classes: Sequence[str] | None = None) -> Figure:
    r"""A row of fooling images for each way to make them, with the class they are taken for and how surely.

    Captions of images that missed the confidence asked for are orange.

    Args:
        found: Name of the way -> its images.
        classes: Names of the classes; their numbers by default.

    Returns:
        The figure.

    Raises:
        ValueError: If there are no images.

    Example:
        >>> import torch
        >>> from lightning_interp.functional.synthesis import PixelSpace
        >>> steps, sure = torch.tensor([7]), torch.tensor([0.99995], dtype=torch.float64)
        >>> one = FoolingImages((3,), torch.rand(1, 3, 8, 8), sure, 0.9999, steps, torch.zeros(8, 1), PixelSpace())
        >>> plot_fooling({"no regulariser": one}).axes[0].get_title()
        '3\n99.995%'

    Reference:
        Nguyen et al., CVPR 2015, figure 1; survey, figure 19.
    """
    if not found:
        raise ValueError(message("found", "plot_fooling", "images of at least one way", "none"))
    columns = max(len(each.classes) for each in found.values())
    figure, axes = axes_grid(len(found), columns, width=1.15, height=1.55)
    for axis in axes:
        axis.set_axis_off()
    for r, (name, each) in enumerate(found.items()):
        row = axes[r * columns : (r + 1) * columns]
        row[0].text(-0.1, 0.5, name, rotation=90, ha="right", va="center", transform=row[0].transAxes, fontsize=8)
        for i, axis in enumerate(row[: len(each.classes)]):
            label = each.classes[i] if classes is None else classes[each.classes[i]]
            color = "black" if bool(each.reached[i]) else COLORS[1]
            axis.imshow(displayable(each.pixels[i]), interpolation="nearest")
            axis.set_title(f"{label}\n{_percent(float(each.confidences[i]))}", fontsize=8, color=color)
    return figure


def plot_activation_change(change: ActivationChange) -> Figure:
    """Relative change per layer under the perturbation and under noise of equal norm, and how much larger it is.

    Args:
        change: What :func:`lightning_interp.functional.adversarial.compare_activations` found.

    Returns:
        The figure.

    Example:
        >>> import torch
        >>> from lightning_interp.functional.adversarial import LayerChange
        >>> layers = {"conv": LayerChange(torch.tensor([[2.0, 2.0], [1.0, 1.0], [0.5, 0.5]]))}
        >>> [axis.get_ylabel() for axis in plot_activation_change(ActivationChange(layers, (), 8, 4)).axes]
        ['relative change of activations', 'perturbation / noise']
    """
    table = change.by_layer()
    positions = np.arange(len(table))
    figure, (left, right) = axes_grid(columns=2, width=max(4.2, 1.4 + 0.36 * len(table)), height=3.8)
    rows = (("perturbation", "change", "o-"), ("noise of equal norm", "change_by_noise", "s--"))
    for i, (name, column, style) in enumerate(rows):
        left.plot(positions, table[column], style, color=COLORS[1 - i], markersize=5, label=name)
    left.legend(fontsize=8)
    left.set_ylim(bottom=0)
    for position, layer in zip(positions, change.layers.values(), strict=True):
        units = layer.ratio[:-1]
        units = units[units.isfinite() & (units > 0)]
        right.plot([position] * len(units), units, "_", color="grey", alpha=0.5, label="a unit" if not position else "")
    right.plot(positions, table["ratio"], "o-", color=COLORS[0], markersize=5, label="the layer")
    right.axhline(1, color="black", linewidth=1, linestyle=":")
    right.set_yscale("log")
    right.legend(fontsize=8)
    finish(left, title=f"Mean over {change.n_images} images", x="", y="relative change of activations")
    finish(right, title="How much more than by chance", x="", y="perturbation / noise")
    for axis in (left, right):
        axis.set_xticks(positions, table.index, rotation=45, ha="right", fontsize=8, rotation_mode="anchor")
    return figure


def plot_changed_maps(change: ActivationChange, *, image: int = 0, maps: int = 8) -> Figure:
    r"""A row per unit: its map on a clean image, on its perturbed twin, and the difference.

    The two maps share one scale. In the difference, orange is more and purple is less than before, and the darkest
    stands for the largest value of the maps: a change that is small for the unit is pale.

    Args:
        change: What :func:`lightning_interp.functional.adversarial.compare_activations` found, with maps.
        image: Which of the images whose maps were kept.
        maps: Units shown at most, spread over the layers.

    Returns:
        The figure.

    Raises:
        ValueError: If there are no maps, or not of this image.

    Example:
        >>> import torch
        >>> from lightning_interp.functional.adversarial import ChangedMap
        >>> unit = ChangedMap("conv", 7, torch.rand(1, 4, 4), torch.rand(1, 4, 4))
        >>> plot_changed_maps(ActivationChange({}, (unit,), 1, 4)).axes[0].texts[0].get_text()
        'conv\nunit 7'

    Reference:
        Survey, figure 20.
    """
    owner = "plot_changed_maps"
    if not change.maps:
        raise ValueError(message("change", owner, "with maps: `maps_per_layer` of at least 1", "none"))
    check_int(image, "image", owner, low=0, high=len(change.maps[0].clean) - 1)
    n = min(check_int(maps, "maps", owner), len(change.maps))
    shown = [change.maps[i] for i in np.linspace(0, len(change.maps) - 1, n).round().astype(int)]
    figure, axes = axes_grid(n, 3, width=_CELL + 0.15, height=_CELL)
    for i, each in enumerate(shown):
        clean, perturbed, difference = (m[image].numpy() for m in (each.clean, each.perturbed, each.difference))
        scale = {"vmin": min(clean.min(), perturbed.min()), "vmax": max(clean.max(), perturbed.max())}
        reach = max(abs(scale["vmin"]), abs(scale["vmax"]), 1e-12)
        row = axes[3 * i : 3 * i + 3]
        row[0].imshow(clean, cmap="viridis", **scale)
        row[1].imshow(perturbed, cmap="viridis", **scale)
        row[2].imshow(difference, cmap="PuOr_r", vmin=-reach, vmax=reach)
        name = f"{each.layer}\nunit {each.unit}"
        row[0].text(-0.08, 0.5, name, ha="right", va="center", transform=row[0].transAxes, fontsize=8)
    for axis, title in zip(axes, ("clean", "perturbed", "difference"), strict=False):
        axis.set_title(title, fontsize=9)
    for axis in axes:
        axis.set_axis_off()
    return figure


def plot_roc(detections: Detection | Mapping[str, Detection]) -> Figure:
    """ROC curves: adversarial images found against false alarms, with the area under each.

    Args:
        detections: One detection, or several by name.

    Returns:
        The figure.

    Raises:
        ValueError: If there is none.

    Example:
        >>> import torch
        >>> from lightning_interp.functional.adversarial import detection_auc
        >>> figure = plot_roc({"FGSM": detection_auc(torch.zeros(3), torch.ones(3))})
        >>> figure.axes[0].get_legend().get_texts()[0].get_text()
        'FGSM: 1.00'
    """
    named = {"scores": detections} if isinstance(detections, Detection) else dict(detections)
    if not named:
        raise ValueError(message("detections", "plot_roc", "at least one detection", "none"))
    figure, (axis,) = axes_grid(width=5.8, height=4.2)
    for i, (name, each) in enumerate(named.items()):
        style = ("-", "--", "-.", ":")[i // len(COLORS) % 4]
        axis.plot(each.fpr, each.tpr, style, color=COLORS[i % len(COLORS)], label=f"{name}: {each.auc:.2f}")
    axis.plot([0, 1], [0, 1], ":", color="grey", linewidth=1)
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    finish(
        axis, title="Adversarial images against clean ones", x="clean images suspected", y="adversarial images found"
    )
    axis.legend(title="area under the curve", loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8, frameon=False)
    return figure


def _percent(share: float) -> str:
    """Rounded down: what is not quite certain must not read 100 %."""
    return f"{floor(1e5 * share) / 1e3:.3f}%"


def _neat(factor: float) -> float:
    """Rounded down to one digit: nothing is cut off, and the number is easy to read."""
    power = 10.0 ** floor(log10(factor) + 1e-9)
    return max(1.0, next(step * power for step in range(9, 0, -1) if step * power <= factor * (1 + 1e-6)))


def _check(clean: Tensor, perturbed: Tensor, titles: Sequence[tuple[str, str]] | None) -> None:
    owner = "plot_adversarial"
    if clean.ndim != 4 or not len(clean):
        raise ValueError(message("clean", owner, "images (N, C, H, W), at least one", clean))
    if perturbed.shape != clean.shape:
        raise ValueError(message("perturbed", owner, f"of shape {tuple(clean.shape)}, as the clean images", perturbed))
    if titles is not None and len(titles) < len(clean):
        raise ValueError(message("titles", owner, f"two for each of {len(clean)} images", titles))
