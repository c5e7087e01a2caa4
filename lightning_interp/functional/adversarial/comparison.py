"""What a small perturbation does to every layer and unit, against random noise of equal size."""

from collections.abc import Mapping

import torch
from torch import Generator, Tensor, nn

from lightning_interp._checks import check_int, message
from lightning_interp.functional.adversarial.change import ActivationChange, ChangedMap, LayerChange
from lightning_interp.hooks import Features, LayerSpec, forward_to, select_layers

__all__ = ["compare_activations", "equal_noise"]


def compare_activations(
    model: nn.Module,
    clean: Tensor,
    perturbed: Tensor,
    *,
    layers: LayerSpec = "composites",
    n_noise: int = 4,
    maps_per_layer: int = 1,
    map_images: int = 4,
    batch_size: int = 50,
    seed: int = 0,
) -> ActivationChange:
    r"""How much activations change from images to their perturbed twins, and how much random noise changes them.

    The change of a unit is relative to what it says on the clean images, both averaged over images i,

    .. math:: c_u = \sum_i \lVert A_u(x'_i) - A_u(x_i) \rVert_2 \,/\, \sum_i \lVert A_u(x_i) \rVert_2,

    so that images on which the unit is silent do no harm. That of a layer is the same with all units in one vector. The
    noise is Gaussian and, image by image, as long as the perturbation (in the Euclidean norm of the network's images,
    and not cut to pixels in [0, 1], which would shorten it). ``c_u`` over its value for noise says by how much more
    than chance the perturbation gets through.

    Args:
        model: A network; it runs in eval mode and is left as it was.
        clean: Images, ``(N, C, H, W)`` as the network takes them.
        perturbed: The same images perturbed, ``(N, C, H, W)``.
        layers: As in :func:`~lightning_interp.hooks.select_layers`, with outputs ``(N, units, ...)``.
        n_noise: Draws of noise for each image.
        maps_per_layer: Units of each layer whose maps are kept: those that change most, not relative to themselves, so
            that units that hardly ever speak do not come first.
        map_images: Their maps are kept for this many images, the first ones.
        batch_size: Images per pass.
        seed: Seed of the noise.

    Returns:
        The changes, on the CPU.

    Raises:
        ValueError: The images are none, or of different shapes, or an option is out of range.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False))
        >>> _ = net[1].weight.data.copy_(torch.tensor([[1.0, 1.0, 1.0, 1.0]]))
        >>> images = torch.ones(1, 1, 2, 2)
        >>> table = compare_activations(net, images, images + 0.25).by_layer()
        >>> float(table.loc["1", "change"]), bool(table.loc["1", "ratio"] > 1)
        (0.25, True)

    Reference:
        Survey, section 7.2 and figure 20; noise of equal norm as the control, as in Fawzi et al., Robustness of
        classifiers: from adversarial to random noise, NeurIPS 2016.
    """
    owner = "compare_activations"
    _check(clean, perturbed, n_noise=n_noise, batch_size=batch_size, map_images=map_images)
    check_int(maps_per_layer, "maps_per_layer", owner, low=0)
    generator = Generator().manual_seed(check_int(seed, "seed", owner, low=0))
    names = select_layers(model, layers, example_input=clean[:2])
    device = next(model.parameters(), clean).device
    totals: dict[str, Tensor] = {}
    with forward_to(model, names) as features, torch.no_grad():

        def run(images: Tensor) -> dict[str, Tensor]:
            return features(images.to(device))

        for x, twin in zip(clean.split(batch_size), perturbed.split(batch_size), strict=True):
            for name, norms in _batch_norms(run, x, twin, n_noise, generator).items():
                totals[name] = totals[name] + norms if name in totals else norms
        changes = {name: LayerChange(total / len(clean)) for name, total in totals.items()}
        maps = _maps(run, clean[:map_images], perturbed[:map_images], changes, maps_per_layer)
    return ActivationChange(changes, maps, n_images=len(clean), n_noise=n_noise)


def equal_noise(perturbation: Tensor, generator: Generator) -> Tensor:
    """Gaussian noise ``(N, ...)``, image by image as long as the ``perturbation`` ``(N, ...)``."""
    noise = torch.randn(perturbation.shape, generator=generator).to(perturbation)
    factors: Tensor = perturbation.flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1)
    return noise * factors.view(-1, *[1] * (noise.ndim - 1))


def _batch_norms(
    run: Features, clean: Tensor, perturbed: Tensor, n_noise: int, generator: Generator
) -> dict[str, Tensor]:
    """Layer name -> norms on clean images, of their change and of their change by noise: ``(3, units + 1)``."""
    before = run(clean)

    def changes(images: Tensor) -> dict[str, Tensor]:
        after = run(images)
        return {name: _norms(after[name] - activation) for name, activation in before.items()}

    by_perturbation = changes(perturbed)
    by_noise = [changes(clean + equal_noise(perturbed - clean, generator)) for _ in range(n_noise)]
    return {
        name: torch.stack(
            [_norms(activation), by_perturbation[name], torch.stack([each[name] for each in by_noise]).mean(0)]
        )
        for name, activation in before.items()
    }


def _norms(activation: Tensor) -> Tensor:
    """Sums over images of the norm of each unit's map and, last, of all units in one vector, ``(units + 1,)``."""
    maps: Tensor = activation.float().reshape(*activation.shape[:2], -1).norm(dim=2)
    return torch.cat([maps, maps.norm(dim=1, keepdim=True)], dim=1).cpu().double().sum(0)


def _maps(
    run: Features, clean: Tensor, perturbed: Tensor, changes: Mapping[str, LayerChange], per_layer: int
) -> tuple[ChangedMap, ...]:
    before, after = run(clean), run(perturbed)
    found = []
    for name, change in changes.items():
        if before[name].ndim == 4 and before[name][0, 0].numel() > 1:
            moved = change.norms[1, :-1]
            for unit in moved.topk(min(per_layer, len(moved))).indices.tolist():
                pair = (each[name][:, unit].float().cpu() for each in (before, after))
                found.append(ChangedMap(name, unit, *pair))
    return tuple(found)


def _check(clean: Tensor, perturbed: Tensor, **counts: int) -> None:
    owner = "compare_activations"
    if clean.ndim != 4 or not len(clean):
        raise ValueError(message("clean", owner, "images (N, C, H, W), at least one", clean))
    if perturbed.shape != clean.shape:
        raise ValueError(message("perturbed", owner, f"of shape {tuple(clean.shape)}, as the clean images", perturbed))
    for name, value in counts.items():
        check_int(value, name, owner)
