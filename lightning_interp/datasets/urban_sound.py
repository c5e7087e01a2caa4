"""UrbanSound8K: clips of city noise, as log-mel spectrograms."""

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_interp._checks import check_choice
from lightning_interp.datasets.image_tensors import ImageTransform
from lightning_interp.datasets.log_mel import LogMel
from lightning_interp.datasets.sound_files import read_wave
from lightning_interp.datasets.tensor_cache import load_tensor, save_tensor
from lightning_interp.datasets.urban_sound_index import CLASSES, FOLDS, Clip, checked_folds, read_index
from lightning_interp.exceptions import DatasetNotFoundError

_CACHE_VERSION = 1  # to be raised when the same sound gives other numbers
_AT_ONCE = 32  # clips; 4 s are a wave of 350 kB and a spectrum of 1 MB


class UrbanSound8K(Dataset[tuple[Tensor, int]]):
    """Some folds of UrbanSound8K, decoded once and kept in memory as half-precision spectrograms.

    All 8732 clips take 143 MB at the default 64 x 128. Decoding them takes minutes; with a ``cache_dir`` only the first
    time: there is one file in it for each fold, each spectrogram and each state of the sound files.

    Args:
        root: the folder ``UrbanSound8K``, or the one it is in.
        folds: which of the folds 1 to 10.
        spectrogram: rate, length and shape; the default is 64 bands x 128 frames of 4 s. Longer sounds are cut, shorter
            ones followed by silence.
        damaged: ``"error"`` names the clip that is missing, truncated or cannot be decoded; ``"skip"`` leaves such
            clips out and says in a warning how many. A clip that is shorter than the table says is not damaged.
        cache_dir: where decoded folds are kept, those without damaged clips.
        transform: applied to a float batch ``(b, 1, bands, frames)``, about in [0, 1].

    Attributes:
        classes: names of the ten classes.
        files: path of every clip.
        folds: fold of every clip, ``(n,)``.
        targets: class of every clip, ``(n,)``.

    Raises:
        DatasetNotFoundError: the table is missing or another one, a clip is damaged, a fold has no clip.
        ValueError: an argument out of range.

    Reference:
        Salamon et al., A dataset and taxonomy for urban sound research, 2014.
    """

    classes = CLASSES

    def __init__(
        self,
        root: str | Path,
        *,
        folds: Sequence[int] = FOLDS,
        spectrogram: LogMel | None = None,
        damaged: Literal["error", "skip"] = "error",
        cache_dir: str | Path | None = None,
        transform: ImageTransform | None = None,
    ) -> None:
        check_choice(damaged, "damaged", "UrbanSound8K", ("error", "skip"))
        wanted = checked_folds(folds, "folds", "UrbanSound8K")
        self.spectrogram, self.transform = spectrogram or LogMel(), transform
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        index = read_index(root)
        listed = {fold: [clip for clip in index if clip.fold == fold] for fold in wanted}
        if damaged == "error":
            _check_present([clip for fold in wanted for clip in listed[fold]])
        decoded = [self._fold(fold, listed[fold], damaged) for fold in wanted]
        clips = [clip for kept, _ in decoded for clip in kept]
        self.files = [clip.file for clip in clips]
        self.folds = torch.tensor([clip.fold for clip in clips])
        self.targets = torch.tensor([clip.label for clip in clips])
        self._spectrograms = torch.cat([spectrograms for _, spectrograms in decoded])
        kept = set(clips)
        _report([clip for fold in wanted for clip in listed[fold] if clip not in kept], len(clips))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        rows = torch.as_tensor(indices, dtype=torch.long)
        images = self._spectrograms[rows, None].float()
        images = self.transform(images) if self.transform is not None else images
        return list(zip(images, self.targets[rows].tolist(), strict=True))

    def _fold(self, fold: int, clips: list[Clip], damaged: str) -> tuple[list[Clip], Tensor]:
        """The readable clips of a fold and their spectrograms, ``(n, bands, frames)``."""
        cache = None
        if self.cache_dir is not None:
            cache = self.cache_dir / f"urban_sound8k_fold{fold}_{_key(clips, self.spectrogram)}.safetensors"
            found = load_tensor(cache, shape=(len(clips), *self.spectrogram.shape), dtype=torch.half)
            if found is not None:
                return clips, found
        kept, spectrograms = _decode(clips, self.spectrogram, damaged)
        if not kept:
            raise DatasetNotFoundError(
                f"Fold {fold} of UrbanSound8K has no clip that can be read; the table lists {len(clips)}."
                " Repair the dataset, or choose other folds."
            )
        if cache is not None and len(kept) == len(clips):
            save_tensor(cache, spectrograms)
        return kept, spectrograms


def _decode(clips: list[Clip], spectrogram: LogMel, damaged: str) -> tuple[list[Clip], Tensor]:
    def wave(clip: Clip) -> Tensor | None:
        try:
            return read_wave(clip.file, sample_rate=spectrogram.sample_rate, n_samples=spectrogram.n_samples)
        except DatasetNotFoundError:
            if damaged == "error":
                raise
            return None

    kept: list[Clip] = []
    parts = [torch.zeros(0, *spectrogram.shape, dtype=torch.half)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for start in range(0, len(clips), _AT_ONCE):
            some = clips[start : start + _AT_ONCE]
            good = {clip: wave for clip, wave in zip(some, threads.map(wave, some), strict=True) if wave is not None}
            if good:
                kept += good
                parts.append(spectrogram(torch.stack(list(good.values()))).half())
    return kept, torch.cat(parts)


def _key(clips: list[Clip], spectrogram: LogMel) -> str:
    """Changes with everything the spectrograms depend on."""
    files = [(clip.file.name, clip.file.stat().st_size if clip.file.is_file() else None) for clip in clips]
    return hashlib.sha256(json.dumps([_CACHE_VERSION, asdict(spectrogram), files]).encode()).hexdigest()[:16]


def _check_present(clips: list[Clip]) -> None:
    # before the first is decoded: minutes later would be too late
    missing = [clip.file for clip in clips if not clip.file.is_file()]
    if missing:
        raise DatasetNotFoundError(
            f"{len(missing)} of {len(clips)} clips are missing, first {str(missing[0])!r}."
            ' Unpack the archive again, or pass damaged="skip" to leave them out.'
        )


def _report(lost: list[Clip], n_kept: int) -> None:
    if lost:
        names = ", ".join(repr(clip.file.name) for clip in lost[:3])
        warnings.warn(
            f"{len(lost)} of {len(lost) + n_kept} clips are missing or damaged and are left out:"
            f" {names}{', ...' if len(lost) > 3 else ''}.",
            UserWarning,
            stacklevel=3,
        )
