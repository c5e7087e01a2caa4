"""torch-lucent and captum, called as their users call them, and the turns that ours takes with them."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks._image_score_time import best
from lightning_interp.functional.synthesis import Projections
from lightning_interp.hooks import OUTPUT, differentiable, preserved_rng

SEED = 0
LUCENT, CAPTUM = ("torch-lucent", "lucent.optvis.render"), ("captum", "captum.attr")


def takes_part(peer: tuple[str, str], device: torch.device) -> tuple[bool, str]:
    """Whether a peer can be asked, and a sentence for the notes."""
    package, module = peer
    try:
        with quiet():
            import_module(module)
    except ImportError as error:
        return False, f"{package} takes no part: {error}."
    if peer == LUCENT and torch.cuda.is_available() and device.type == "cpu":
        return False, f"{package} takes no part: it computes on cuda:0 wherever there is one."
    return True, f"{package} {version(package)}."


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of others: deprecations at import, hooks that were set."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def timed(
    works: dict[str, Callable[[], Tensor]], repeats: int, device: torch.device
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """The shortest time of each, taken in turns, and what each made."""
    made: dict[str, Tensor] = {}

    def kept(name: str) -> None:
        made[name] = works[name]()

    return best({name: partial(kept, name) for name in works}, repeats, device), made


def lucent_pixels(
    net: nn.Module, layer: str, units: list[int], *, side: int, steps: int, lr: float, frozen: bool = False
) -> Tensor:
    """Pixels ``(N, 3, side, side)`` after the last step of ``render_vis``, one image for each unit.

    The starts are those of ``maximize_activation``: the same numbers from the same seed.

    Args:
        net: in eval mode.
        layer: ours, or ``OUTPUT``.
        units: of the layer.
        side: of the images; kept, where lucent would enlarge to 224.
        steps: of Adam.
        lr: of Adam.
        frozen: compute no gradients of the weights, which lucent leaves to the user.
    """
    from lucent.optvis import objectives, param, render

    name = "labels" if layer == OUTPUT else layer.replace(".", "_")
    total = objectives.Objective.sum([objectives.channel(name, unit, batch=i) for i, unit in enumerate(units)])
    options: dict[str, Any] = {"transforms": [], "show_image": False, "progress": False}
    with quiet(), preserved_rng(SEED), _frozen(net, frozen), _hooks_removed(net):
        (images,) = render.render_vis(
            net,
            total,
            partial(param.image, side, batch=len(units)),
            partial(torch.optim.Adam, lr=lr),
            thresholds=(steps,),
            fixed_image_size=side if side < 224 else None,
            **options,
        )
    return torch.from_numpy(images).movedim(3, 1)


def captum_maps(net: nn.Module, images: Tensor, found: Projections) -> Tensor:
    """Projections ``(U, N, C, H, W)`` by ``NeuronDeconvolution`` from the positions and activations of ours."""
    from captum.attr import NeuronDeconvolution

    deconvolution = NeuronDeconvolution(net, net.get_submodule(found.layer))
    maps = []
    with quiet():
        for row, unit in enumerate(found.units):
            selector = partial(_weighted, (*start_of(found, row), unit), found.activations[row])
            maps.append(deconvolution.attribute(images, selector).detach())
    return torch.stack(maps)


def start_of(found: Projections, row: int) -> tuple[Tensor, Tensor, Tensor]:
    """Image, row and column of where the signal of a unit starts, ``(N,)`` each."""
    positions = found.positions[row].to(found.maps.device)
    return torch.arange(len(positions), device=positions.device), positions[:, 0], positions[:, 1]


def _weighted(start: tuple[Any, ...], activations: Tensor, output: Any) -> Tensor:
    """DeconvNet sends back the activation itself; captum the derivative of what is selected."""
    image, row, column, unit = start
    selected: Tensor = output[image, unit, row, column] * activations
    return selected


@contextmanager
def _frozen(net: nn.Module, frozen: bool) -> Iterator[None]:
    if frozen:
        with differentiable(net):
            yield
    else:
        yield
        net.zero_grad()  # lucent fills them


@contextmanager
def _hooks_removed(net: nn.Module) -> Iterator[None]:
    """Lucent leaves a hook on every module."""
    try:
        yield
    finally:
        for module in net.modules():
            module._forward_hooks.clear()
