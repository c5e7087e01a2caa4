"""Log-mel spectrograms: sound as a picture, mel bands against time."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_interp._checks import check_int, check_number, message

_FLOOR = 1e-10  # -100 dB, under the noise of 16 bits: what silence is set to


def mel_filterbank(n_mels: int, *, n_fft: int, sample_rate: int) -> Tensor:
    r"""Triangles over the bins of a Fourier transform, from 0 Hz to half the sample rate.

    Their corners are equally spaced in :math:`m = 2595 \log_{10}(1 + f / 700)` (the formula of HTK); weights are linear
    in Hz and one at the centre of a band, where the neighbours end.

    Args:
        n_mels: number of bands.
        n_fft: samples per transform.
        sample_rate: samples per second.

    Returns:
        ``(n_mels, n_fft // 2 + 1)``.

    Raises:
        ValueError: a band is so narrow that no bin falls into it.

    Reference:
        Young et al., The HTK book, section 5.4 (mel scale).

    >>> mel_filterbank(64, n_fft=2048, sample_rate=22050).shape
    torch.Size([64, 1025])
    """
    check_int(n_mels, "n_mels", "mel_filterbank")
    bins = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    top = 2595 * torch.log10(torch.tensor(1 + sample_rate / 1400, dtype=torch.float64))
    corners = 700 * (10 ** (torch.linspace(0, float(top), n_mels + 2, dtype=torch.float64) / 2595) - 1)
    low, centre, high = (corners[i : i + n_mels, None] for i in range(3))
    bank = torch.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clamp(min=0)
    if not bank.any(1).all():
        must = f"small enough that every band has one of the {len(bins)} bins (or `n_fft` larger)"
        raise ValueError(message("n_mels", "mel_filterbank", must, n_mels))
    return bank.float()


@dataclass(frozen=True)
class LogMel:
    """Sound of one length to log-mel spectrograms.

    Power spectra (Hann windows, centred, zeros outside) are summed up in mel bands and given in decibels, 0 dB being
    the peak of a sine of amplitude one. -100 dB and less become 0, 0 dB becomes 1. The default is 64 bands x 128
    frames.

    Args:
        sample_rate: samples per second.
        seconds: length of the sound.
        n_mels: number of bands.
        n_fft: samples per Fourier transform.
        hop: samples from one frame to the next.

    Raises:
        ValueError: an argument out of range.
        TypeError: an argument of another type.

    >>> LogMel()(torch.zeros(2, 88200)).shape
    torch.Size([2, 64, 128])
    """

    sample_rate: int = 22050
    seconds: float = 4.0
    n_mels: int = 64
    n_fft: int = 2048
    hop: int = 690

    def __post_init__(self) -> None:
        for name, low in (("sample_rate", 1000), ("n_mels", 1), ("n_fft", 2), ("hop", 1)):
            check_int(getattr(self, name), name, "LogMel", low=low)
        check_number(self.seconds, "seconds", "LogMel", low=1 / self.sample_rate, high=3600.0)

    @property
    def n_samples(self) -> int:
        """Samples of the sound."""
        return round(self.seconds * self.sample_rate)

    @property
    def shape(self) -> tuple[int, int]:
        """Bands and frames: the ``image_size`` of a network."""
        return self.n_mels, 1 + self.n_samples // self.hop

    def __call__(self, waves: Tensor) -> Tensor:
        """Spectrograms ``(b, bands, frames)`` of ``waves`` ``(b, n_samples)`` in [-1, 1]."""
        if waves.ndim != 2 or waves.shape[1] != self.n_samples:
            raise ValueError(message("waves", "LogMel", f"a tensor (b, {self.n_samples})", waves))
        window = torch.hann_window(self.n_fft, dtype=waves.dtype, device=waves.device)
        spectra = torch.stft(
            waves, self.n_fft, hop_length=self.hop, window=window, pad_mode="constant", return_complex=True
        )
        power = (spectra.abs() * (2 / window.sum())).square()
        bank = mel_filterbank(self.n_mels, n_fft=self.n_fft, sample_rate=self.sample_rate).to(power)
        return 1 + (bank @ power).clamp(min=_FLOOR).log10() / 10
