import pickle
import warnings

import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from lightning_interp.datasets import LogMel, UrbanSound8K, mel_filterbank, urban_sound
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import urban_sound8k


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("sound")
    urban_sound8k.write(root, folds=[1, 3, 10])
    return root


@pytest.fixture
def root(tmp_path):
    urban_sound8k.write(tmp_path, folds=[1, 3], seconds=0.1)
    return tmp_path


def clip(root, fold, label):
    return root / "UrbanSound8K" / "audio" / f"fold{fold}" / f"{1000 * fold + label}-{label}-0-0.wav"


def test_every_tone_is_in_its_band_and_silence_follows(home):
    data = UrbanSound8K(home, folds=[10, 3])
    assert len(data) == len(data.files) == 20
    assert data.folds.tolist() == [3] * 10 + [10] * 10
    assert data.targets.tolist() == [*range(10)] * 2
    bank = mel_filterbank(64, n_fft=2048, sample_rate=22050)
    for image, label in data:
        assert image.shape == (1, 64, 128)
        assert image.dtype == torch.float32
        expected = bank[:, round(urban_sound8k.pitch(label) * 2048 / 22050)].argmax()
        assert (image[0, :, 3:12].argmax(0) - expected).abs().max() <= 1  # half a second is 16 frames
        assert image[0, :, 3:12].max(0).values.min() > 0.9
        assert image[0, :, 20:].max() < 0.2  # -80 dB: nothing is left of the tone


def test_spectrogram_transform_workers_and_pickle(home):
    logmel = LogMel(sample_rate=16000, seconds=1, n_mels=20, n_fft=512, hop=250)
    data = UrbanSound8K(home / "UrbanSound8K", folds=[1], spectrogram=logmel, transform=lambda x: x * 2)
    assert data[0][0].shape == (1, *logmel.shape) == (1, 20, 65)
    plain = UrbanSound8K(home, folds=[1], spectrogram=logmel)
    assert torch.equal(data[4][0], 2 * plain[4][0])
    again = pickle.loads(pickle.dumps(plain))
    loaders = [DataLoader(again, batch_size=4, num_workers=workers) for workers in (0, 2)]
    first, second = (torch.cat([x for x, _ in loader]) for loader in loaders)
    assert torch.equal(first, second)
    assert torch.equal(first[7], plain[7][0])


def test_batches_of_decoding_change_nothing(home, monkeypatch):
    plain = UrbanSound8K(home, folds=[1])
    monkeypatch.setattr(urban_sound, "_AT_ONCE", 3)
    parts = UrbanSound8K(home, folds=[1])
    assert all(torch.allclose(a, b, atol=1e-3) for (a, _), (b, _) in zip(plain, parts, strict=True))


def test_missing_clips_are_counted_before_anything_is_decoded(root, monkeypatch):
    monkeypatch.setattr(urban_sound, "read_wave", None)
    for label in (2, 5):
        clip(root, 3, label).unlink()
    with pytest.raises(DatasetNotFoundError, match=r"2 of 20 clips are missing, first '.*3002-2-0-0.wav'. Unpack"):
        UrbanSound8K(root, folds=[1, 3])


def damage(root):
    clip(root, 1, 2).unlink()
    clip(root, 1, 3).write_bytes(clip(root, 1, 3).read_bytes()[:-100])
    clip(root, 1, 7).write_text("<html>")


def test_a_damaged_clip_is_named(root):
    damage(root)
    clip(root, 1, 2).write_bytes(b"")
    with pytest.raises(DatasetNotFoundError, match=r"1002-2-0-0.wav' cannot be read"):
        UrbanSound8K(root, folds=[1])


def test_damaged_clips_are_counted_and_left_out(root, tmp_path):
    damage(root)
    match = (
        r"3 of 20 clips are missing or damaged and are left out: '1002-2-0-0.wav', '1003-3-0-0.wav', '1007-7-0-0.wav'\."
    )
    for _ in range(2):  # also when one of the folds comes from the cache
        with pytest.warns(UserWarning, match=match):
            data = UrbanSound8K(root, folds=[1, 3], damaged="skip", cache_dir=tmp_path / "cache")
        assert data.targets.tolist() == [0, 1, 4, 5, 6, 8, 9, *range(10)]
        assert [file.name.split("-")[1] for file in data.files] == [str(label) for label in data.targets.tolist()]
        assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_fold_without_clips(root):
    with pytest.raises(DatasetNotFoundError, match=r"Fold 2 of UrbanSound8K has no clip .* the table lists 0"):
        UrbanSound8K(root, folds=[2])
    for label in range(10):
        clip(root, 3, label).unlink()
    with pytest.raises(DatasetNotFoundError, match=r"Fold 3 .* the table lists 10"):
        UrbanSound8K(root, folds=[3], damaged="skip")


def test_the_cache_spares_the_decoding_and_knows_what_it_is_for(root, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    small = LogMel(n_mels=8)
    first = UrbanSound8K(root, folds=[1, 3], spectrogram=small, cache_dir=cache)
    assert len(list(cache.iterdir())) == 2
    reads = []
    read_wave = urban_sound.read_wave
    monkeypatch.setattr(urban_sound, "read_wave", lambda *a, **k: reads.append(a) or read_wave(*a, **k))
    again = UrbanSound8K(root, folds=[1, 3], spectrogram=small, cache_dir=cache)
    assert not reads
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, again, strict=True))
    UrbanSound8K(root, folds=[1], spectrogram=LogMel(n_mels=9), cache_dir=cache)
    assert len(reads) == 10
    soundfile.write(clip(root, 1, 0), [0.0] * 50, 8000)
    changed = UrbanSound8K(root, folds=[1, 3], spectrogram=small, cache_dir=cache)
    assert len(reads) == 20
    assert changed[0][0].eq(0).all()


def test_nothing_is_written_or_warned_of_without_being_asked(root):
    before = sorted(root.rglob("*"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        UrbanSound8K(root, folds=[1])
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("options", [{"folds": [11]}, {"damaged": "ignore"}])
def test_bad_options(root, options):
    with pytest.raises(ValueError, match="parameter of `UrbanSound8K` must be"):
        UrbanSound8K(root, **options)
