"""The training step of an object detector."""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import MultiStepLR
from torchmetrics import Metric

from lightning_interp._checks import check_int, check_number
from lightning_interp._lightning import LightningModule
from lightning_interp.hooks import select_layers
from lightning_interp.metrics.voc_average_precision import PrecisionRule, VOCAveragePrecision
from lightning_interp.models.faster_rcnn import BackboneName, BackboneWeights, faster_rcnn

__all__ = ["Detector"]

Targets = Sequence[Mapping[str, Any]]


class Detector(LightningModule):
    """Faster R-CNN, trained by the sum of its losses and judged by average precision.

    Batches are ``(images, targets)``, two lists, see :func:`lightning_interp.functional.voc_average_precision`. Logs
    ``train/loss`` and its parts; for validation and test ``val/voc_map`` and ``test/voc_map``, the mean average
    precision of VOC, and with ``coco_map`` that of COCO: ``.../map``, ``.../map_50`` and ``.../map_75``. Those of all
    classes are in ``voc_precision.precision()`` afterwards.

    Args:
        backbone: ``"vgg16"``, ``"resnet50_fpn"``, or a network that gives one feature map and has ``out_channels``.
        n_classes: Number of classes; labels go from 1 to ``n_classes``, 0 is the background.
        weights: ``"imagenet"`` downloads those of the backbone; None draws them, and nothing is downloaded.
        min_size: Images are scaled to this shorter side ...
        max_size: ... unless their longer side would get larger than this.
        lr: Learning rate of SGD.
        momentum: Its momentum.
        weight_decay: L2 penalty.
        lr_steps: Optimizer steps after which the learning rate falls to a tenth.
        pseudo_confidence: From which on a prediction is taken for a pseudo-label.
        rule: Of VOC's average precision: ``"area"`` (2010 on) or ``"eleven_point"`` (2007).
        coco_map: Log mAP by the rules of COCO too; needs pycocotools or faster-coco-eval.
        **options: Of :func:`lightning_interp.models.faster_rcnn` and torchvision's ``FasterRCNN``.

    Raises:
        ValueError: If an option has an unknown name or a number is out of range.
        ModuleNotFoundError: In validation or test, if ``coco_map`` is set and neither package is installed.

    Example:
        >>> detector = Detector(nn.Conv2d(3, 8, 3, stride=8), n_classes=3, min_size=32, head_width=16).eval()
        >>> sorted(detector([torch.rand(3, 32, 48)])[0])
        ['boxes', 'labels', 'scores']

    Reference:
        The image-score paper, section 3.2.
    """

    def __init__(
        self,
        backbone: BackboneName | nn.Module = "vgg16",
        *,
        n_classes: int = 20,
        weights: BackboneWeights | None = None,
        min_size: int = 600,
        max_size: int = 1000,
        lr: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        lr_steps: Sequence[int] = (),
        pseudo_confidence: float = 0.5,
        rule: PrecisionRule = "area",
        coco_map: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        self.n_classes = check_int(n_classes, "n_classes", "Detector")
        self.lr = check_number(lr, "lr", "Detector")
        self.momentum = check_number(momentum, "momentum", "Detector", high=1)
        self.weight_decay = check_number(weight_decay, "weight_decay", "Detector")
        self.lr_steps = [check_int(step, "lr_steps", "Detector") for step in lr_steps]
        self.pseudo_confidence = check_number(pseudo_confidence, "pseudo_confidence", "Detector", high=1)
        self.coco_map = coco_map
        sizes: Any = {"min_size": min_size, "max_size": max_size}
        self.net = faster_rcnn(backbone, n_classes=n_classes, weights=weights, **sizes, **options)
        self.voc_precision = VOCAveragePrecision(n_classes=n_classes, rule=rule)
        self.coco_precision: Any = None

    def forward(self, images: Sequence[Tensor] | Tensor) -> list[dict[str, Tensor]]:
        """Predictions, best first: a dict of ``boxes`` ``(n, 4)``, ``labels`` and ``scores`` ``(n,)`` per image."""
        predictions: list[dict[str, Tensor]] = self.net(list(images))
        return predictions

    def pseudo_labels(self, outputs: Targets) -> list[dict[str, Tensor] | None]:
        """Predictions to train on.

        Args:
            outputs: What ``forward`` gives.

        Returns:
            A target with the ``boxes`` and ``labels`` of confidence ``pseudo_confidence`` or more per image, on the
            CPU; None for an image without any.
        """
        kept = [output["scores"] >= self.pseudo_confidence for output in outputs]
        return [
            {name: output[name][keep].detach().cpu() for name in ("boxes", "labels")} if keep.any() else None
            for output, keep in zip(outputs, kept, strict=True)
        ]

    def backbone_layers(self) -> list[str]:
        """Where an image score looks: the convolutions under the regions, each after its norm, activation and pooling.

        Take the statistics and scores of pictures of different sizes with ``spatial="mean"`` or ``"max"``, one picture
        in a batch: a larger one next to it would change its margins.
        """
        side = self.net.transform.min_size[0]
        noise = torch.rand(3, side, side, generator=torch.Generator().manual_seed(0)).to(self.device)
        layers = select_layers(self, "composites", example_input=([noise],))
        return [name for name in layers if name.startswith("net.backbone.")]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Sum of the losses of one batch; an image without boxes is all background."""
        images, targets = batch[0], batch[1]
        if not self.net.training:  # a Trainer leaves the mode as it finds it
            raise RuntimeError("`Detector` must be in training mode to train. Call its `train()` before `trainer.fit`.")
        losses: dict[str, Tensor] = self.net(list(images), list(targets))
        total = torch.stack(list(losses.values())).sum()
        options: Any = {"on_step": False, "on_epoch": True, "batch_size": len(images), "sync_dist": True}
        self.log("train/loss", total, prog_bar=True, **options)
        self.log_dict({f"train/{name}": loss for name, loss in losses.items()}, **options)
        return total

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self._reset()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Hold the predictions of one batch against the truth."""
        self._update(batch)

    def on_validation_epoch_end(self) -> None:
        """Log the average precision of the validation."""
        self._log_precision("val")

    def on_test_epoch_start(self) -> None:
        """Forget the last test."""
        self._reset()

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Hold the predictions of one batch against the truth."""
        self._update(batch)

    def on_test_epoch_end(self) -> None:
        """Log the average precision of the test."""
        self._log_precision("test")

    def configure_optimizers(self) -> Any:
        """SGD, with its steps."""
        trained = [weight for weight in self.parameters() if weight.requires_grad]
        options: Any = {"lr": self.lr, "momentum": self.momentum, "weight_decay": self.weight_decay}
        optimizer = torch.optim.SGD(trained, **options)
        if not self.lr_steps:
            return optimizer
        schedule = MultiStepLR(optimizer, milestones=self.lr_steps, gamma=0.1)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def _reset(self) -> None:
        self.voc_precision.reset()
        if self.coco_map:
            self.coco_precision = _coco_metric().to(self.device)

    def _update(self, batch: Any) -> None:
        images, targets = batch[0], batch[1]
        predictions = self(images)
        self.voc_precision.update(predictions, targets)
        if self.coco_map:
            self.coco_precision.update(predictions, [_with_crowds(target) for target in targets])

    def _log_precision(self, stage: str) -> None:
        values = {f"{stage}/voc_map": self.voc_precision.compute()["mean"]}
        if self.coco_map:
            found = self.coco_precision.compute()
            values |= {f"{stage}/{name}": found[name] for name in ("map", "map_50", "map_75")}
        self.log_dict(values, prog_bar=True, sync_dist=True)


def _coco_metric() -> Metric:
    from torchmetrics.detection import MeanAveragePrecision

    backends: dict[Any, str] = {"pycocotools": "pycocotools", "faster_coco_eval": "faster-coco-eval"}
    found = next((name for name in backends if importlib.util.find_spec(name) is not None), None)
    if found is None:
        raise ModuleNotFoundError(
            f"`Detector` needs {' or '.join(backends.values())} for the mAP of COCO, and neither is installed. Install"
            " one of them with pip install 'lightning-interp[detection]', or pass coco_map=False: the average precision"
            " of VOC needs nothing."
        )
    return MeanAveragePrecision(backend=found)


def _with_crowds(target: Mapping[str, Any]) -> dict[str, Any]:
    """COCO's name for objects that neither count nor harm."""
    difficult = target.get("difficult", torch.zeros_like(target["labels"]))
    return {**target, "iscrowd": difficult.int()}
