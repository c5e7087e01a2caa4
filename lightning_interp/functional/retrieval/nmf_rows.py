"""Local descriptors of feature maps by non-negative factors: what there is in an image, and how it is arranged."""

import torch
from torch import Tensor

from lightning_interp._checks import check_int, message
from lightning_interp.functional.factorization import nmf
from lightning_interp.functional.retrieval.pooling import channel_weights

__all__ = ["mixed", "nmf_rows"]

_KERNEL, _VARIANCE = 13, 2.0


def nmf_rows(maps: Tensor, k: int = 4, *, n_iter: int = 30, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Factorise the activations of every image on its own, all images of a batch at once.

    Channels are weighted by how rare they are. The number of iterations is fixed, so that an image has the same factors
    whatever other images are in its batch.

    Args:
        maps: Non-negative, ``(B, C, h, w)``.
        k: Factors of an image.
        n_iter: Iterations of NMF.
        seed: Of its start.

    Returns:
        What each factor looks like, ``V (B, k, C)``, rows of unit length or zero, and where it is, ``U (B, k, h, w)``.

    Raises:
        ValueError: The maps have fewer cells or channels than ``k``.
        NegativeActivationsError: The maps are signed.

    Example:
        >>> v, u = nmf_rows(torch.rand(5, 8, 6, 7), 3)
        >>> v.shape, u.shape
        (torch.Size([5, 3, 8]), torch.Size([5, 3, 6, 7]))

    Reference:
        Thesis, section 5.3.1.
    """
    b, channels, h, w = maps.shape
    check_int(k, "k", "nmf_rows", high=min(channels, h * w))
    check_int(n_iter, "n_iter", "nmf_rows")
    weights = channel_weights(maps)
    rows = (maps.flatten(2) * weights[..., None]).mT
    generator = torch.Generator().manual_seed(seed)
    found = nmf(rows, k, max_iter=n_iter, tol=0, generator=generator)
    u = found.u.mT.reshape(b, k, h, w)
    return found.v * (u != 0).any(3).any(2)[..., None], u  # a factor that is nowhere looks like nothing


def mixed(v: Tensor, u: Tensor) -> Tensor:
    """Factors with a share of those beside them: ``V' = U_hat^T U_hat V``, ``(B, k, C)``.

    Heatmaps are blurred by a Gaussian (13 x 13, variance 2) and scaled to unit length, so two factors mix as far as
    they lie together.

    Args:
        v: ``(B, k, C)``.
        u: ``(B, k, h, w)``.

    Example:
        >>> u = torch.zeros(1, 2, 40, 40)
        >>> u[0, 0, 4, 4] = u[0, 1, 34, 34] = 1  # far from each other
        >>> bool(torch.allclose(mixed(torch.eye(2)[None], u), torch.eye(2)))
        True

    Reference:
        Thesis, equations 5.5 to 5.7.
    """
    if v.shape[:2] != u.shape[:2]:
        raise ValueError(message("u", "mixed", f"a map for each of {tuple(v.shape[:2])} factors", u))
    offsets = torch.arange(_KERNEL, device=u.device, dtype=u.dtype) - _KERNEL // 2
    kernel = (-(offsets**2) / (2 * _VARIANCE)).exp()
    kernel = kernel / kernel.sum()
    flat = u.flatten(0, 1)[:, None]
    blurred = torch.nn.functional.conv2d(flat, kernel[None, None, :, None], padding=(_KERNEL // 2, 0))
    blurred = torch.nn.functional.conv2d(blurred, kernel[None, None, None], padding=(0, _KERNEL // 2))
    maps = torch.nn.functional.normalize(blurred.view(*u.shape[:2], -1), dim=2)
    return maps @ maps.mT @ v
