"""The training step of a decoder that turns the features of one layer back into images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from lightning_interp._checks import check_int, check_number, message
from lightning_interp._lightning import LightningModule
from lightning_interp.hooks import forward_to, preserved_rng
from lightning_interp.models.upconv_decoder import UpconvDecoder

__all__ = ["Inverter"]

_N_TRIAL = 16  # images that tell the shape and the size of features


class Inverter(LightningModule):
    r"""Trains an up-convolutional decoder to undo a network up to one of its layers: what is lost, the layer forgot.

    .. math:: \min_W \sum_i \lVert x_i - D(A(x_i); W) \rVert^2

    Batches are ``x`` or ``(x, ...)``; no labels are needed. Logs ``train/reconstruction_error`` and, where there are
    such loaders, ``val/...`` and ``test/...``: the squared error per pixel, in the units of the images.

    The network is only borrowed: it runs in eval mode, gets no gradients, is left as it was, follows the images from
    device to device, and is not part of ``parameters()`` or of checkpoints. A checkpoint is read with the network, by
    ``Inverter.load_from_checkpoint(path, net=net)``, or without, by :meth:`load_decoder`.

    Args:
        net: The network; it need not have been trained.
        layer: Name of one layer, or ``"<output>"``; its output is ``(N, C, h, w)`` or ``(N, units)``.
        image_shape: Of one image, ``(C, H, W)``. Where it is not given, the first batch of the datamodule tells.
        width: Of the decoder, see :class:`lightning_interp.models.UpconvDecoder`.
        lr: Learning rate of Adam.
        weight_decay: L2 penalty on the decoder.

    Raises:
        ValueError: If a number is out of range, or, in ``fit``, if ``layer`` is not one layer or has other outputs.
        RuntimeError: If images are to be reconstructed before ``fit``, or ``fit`` cannot know their shape.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
        >>> inverter = Inverter(net, "1", image_shape=(3, 16, 16), width=4)
        >>> inverter.setup("fit")  # as a Trainer does
        >>> inverter.decoder.feature_shape, inverter(torch.rand(2, 3, 16, 16)).shape
        ((4, 8, 8), torch.Size([2, 3, 16, 16]))

    Reference:
        Dosovitskiy and Brox, Inverting visual representations with convolutional networks, CVPR 2016; survey,
        equation 16.
    """

    def __init__(
        self,
        net: nn.Module,
        layer: str,
        *,
        image_shape: Sequence[int] | None = None,
        width: int = 16,
        lr: float = 3e-3,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        self._borrowed = (net,)  # in a tuple, so that it is no submodule
        self.layer = layer
        self.image_shape = None if image_shape is None else tuple(image_shape)
        if self.image_shape is not None and len(self.image_shape) != 3:
            raise ValueError(message("image_shape", "Inverter", "(C, H, W)", self.image_shape))
        self.width = check_int(width, "width", "Inverter")
        self.lr = check_number(lr, "lr", "Inverter")
        self.weight_decay = check_number(weight_decay, "weight_decay", "Inverter")
        self.decoder: UpconvDecoder | None = None
        self.save_hyperparameters(ignore=["net"])

    @property
    def net(self) -> nn.Module:
        """The network that is inverted."""
        return self._borrowed[0]

    def setup(self, stage: str) -> None:
        """Make the decoder, before the first ``fit``."""
        if stage != "fit" or self.decoder is not None:
            return
        images = self._trial_images()
        features = self.features(images)
        scale = float(features.double().square().mean().sqrt()) or 1.0
        self.decoder = UpconvDecoder(features.shape[1:], images.shape[1:], width=self.width, feature_scale=scale)

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions of images, both ``(N, C, H, W)``."""
        return self.decode(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """What the layer says to images ``(N, C, H, W)``: ``(N, ...)``, without gradients."""
        net = self.net.to(images.device)
        dtype = next(net.parameters(), images).dtype  # a Trainer in half precision does not know the network
        with forward_to(net, self.layer) as reach:
            # a copy, made in here: a first layer that works in place must not touch the images, nor meet images of
            # inference mode, in which Lightning validates
            return reach(images.detach().to(dtype, copy=True))[self.layer].to(images.dtype)

    def decode(self, features: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` of features ``(N, ...)``."""
        if self.decoder is None:
            raise RuntimeError("`Inverter` has no decoder yet. Train it with `trainer.fit`, or load a checkpoint.")
        images: Tensor = self.decoder(features)
        return images

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Squared error of one batch, per pixel."""
        return self._step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log the error on one validation batch."""
        self._step(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Log the error on one test batch."""
        self._step(batch, "test")

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Reconstructions of one batch."""
        reconstructions: Tensor = self(_images(batch))
        return reconstructions

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam on the decoder."""
        return torch.optim.Adam(self.parameters(), lr=self.lr, weight_decay=self.weight_decay)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what makes a decoder of this shape."""
        if self.decoder is not None:
            checkpoint["decoder"] = self.decoder.config()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the decoder whose weights follow."""
        if self.decoder is None and "decoder" in checkpoint:
            self.decoder = UpconvDecoder(**checkpoint["decoder"]).to(self.device)

    @staticmethod
    def load_decoder(path: str | Path) -> UpconvDecoder:
        """The decoder in a checkpoint, on the CPU, without the network it inverts.

        Args:
            path: A checkpoint of a Trainer that trained an ``Inverter``; nothing in it is executed.

        Returns:
            A decoder from features to images.

        Raises:
            ValueError: If no decoder is in it.
        """
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        if "decoder" not in checkpoint:
            raise ValueError(message("path", "Inverter.load_decoder", "a checkpoint of an `Inverter`", str(path)))
        decoder = UpconvDecoder(**checkpoint["decoder"])
        weights = checkpoint["state_dict"].items()
        decoder.load_state_dict({name.removeprefix("decoder."): weight for name, weight in weights})
        return decoder

    def _step(self, batch: Any, stage: str) -> Tensor:
        images = _images(batch)
        error = mse_loss(self(images).float(), images.float())
        # Lightning weights the mean by batch size and reduces it over ranks.
        options: Any = {"on_step": False, "on_epoch": True, "batch_size": len(images), "sync_dist": True}
        self.log(f"{stage}/reconstruction_error", error, prog_bar=True, **options)
        return error

    def _trial_images(self) -> Tensor:
        """Some images of the datamodule; noise of the shape that was given: networks take images of about this size."""
        if self.image_shape is not None:
            return torch.randn(_N_TRIAL, *self.image_shape, generator=torch.Generator().manual_seed(0))
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None:
            raise RuntimeError(
                "`Inverter` cannot know the shape of the images. Pass it as `image_shape=(C, H, W)`, or train with a"
                " datamodule."
            )
        with preserved_rng():  # some loaders draw their order and their workers' seed from the global state
            return _images(next(iter(data.train_dataloader())))[:_N_TRIAL]


def _images(batch: Any) -> Tensor:
    images: Tensor = batch if isinstance(batch, Tensor) else batch[0]
    return images
