"""What in an image excites a unit: its activation sent back through the network, down to the pixels."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from lightning_interp._checks import check_choice, check_int, message
from lightning_interp.functional.synthesis.autograd_graph import graph_nodes, rectifier_rule
from lightning_interp.functional.synthesis.receptive_field import receptive_fields
from lightning_interp.hooks import forward_to

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ProjectionMethod", "ProjectionPosition", "Projections", "deconvnet"]

ProjectionMethod: TypeAlias = Literal["deconvnet", "guided", "gradient"]
ProjectionPosition: TypeAlias = Literal["max", "all"] | tuple[int, int]
_TENSORS = ("images", "maps", "activations", "positions", "fields")


@dataclass(frozen=True)
class Projections:
    """Units of a layer projected to the pixels of images.

    Attributes:
        method: How.
        layer: Their layer.
        units: The units, ``U`` of them.
        images: As the network took them, ``(N, C, H, W)``.
        maps: Signed, zero outside the fields, ``(U, N, C, H, W)``.
        activations: Strongest activation of each unit on each image, or that at the position asked for, ``(U, N)``;
            for DeconvNet, 0 where it is negative.
        positions: Row and column in the layer's map it was projected from, ``(U, N, 2)``; -1 where that is no single
            one: the whole map, a unit without a map, a unit that is silent on the image.
        fields: Top, left, bottom and right of the pixels that reach this position, ``(U, N, 4)``.
    """

    method: ProjectionMethod
    layer: str
    units: tuple[int, ...]
    images: Tensor
    maps: Tensor
    activations: Tensor
    positions: Tensor
    fields: Tensor

    def crop(self, row: int, image: int) -> tuple[Tensor, Tensor]:
        """Image and projection ``(C, h, w)``, cut to the receptive field of ``units[row]``."""
        top, left, bottom, right = self.fields[row, image].tolist()
        return self.images[image, :, top:bottom, left:right], self.maps[row, image, :, top:bottom, left:right]

    def to_dataframe(self) -> "pd.DataFrame":
        """A row per unit and image: ``unit``, ``image``, ``activation``, ``row``, ``column``, and the field's box."""
        import pandas as pd  # here, because importing it takes a second

        n_images = len(self.images)
        places = torch.cat([self.positions, self.fields], 2).flatten(0, 1).T.tolist()
        columns = {
            "unit": [unit for unit in self.units for _ in range(n_images)],
            "image": list(range(n_images)) * len(self.units),
            "activation": self.activations.flatten().tolist(),
            **dict(zip(("row", "column", "top", "left", "bottom", "right"), places, strict=True)),
        }
        return pd.DataFrame(columns)

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file."""
        meta = {"method": self.method, "layer": self.layer, "units": self.units}
        tensors = {name: getattr(self, name).contiguous() for name in _TENSORS}
        save_file(tensors, path, metadata={"projections": json.dumps(meta)})

    @classmethod
    def load(cls, path: str | Path) -> "Projections":
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["projections"])
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
        return cls(meta["method"], meta["layer"], tuple(meta["units"]), **tensors)


def deconvnet(
    model: nn.Module,
    images: Tensor,
    layer: str,
    units: int | Sequence[int] | None = None,
    *,
    method: ProjectionMethod = "deconvnet",
    position: ProjectionPosition = "max",
    n_units: int = 16,
) -> Projections:
    """Project units back to the pixels that excite them: DeconvNet, guided backpropagation or the plain gradient.

    DeconvNet sends the unit's activation back with all other units silent: through the switches of max pooling,
    rectifiers that let the positive part of the signal pass, transposed filters, batch norm as its scale; both branches
    of a residual block, all inputs of a concatenation; gates as in squeeze and excitation are held at their value.
    Where pooling windows overlap, what comes back to a pixel adds up. There is one forward pass, and one backward pass
    for each unit, for all images at once.

    Args:
        model: A network; it runs in eval mode and is left as it was. What autograd takes for a constant is one here:
            write a rectifier as ``x.relu()``, not as ``x * (x > 0)``.
        images: As the network takes them, ``(N, C, H, W)``.
        layer: Name of one layer with an output ``(N, units, h, w)`` or ``(N, units)``, units first, or ``"<output>"``.
        units: Which units; those with the largest activations on these images by default.
        method: ``"deconvnet"``; ``"guided"`` also stops the signal where the rectifier was off; ``"gradient"`` is the
            derivative of the activation.
        position: Where in the unit's map the signal starts: at its strongest position on each image (``"max"``), at
            ``(row, column)``, or everywhere (``"all"``).
        n_units: Number of units, if they are not given.

    Returns:
        Projections, positions and receptive fields.

    Raises:
        ValueError: An unknown unit or layer, a position outside the map, a layer without units or cut off from the
            image, or a network in which DeconvNet has no meaning (layer norm, attention): the message names what.
        RuntimeError: Parameters made in ``torch.inference_mode()``.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 1, 3, bias=False), nn.ReLU())
        >>> _ = net[0].weight.data.fill_(1.0)
        >>> image = torch.zeros(1, 1, 6, 6).index_fill(3, torch.tensor([4]), 1.0)
        >>> found = deconvnet(net, image, "1")
        >>> found.positions.tolist(), found.fields.tolist(), found.maps.unique().tolist()
        ([[[0, 2]]], [[[0, 2, 3, 5]]], [0.0, 3.0])

    Reference:
        Zeiler & Fergus, Visualizing and understanding convolutional networks, ECCV 2014, section 2.1; Springenberg et
        al., Striving for simplicity, 2015, section 3.4; survey, section 4.2.
    """
    _check(images, method, n_units)
    with forward_to(model, layer) as features:
        parameter = next(model.parameters(), images)
        pixels = images.detach().to(parameter.device, parameter.dtype, copy=True).requires_grad_()
        output = features(pixels.clone())[layer]  # a clone, because the network may work in place
        _check_output(output, pixels, layer, position)
        everywhere = position == "all" or output.ndim == 2
        values = output.detach().view(*output.shape[:2], *(output.shape[2:] or (1, 1))).transpose(0, 1)
        chosen = _units(units, values, n_units)
        values = values[chosen].relu() if method == "deconvnet" else values[chosen]
        picked = torch.ones_like(values) if everywhere else _picked(values, position)
        seeds = picked * values if method == "deconvnet" else picked
        with rectifier_rule(output, method, inputs=pixels, parameter="method", owner="deconvnet"):
            maps = torch.stack([_project(output, pixels, *each) for each in zip(chosen, seeds, strict=True)])
        positions = torch.full((*picked.shape[:2], 2), -1) if everywhere else _positions(picked)
        fields = _fields(output, pixels, positions, through_gates=method != "deconvnet")
    activations = values.flatten(2).amax(2) if isinstance(position, str) else values[(..., *position)]
    maps = torch.where(_inside(fields.to(maps.device), maps.shape[-2:]), maps, 0)
    places = positions.to(images.device), fields.to(images.device)
    return Projections(method, layer, tuple(chosen), images.detach(), maps.to(images), activations.to(images), *places)


def _check(images: Tensor, method: str, n_units: int) -> None:
    check_choice(method, "method", "deconvnet", get_args(ProjectionMethod))
    check_int(n_units, "n_units", "deconvnet")
    if images.ndim != 4 or not len(images) or not images.is_floating_point():
        raise ValueError(message("images", "deconvnet", "float images (N, C, H, W), at least one", images))


def _check_output(output: Tensor, pixels: Tensor, layer: str, position: ProjectionPosition) -> None:
    n_images, owner = len(pixels), "deconvnet"
    if output.ndim not in (2, 4) or len(output) != n_images:
        must = f"a layer with an output ({n_images}, units, h, w) or ({n_images}, units)"
        text = message("layer", owner, must, layer)
        raise ValueError(f"{text} Its output is {tuple(output.shape)}. Choose a layer in front of it.")
    if get_gradient_edge(pixels).node not in graph_nodes(output, pixels):
        raise ValueError(_cut_off(layer))
    if isinstance(position, str):
        check_choice(position, "position", owner, ("max", "all"))
    elif output.ndim == 2:
        must = f"'max' or 'all', because layer {layer!r} has no map"
        raise ValueError(message("position", owner, must, position))
    else:
        for place, size in zip(position, output.shape[2:], strict=True):
            check_int(place, "position", owner, low=0, high=size - 1)


def _cut_off(layer: str) -> str:
    text = message("layer", "deconvnet", "a layer that can be differentiated down to the image", layer)
    return (
        f"{text} On the way, the model cuts the graph by detach(), torch.no_grad() or torch.inference_mode(), or turns "
        "to integers: take that out, or choose a layer in front of it."
    )


def _units(units: int | Sequence[int] | None, values: Tensor, n_units: int) -> list[int]:
    if units is None:
        order = values.flatten(1).amax(1).argsort(descending=True, stable=True)
        return [int(unit) for unit in order[:n_units]]
    chosen = [units] if isinstance(units, int) else list(units)
    if not chosen:
        raise ValueError(message("units", "deconvnet", "at least one unit", units))
    return [check_int(unit, "units", "deconvnet", low=0, high=len(values) - 1) for unit in chosen]


def _picked(values: Tensor, position: ProjectionPosition) -> Tensor:
    """1 where the signal starts, ``(U, N, h, w)``; nowhere for a unit that is silent on an image."""
    picked = torch.zeros_like(values, memory_format=torch.contiguous_format)  # else flatten() may be a copy
    if isinstance(position, str):
        strongest, where = values.flatten(2).max(2, keepdim=True)
        picked.flatten(2).scatter_(2, where, (strongest != 0).to(values))
    else:
        picked[(..., *position)] = 1
    return picked


def _project(output: Tensor, pixels: Tensor, unit: int, seed: Tensor) -> Tensor:
    """The signal of one unit ``(N, h, w)`` at the pixels, ``(N, C, H, W)``."""
    signal = torch.zeros_like(output)
    signal[:, unit] = seed.view_as(signal[:, unit])
    (projection,) = torch.autograd.grad(output, pixels, signal, retain_graph=True)
    return projection


def _positions(picked: Tensor) -> Tensor:
    """Row and column where there is a single one, else -1, ``(U, N, 2)``."""
    flat = picked.flatten(2)
    where = flat.byte().argmax(2)
    found = torch.stack([where // picked.shape[3], where % picked.shape[3]], 2)
    return torch.where((flat.sum(2) == 1).unsqueeze(2), found, -1)


def _fields(output: Tensor, pixels: Tensor, positions: Tensor, *, through_gates: bool) -> Tensor:
    distinct, which = positions.flatten(0, 1).unique(dim=0, return_inverse=True)
    boxes = receptive_fields(output, pixels, distinct, through_gates=through_gates)
    return boxes[which.cpu()].view(*positions.shape[:2], 4)


def _inside(fields: Tensor, size: Sequence[int]) -> Tensor:
    """Which pixels lie in each box, ``(U, N, 1, H, W)``."""
    top, left, bottom, right = fields[..., None].unbind(2)
    row, column = (torch.arange(length, device=fields.device) for length in size)
    rows, columns = (top <= row) & (row < bottom), (left <= column) & (column < right)
    return (rows.unsqueeze(3) & columns.unsqueeze(2)).unsqueeze(2)
