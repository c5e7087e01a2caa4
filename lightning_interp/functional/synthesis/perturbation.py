"""What in the features of a layer carries the image: change them, decode them, and see how much is lost."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lightning_interp._checks import check_choice, check_int, check_number, message
from lightning_interp.hooks import Features, evaluating, forward_to

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Decoder", "Perturbation", "PerturbationErrors", "perturb_features", "perturbation_errors"]

Perturbation: TypeAlias = Literal["none", "binarize", "dropout", "drop_least"]
Decoder: TypeAlias = Callable[[Tensor], Tensor]


def perturb_features(
    features: Tensor,
    kind: Perturbation = "none",
    *,
    importance: Tensor | None = None,
    share: float = 0.5,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Change the features of every image by itself, and keep their L2 norm.

    - ``"binarize"`` keeps the signs, zeros included, and gives all other values one magnitude.
    - ``"dropout"`` sets a share of the values, drawn at random, to zero.
    - ``"drop_least"`` sets the least important ones to zero.

    After either drop the others are scaled up to the old norm, unless nothing but zeros is left. Where more than that
    share of the features is zero anyway, as often behind a ReLU, dropping the least important changes nothing.

    Args:
        features: ``(N, ...)``, of any floating type.
        kind: What is done to them; ``"none"`` for nothing.
        importance: Of every value, ``(N, ...)``, for ``"drop_least"``; its magnitude by default. The source does not
            say how importance was measured.
        share: How many values are dropped.
        generator: Source of randomness for ``"dropout"``; None for a fixed seed.

    Returns:
        Features ``(N, ...)``.

    Raises:
        ValueError: If ``kind`` is unknown, ``share`` is not in [0, 1], ``importance`` does not fit, or a value is NaN
            or infinite.
        TypeError: If the features are not of a floating type.

    Example:
        >>> features = torch.tensor([[3.0, 0.0, -4.0, 0.0]])
        >>> perturb_features(features, "drop_least", share=0.75).tolist()
        [[0.0, 0.0, -5.0, 0.0]]
        >>> (perturb_features(features, "binarize") * 2**0.5).round().tolist()
        [[5.0, 0.0, -5.0, 0.0]]

    Reference:
        Dosovitskiy and Brox, Inverting visual representations with convolutional networks, CVPR 2016; survey,
        section 5.3.2.
    """
    check_choice(kind, "kind", "perturb_features", get_args(Perturbation))
    check_number(share, "share", "perturb_features", high=1)
    _check_features(features, importance, kind)
    if kind == "none":
        return features.clone()
    values = features.flatten(1).to(torch.promote_types(features.dtype, torch.float32))  # half types overflow in a norm
    if kind == "binarize":
        changed = values.sign()
    elif kind == "dropout":
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        lots = torch.rand(values.shape, generator=generator, device=generator.device)
        changed = _without_least(values, lots.to(values.device), share)
    else:
        changed = _without_least(values, values.abs() if importance is None else importance.flatten(1), share)
    length, was = changed.norm(dim=1, keepdim=True), values.norm(dim=1, keepdim=True)
    scaled = changed * torch.where(length > 0, was / length, 0.0)
    return scaled.view_as(features).to(features.dtype)


def _check_features(features: Tensor, importance: Tensor | None, kind: str) -> None:
    owner = "perturb_features"
    if not features.is_floating_point():
        raise TypeError(message("features", owner, "a tensor of a floating type", features.dtype))
    if features.ndim < 2 or not features.isfinite().all():
        must = "a batch (N, ...) without NaN or inf"
        raise ValueError(message("features", owner, must, features))
    if importance is None:
        return
    if kind != "drop_least":
        raise ValueError(message("importance", owner, "None unless kind is 'drop_least'", importance))
    if importance.shape != features.shape or importance.isnan().any():
        must = f"of the shape of the features, {tuple(features.shape)}, and without NaN"
        raise ValueError(message("importance", owner, must, importance))


def _without_least(values: Tensor, importance: Tensor, share: float) -> Tensor:
    least = importance.argsort(dim=1, stable=True)[:, : round(share * values.shape[1])]
    return values.scatter(1, least, 0.0)


@dataclass(frozen=True)
class PerturbationErrors:
    """How far reconstructions from perturbed features are from the images.

    An error is the Euclidean distance between image and reconstruction, divided by the mean distance between two of the
    images: 0 is perfect, 1 is as wrong as another image.

    Attributes:
        layers: The layers, ``L``.
        kinds: The perturbations, ``K``.
        errors: Of each image, ``(L, K, N)`` float64.
        baseline: Of each image where the mean of all images is the answer, ``(N,)``: what knowing nothing achieves.
        reconstructions: ``(L, K, N, C, H, W)``, where kept.
    """

    layers: tuple[str, ...]
    kinds: tuple[str, ...]
    errors: Tensor
    baseline: Tensor
    reconstructions: Tensor | None = None

    def to_dataframe(self) -> "pd.DataFrame":
        """Mean error: a row per layer, a column per perturbation."""
        import pandas as pd  # here, because importing it takes a second

        index = pd.Index(self.layers, name="layer")
        return pd.DataFrame(self.errors.mean(2).numpy(), index=index, columns=list(self.kinds))

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file."""
        tensors = {"errors": self.errors, "baseline": self.baseline}
        if self.reconstructions is not None:
            tensors["reconstructions"] = self.reconstructions
        meta = {"layers": self.layers, "kinds": self.kinds}
        save_file(tensors, path, metadata={"perturbation": json.dumps(meta)})

    @classmethod
    def load(cls, path: str | Path) -> "PerturbationErrors":
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["perturbation"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        return cls(tuple(meta["layers"]), tuple(meta["kinds"]), **tensors)


def perturbation_errors(
    model: nn.Module,
    decoders: Mapping[str, Decoder],
    images: Tensor,
    *,
    kinds: Sequence[Perturbation] = get_args(Perturbation),
    share: float = 0.5,
    seed: int = 0,
    batch_size: int = 100,
    keep_reconstructions: bool = False,
) -> PerturbationErrors:
    r"""Reconstruct images from perturbed features of several layers.

    .. math:: e_i = \lVert x_i - D(P(A(x_i))) \rVert_2 \,/\, \operatorname{mean}_{j<k} \lVert x_j - x_k \rVert_2

    Args:
        model: A network; it runs in eval mode and is left as it was.
        decoders: Layer name -> what turns its features into images ``(N, C, H, W)``, such as
            :class:`lightning_interp.models.UpconvDecoder`.
        images: ``(N, C, H, W)``, two or more that differ.
        kinds: The perturbations, see :func:`perturb_features`.
        share: How many values are dropped.
        seed: Decides which ones ``"dropout"`` drops.
        batch_size: Images per pass.
        keep_reconstructions: Keep the images as well; they take ``L * K`` times the memory of ``images``.

    Returns:
        The errors, on the CPU.

    Raises:
        ValueError: If nothing is asked for, a layer or perturbation is unknown, the images are all the same, or a
            decoder gives images of another shape.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4, bias=False))
        >>> _ = model[1].weight.data.copy_(torch.eye(4))
        >>> images = torch.tensor([[1.0, 1.0, -1.0, -1.0], [-1.0, 1.0, 1.0, -1.0]]).view(2, 1, 2, 2)
        >>> found = perturbation_errors(model, {"1": lambda x: x.view(-1, 1, 2, 2)}, images)
        >>> found.to_dataframe().round(2).loc["1"].to_dict()
        {'none': 0.0, 'binarize': 0.0, 'dropout': 0.54, 'drop_least': 0.54}

    Reference:
        Dosovitskiy and Brox, Inverting visual representations with convolutional networks, CVPR 2016; survey,
        section 5.3.2.
    """
    owner = "perturbation_errors"
    check_int(batch_size, "batch_size", owner)
    check_int(seed, "seed", owner, low=0)
    for name, value in (("decoders", decoders), ("kinds", kinds)):
        if not value:
            raise ValueError(message(name, owner, "at least one", "none"))
    for kind in kinds:
        check_choice(kind, "kinds", owner, get_args(Perturbation))
    unit = _mean_distance(images)
    device = next(model.parameters(), images).device
    # Each layer has a generator of its own, so that what it draws depends on no other layer.
    generators = {layer: torch.Generator().manual_seed(seed) for layer in decoders}
    errors, kept = [], []
    with _borrowed(model, decoders) as features:
        for batch in images.split(batch_size):
            batch = batch.to(device)
            answers = _answers(features(batch.clone()), batch.shape, decoders, kinds, share, generators)
            errors.append((answers - batch).flatten(3).double().norm(dim=3).cpu() / unit)
            kept += [answers.cpu()] * keep_reconstructions
    baseline = (images - images.mean(0)).flatten(1).double().norm(dim=1).cpu() / unit
    reconstructions = torch.cat(kept, 2) if keep_reconstructions else None
    return PerturbationErrors(tuple(decoders), tuple(kinds), torch.cat(errors, 2), baseline, reconstructions)


def _mean_distance(images: Tensor) -> float:
    distance = float(torch.pdist(images.flatten(1).float()).double().mean()) if len(images) > 1 else 0.0
    if not 0 < distance < float("inf"):
        must = "two or more images that differ, without NaN or inf: errors are relative to their mean distance"
        raise ValueError(message("images", "perturbation_errors", must, images))
    return distance


@contextmanager
def _borrowed(model: nn.Module, decoders: Mapping[str, Decoder]) -> Iterator[Features]:
    """The function from images to features; all networks are in eval mode inside, and nothing has gradients."""
    with ExitStack() as stack:
        features = stack.enter_context(forward_to(model, list(decoders)))
        for decoder in decoders.values():
            if isinstance(decoder, nn.Module):
                stack.enter_context(evaluating(decoder))
        stack.enter_context(torch.no_grad())
        yield features


def _answers(
    seen: Mapping[str, Tensor],
    shape: torch.Size,
    decoders: Mapping[str, Decoder],
    kinds: Sequence[Perturbation],
    share: float,
    generators: Mapping[str, torch.Generator],
) -> Tensor:
    """Reconstructions ``(L, K, B, C, H, W)`` of one batch."""
    rows = []
    for layer, decode in decoders.items():
        changed = [perturb_features(seen[layer], kind, share=share, generator=generators[layer]) for kind in kinds]
        row = torch.stack([decode(each) for each in changed])
        if row.shape[1:] != shape:
            must = f"functions to images {tuple(shape)}; this is what that of layer {layer!r} gives"
            raise ValueError(message("decoders", "perturbation_errors", must, row[0]))
        rows.append(row)
    return torch.stack(rows)
