"""Data augmentation of a whole batch, where the batch is."""

import torch
from torch import Tensor
from torch.nn.functional import pad


def random_crop_flip(images: Tensor, *, padding: int, generator: torch.Generator | None = None) -> Tensor:
    """Shift every image by up to ``padding`` pixels (zeros come in) and mirror every second one.

    Args:
        images: ``(b, c, h, w)``.
        padding: largest shift in pixels.
        generator: a CPU generator.

    Returns:
        ``(b, c, h, w)``, device and dtype of ``images``.

    >>> random_crop_flip(torch.ones(2, 3, 8, 8), padding=2).shape
    torch.Size([2, 3, 8, 8])
    """
    b, _, h, w = images.shape
    top, left = torch.randint(2 * padding + 1, (2, b, 1), generator=generator)
    mirror = torch.rand(b, 1, generator=generator) < 0.5
    column = torch.arange(w).expand(b, w)
    rows = (top + torch.arange(h)).to(images.device)
    columns = (left + torch.where(mirror, column.flip(1), column)).to(images.device)
    batch = torch.arange(b, device=images.device)[:, None, None]
    padded = pad(images, (padding,) * 4)
    return padded[batch, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
