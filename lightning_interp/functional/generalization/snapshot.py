"""A network and training images at one moment, with what several signals need computed once."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from lightning_interp._checks import check_int
from lightning_interp.functional.compression import CompressionCurve, class_scores, compression_curve
from lightning_interp.functional.factorization import FactorizationMethod
from lightning_interp.hooks import LayerSpec, evaluating
from lightning_interp.hooks.state import eager
from lightning_interp.hooks.trace import Call, trace_forward

__all__ = ["Snapshot"]


class Snapshot:
    """A network and training images at one moment of training; forward passes are shared and made when needed.

    Args:
        model: Any network that maps images to class scores; evaluated in eval mode and left as it was.
        images: Training images, ``(N, ...)``, on the model's device.
        labels: Given labels, ``(N,)``.
        held_out: Images and given labels that are not trained on, for the hold-out signals.
        memory: What stateful signals (``label_wave``, ``parallel_heads``) carry from check to check; they write into
            it. Pass the same dict at every check.
        layers: Layers of the compression signals.
        per_class: Images compressed together.
        seed: Seed of everything random.
        batch_size: Images per forward pass.

    Raises:
        ValueError: If images and labels do not fit.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> snapshot = Snapshot(net, torch.rand(6, 4), torch.arange(6) % 2)
        >>> snapshot.features.shape, snapshot.scores.shape
        (torch.Size([6, 3]), torch.Size([6, 2]))
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        held_out: tuple[Tensor, Tensor] | None = None,
        memory: dict[str, Tensor] | None = None,
        layers: LayerSpec = "last_block",
        per_class: int = 50,
        seed: int = 0,
        batch_size: int = 250,
    ) -> None:
        for name, (x, y) in {"labels": (images, labels), "held_out": held_out or (images, labels)}.items():
            if not len(x) or len(x) != len(y):
                raise ValueError(
                    f"The `{name}` parameter of `Snapshot` must hold one label per image, and at least one. "
                    f"Got {len(x)} images and {len(y)} labels."
                )
        self.model, self.images, self.labels, self.held_out = model, images, labels, held_out
        self.memory = {} if memory is None else memory
        self.layers, self.per_class = layers, check_int(per_class, "per_class", "Snapshot")
        self.seed, self.batch_size = seed, check_int(batch_size, "batch_size", "Snapshot")
        self._curves: dict[FactorizationMethod, CompressionCurve] = {}

    def generator(self) -> torch.Generator:
        """A fresh source of randomness: a signal does not depend on which others are measured."""
        return torch.Generator().manual_seed(self.seed)

    @cached_property
    def scores(self) -> Tensor:
        """Class scores, ``(N, n_classes)``."""
        return self._forward[0]

    @cached_property
    def features(self) -> Tensor:
        """Input of the linear head, ``(N, d)``.

        Raises:
            ValueError: If the network does not end in a linear layer.
        """
        if not self._forward[1]:
            raise ValueError(self._lacks("end in a Linear layer"))
        return torch.cat(self._forward[1])

    @cached_property
    def preactivations(self) -> Tensor:
        """Output of the last hidden convolution, linear layer or norm, before its activation, ``(N, neurons)``.

        Raises:
            ValueError: If the network has no hidden layer.
        """
        if not self._forward[2]:
            raise ValueError(self._lacks("have a hidden layer"))
        return torch.cat(self._forward[2])

    @property
    def first_features(self) -> Tensor:
        """Output of the first layer with weights, 4x4 max-pooled where it is an image, ``(N, d)``.

        Raises:
            ValueError: If the network has no layer with weights.
        """
        if not self._forward[3]:
            raise ValueError(self._lacks("have a layer with weights"))
        return torch.cat(self._forward[3])

    @cached_property
    def predictions(self) -> Tensor:
        """Predicted classes, ``(N,)``."""
        return self.scores.argmax(1)

    @cached_property
    def held_out_scores(self) -> Tensor:
        """Class scores of the held-out images.

        Raises:
            ValueError: If there are none.
        """
        with evaluating(self.model):
            parts = [class_scores(self.model(x)).float() for x in self._held_out[0].split(self.batch_size)]
        return torch.cat(parts)

    @cached_property
    def held_out_labels(self) -> Tensor:
        """Given labels of the held-out images."""
        return self._held_out[1]

    @property
    def _held_out(self) -> tuple[Tensor, Tensor]:
        if self.held_out is None:
            raise ValueError("The `held_out` parameter of `Snapshot` must be given for the hold-out signals. Got None.")
        return self.held_out

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Some of the images and their labels, drawn at random but always the same ones."""
        rows = torch.randperm(len(self.images), generator=self.generator())[:size].to(self.labels.device)
        return self.images[rows], self.labels[rows]

    def compression(self, method: FactorizationMethod) -> CompressionCurve:
        """The compression curve by one factorisation, measured once.

        Args:
            method: As in :func:`lightning_interp.functional.compression_curve`.
        """
        if method not in self._curves:
            self._curves[method] = compression_curve(
                self.model,
                self.images,
                self.labels,
                layers=self.layers,
                method=method,
                batch_size=self.per_class,
                generator=self.generator(),
            )
        return self._curves[method]

    @cached_property
    def calls(self) -> list[Call]:
        """Module calls of a forward pass of two images."""
        return trace_forward(self.model, self.images[:2]).calls

    @cached_property
    def head(self) -> nn.Linear:
        """The linear layer that makes the class scores.

        Raises:
            ValueError: If the network has none.
        """
        last = self._weighted[-1].module if self._weighted else None
        if not isinstance(last, nn.Linear):
            raise ValueError(self._lacks("end in a Linear layer"))
        return last

    @cached_property
    def head_weight(self) -> Tensor:
        """Weights of :attr:`head`, ``(n_classes, d)``.

        Raises:
            ValueError: If the network has no such head.
        """
        with evaluating(self.model):  # to read a spectrally normalised weight in train mode would move its buffers
            return self.head.weight.detach()

    @cached_property
    def _weighted(self) -> list[Call]:
        """Calls of the layers that have weights of their own, activations (PReLU) aside."""
        calls = [call for call in self.calls if "parametrizations" not in call.name.split(".")]
        leaves = (call for call in calls if {name for name, _ in call.module.named_children()} <= {"parametrizations"})
        kept = (call for call in leaves if not isinstance(call.module, nn.PReLU))
        return [call for call in kept if next(call.module.parameters(), None) is not None]

    def _lacks(self, must: str) -> str:
        kind = type(self.model).__name__
        return f"The `model` parameter of `Snapshot` must {must} for this signal. Got {kind}; choose other signals."

    @cached_property
    def _forward(self) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
        """Scores, and chunks of features, pre-activations and first features; none where the network has none."""
        features: list[Tensor] = []
        hidden: list[Tensor] = []
        first: list[Tensor] = []
        with evaluating(self.model), self._watched(features, hidden, first):
            scores = [class_scores(self.model(x)).float() for x in self.images.split(self.batch_size)]
        return torch.cat(scores), features, hidden, first

    @contextmanager
    def _watched(self, features: list[Tensor], hidden: list[Tensor], first: list[Tensor]) -> Iterator[None]:
        """Record the input of the last layer with weights, the output of the one before, and that of the first."""
        layers = [call.module for call in self._weighted]
        with ExitStack() as stack:
            stack.enter_context(eager(self.model))
            if layers and isinstance(layers[-1], nn.Linear):
                keep = layers[-1].register_forward_pre_hook(
                    lambda _, inputs, named: features.append(_flat([*inputs, *named.values()][0])), with_kwargs=True
                )
                stack.callback(keep.remove)
            if len(layers) > 1:
                keep = layers[-2].register_forward_hook(lambda _, __, output: hidden.append(_flat(output)))
                stack.callback(keep.remove)
            if layers:
                keep = layers[0].register_forward_hook(lambda _, __, output: first.append(_flat(_pooled(output))))
                stack.callback(keep.remove)
            yield


def _pooled(maps: Tensor) -> Tensor:
    return max_pool2d(maps, 4) if maps.ndim == 4 and min(maps.shape[2:]) >= 4 else maps


def _flat(tensor: Tensor) -> Tensor:
    return tensor.detach().flatten(1).float().clone()  # an in-place ReLU comes next
