"""Several classifiers, each boosted for one class, tested as one."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_interp._checks import message
from lightning_interp._lightning import LightningModule
from lightning_interp.functional.selection.assembly import Assembly, assemble
from lightning_interp.functional.selection.image_score import ScoreOptions, Threshold, image_scores
from lightning_interp.functional.selection.statistics import ClassStatistics, Norm
from lightning_interp.hooks import evaluating

__all__ = ["AssembledClassifier"]


class AssembledClassifier(LightningModule):
    """Labels images with several networks: each claims its class, and the best image score decides between claims.

    For testing and predicting only. Logs ``test/accuracy``, ``test/baseline_accuracy`` and ``test/claimed``, the share
    of images that at least one network claims; the others get the label of the baseline. The statistics move between
    devices and are saved with the weights. An image costs one forward pass of every network.

    Args:
        networks: ``K`` networks: images ``(N, C, H, W)`` to class scores ``(N, n_classes)``.
        statistics: Of the labelled images, one under each network.
        baseline: The network that decides where none of them does.
        classes: The class each network was boosted for; network ``k`` for class ``k`` by default.
        norm: As in :func:`lightning_interp.functional.image_scores`, like the arguments below.
        threshold: Where the thresholds come from.
        overlap: What is counted.

    Raises:
        ValueError: If there is no network, numbers of networks, statistics and classes differ, a network's statistics
            have no images of its class, or an option has an unknown name.

    Example:
        >>> from lightning_interp.functional.selection.statistics import class_statistics
        >>> from lightning_interp.models import CIFAR10CNN
        >>> nets, images = [CIFAR10CNN(width=4) for _ in range(3)], torch.rand(6, 3, 32, 32)
        >>> labels = torch.arange(6) % 2
        >>> statistics = [class_statistics(net, images, labels=labels, n_classes=10) for net in nets[:2]]
        >>> AssembledClassifier(nets[:2], statistics, nets[2])(images).shape
        torch.Size([6])

    Reference:
        Image score, section 3.1 (model assembly) and table 3.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        statistics: Sequence[ClassStatistics],
        baseline: nn.Module,
        *,
        classes: Sequence[int] | None = None,
        norm: Norm = "linf",
        threshold: Threshold = "class_mean",
        overlap: bool = True,
    ) -> None:
        super().__init__()
        self.classes = tuple(range(len(networks)) if classes is None else classes)
        self.options = ScoreOptions(norm, threshold, overlap)
        _check(networks, statistics, self.classes)
        self.experts = nn.ModuleList(map(_Expert, networks, statistics))
        self.baseline = baseline

    def forward(self, images: Tensor) -> Tensor:
        """Labels ``(N,)`` of images ``(N, C, H, W)``."""
        return self.assemble(images).labels

    def assemble(self, images: Tensor) -> Assembly:
        """Labels of images ``(N, C, H, W)``, with the networks they come from."""
        return self._assemble(images, self._baseline_labels(images))

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """``labels``, ``models`` and ``n_claims`` of one batch ``x`` or ``(x, ...)``: what :meth:`assemble` returns."""
        # As a dict, because the Trainer refuses frozen dataclasses.
        return dict(vars(self.assemble(batch if isinstance(batch, Tensor) else batch[0])))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Log the accuracies on one batch ``(x, y, ...)``."""
        images, labels = batch[0], batch[1]
        baseline = self._baseline_labels(images)
        assembly = self._assemble(images, baseline)
        values = {
            "test/accuracy": (assembly.labels == labels).float().mean(),
            "test/baseline_accuracy": (baseline == labels).float().mean(),
            "test/claimed": (assembly.n_claims > 0).float().mean(),
        }
        # Lightning weights the mean by batch size and reduces it over ranks.
        self.log_dict(values, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(labels), sync_dist=True)

    def _baseline_labels(self, images: Tensor) -> Tensor:
        with evaluating(self.baseline):
            labels: Tensor = self.baseline(images).argmax(1)
        return labels

    def _assemble(self, images: Tensor, baseline: Tensor) -> Assembly:
        found = [expert(images, self.options) for expert in self.experts]
        scores, labels = (torch.stack(each).to(baseline.device) for each in zip(*found, strict=True))
        return assemble(scores, labels, baseline, classes=self.classes)


class _Expert(nn.Module):
    """A network with its statistics as buffers."""

    def __init__(self, net: nn.Module, statistics: ClassStatistics) -> None:
        super().__init__()
        self.net = net
        self.layers, self.spatial = statistics.layers, statistics.spatial
        self.register_buffer("counts", statistics.counts.clone())
        for i, total in enumerate(statistics.sums):
            self.register_buffer(f"sums_{i}", total.clone())

    def forward(self, images: Tensor, options: ScoreOptions) -> tuple[Tensor, Tensor]:
        """Scores and labels, ``(N,)`` each."""
        sums = tuple(self.get_buffer(f"sums_{i}") for i in range(len(self.layers)))
        statistics = ClassStatistics(self.layers, sums, self.get_buffer("counts"), self.spatial)
        scores = image_scores(
            self.net,
            images,
            statistics,
            norm=options.norm,
            threshold=options.threshold,
            overlap=options.overlap,
            batch_size=len(images),
        )
        return scores.scores, scores.labels


def _check(networks: Sequence[nn.Module], statistics: Sequence[ClassStatistics], classes: Sequence[int]) -> None:
    owner = "AssembledClassifier"
    if not networks:
        raise ValueError(message("networks", owner, "at least one network", networks))
    for name, value in (("statistics", statistics), ("classes", classes)):
        if len(value) != len(networks):
            must = f"as many as there are networks, {len(networks)}"
            raise ValueError(message(name, owner, must, len(value)))
    for k, (each, c) in enumerate(zip(statistics, classes, strict=True)):
        if not 0 <= c < each.n_classes or each.counts[c] == 0:
            must = f"of labelled images that include the class of each network; network {k} is for class {c}"
            raise ValueError(message("statistics", owner, must, f"{each.counts.tolist()} images per class"))
