"""Sound files of any format to waves of one rate and length."""

import struct
from math import gcd
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_interp.exceptions import DatasetNotFoundError

_MOST_RATE = 768_000  # what a header may ask for: the filter that resamples grows with it
_LOUDEST = 1e6  # full scale is 1; float files may be somewhat louder


def read_wave(file: Path, *, sample_rate: int, n_samples: int) -> Tensor:
    """Read one sound as mono, at another rate, cut or padded with zeros at its end.

    Reads what libsndfile reads, among it WAV of 8, 16 and 24 bits, floats and ADPCM, with any number of channels.

    Args:
        file: its path.
        sample_rate: samples per second of the result.
        n_samples: length of the result.

    Returns:
        float32 ``(n_samples,)``, full scale being [-1, 1].

    Raises:
        DatasetNotFoundError: the file is missing, shorter than its header says, empty, or cannot be decoded.
    """
    from soundfile import SoundFileError

    try:
        _check_whole(file)
        samples, rate = _samples(file, seconds=n_samples / sample_rate)
    except (OSError, ValueError, SoundFileError) as error:
        reason = getattr(error, "error_string", error)
        raise DatasetNotFoundError(
            f"The sound {str(file)!r} cannot be read ({reason})."
            ' Replace it, or pass damaged="skip" to leave such files out.'
        ) from error
    wave = _resampled(samples, rate, sample_rate)[:n_samples]
    return torch.from_numpy(np.pad(wave, (0, n_samples - len(wave))))


def _check_whole(file: Path) -> None:
    """Refuse a WAV file that ends before its samples do: libsndfile reads what is left without a word."""
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        kind = stream.read(12)
        while kind[:4] == b"RIFF" and kind[8:] == b"WAVE" and len(head := stream.read(8)) == 8:
            name, length = struct.unpack("<4sI", head)
            if name == b"data":
                present = size - stream.tell()
                # a program that writes to a pipe leaves a length of about 2^31 or 2^32 behind
                if present < length < 0x7FFF0000:
                    raise ValueError(f"it is truncated: {present} of {length} bytes of sound")
                return
            stream.seek(length + length % 2, 1)


def _samples(file: Path, *, seconds: float) -> tuple[np.ndarray, int]:
    """The mean of the channels and their rate."""
    import soundfile

    with soundfile.SoundFile(file) as sound:
        rate = int(sound.samplerate)
        if rate > _MOST_RATE:
            raise ValueError(f"{rate} samples per second are more than {_MOST_RATE}")
        frames = round((seconds + 1) * rate)  # a second more than is kept: the filter looks ahead
        samples = sound.read(frames, dtype="float32", always_2d=True).mean(1)
    if not len(samples):
        raise ValueError("it has no samples")
    if not np.abs(samples).max() < _LOUDEST:
        raise ValueError(f"it has samples that are not finite or above {_LOUDEST:g}")
    return samples, rate


def _resampled(samples: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    from scipy.signal import resample_poly

    if rate == sample_rate:
        return samples
    common = gcd(rate, sample_rate)
    return np.asarray(resample_poly(samples, sample_rate // common, rate // common), dtype=np.float32)
