"""Images held in memory as bytes, handed out as floats."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_interp._checks import message

ImageTransform = Callable[[Tensor], Tensor]


class Normalize:
    """``(x - mean) / std`` per channel, for one image ``(c, h, w)`` or many ``(b, c, h, w)``.

    Args:
        mean: one number per channel, for images in [0, 1].
        std: the same.

    >>> Normalize([0.5], [0.25])(torch.ones(1, 1, 1)).item()
    2.0
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = (torch.tensor(list(v), dtype=torch.float32)[:, None, None] for v in (mean, std))

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise ``(..., c, h, w)``."""
        return (images - self.mean.to(images)) / self.std.to(images)

    def invert(self, images: Tensor) -> Tensor:
        """Back to [0, 1], for pictures."""
        return images * self.std.to(images) + self.mean.to(images)


class ImageTensors(Dataset[tuple[Tensor, int]]):
    """A dataset in one tensor; DataLoader takes whole batches from it.

    Args:
        images: uint8 ``(n, c, h, w)``.
        targets: ``(n,)`` labels.
        transform: applied to a float batch ``(b, c, h, w)`` in [0, 1].

    Raises:
        TypeError: ``images`` is not a uint8 tensor of four dimensions.
        ValueError: the number of labels is not the number of images.

    >>> data = ImageTensors(torch.full((2, 3, 4, 4), 255, dtype=torch.uint8), torch.tensor([4, 1]))
    >>> data[1][0].max().item(), data[1][1]
    (1.0, 1)
    """

    def __init__(self, images: Tensor, targets: Tensor, *, transform: ImageTransform | None = None) -> None:
        if images.ndim != 4 or images.dtype != torch.uint8:
            raise TypeError(message("images", "ImageTensors", "a uint8 tensor (n, c, h, w)", images))
        self.images, self.targets, self.transform = images, torch.as_tensor(targets, dtype=torch.long), transform
        if self.targets.shape != (len(images),):
            raise ValueError(message("targets", "ImageTensors", f"one label for each of {len(images)} images", targets))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        rows = torch.as_tensor(indices, dtype=torch.long)
        images = self.images[rows].float().div_(255)
        images = self.transform(images) if self.transform is not None else images
        return list(zip(images, self.targets[rows].tolist(), strict=True))
