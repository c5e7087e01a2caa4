import math
import pickle

import pytest
import torch

from lightning_interp.datasets import LogMel, mel_filterbank


def hz(mel):
    return 700 * (10 ** (mel / 2595) - 1)


def mel(f):
    return 2595 * math.log10(1 + f / 700)


def slow_bank(n_mels, n_fft, rate):
    corners = [hz(mel(rate / 2) * i / (n_mels + 1)) for i in range(n_mels + 2)]
    bank = torch.zeros(n_mels, n_fft // 2 + 1)
    for band in range(n_mels):
        low, centre, high = corners[band : band + 3]
        for k in range(n_fft // 2 + 1):
            f = k * rate / n_fft
            if low < f <= centre:
                bank[band, k] = (f - low) / (centre - low)
            elif centre < f < high:
                bank[band, k] = (high - f) / (high - centre)
    return bank


@pytest.mark.parametrize(("n_mels", "n_fft", "rate"), [(64, 2048, 22050), (10, 256, 8000), (1, 2, 1000)])
def test_bank_equals_a_slow_loop(n_mels, n_fft, rate):
    assert torch.allclose(
        mel_filterbank(n_mels, n_fft=n_fft, sample_rate=rate), slow_bank(n_mels, n_fft, rate), atol=1e-6
    )


def test_bands_add_up_to_one_between_the_outer_centres():
    total = mel_filterbank(40, n_fft=4096, sample_rate=16000).sum(0)
    bins = torch.linspace(0, 8000, 2049)
    inside = (bins > hz(mel(8000) / 41)) & (bins < hz(mel(8000) * 40 / 41))
    assert torch.allclose(total[inside], torch.ones(int(inside.sum())), atol=1e-5)


def test_spectrogram_equals_a_slow_loop():
    shape = LogMel(sample_rate=2000, seconds=0.1, n_mels=5, n_fft=64, hop=30)
    wave = torch.randn(200, generator=torch.Generator().manual_seed(0)) / 4
    wave[120:] = 0
    padded = [0.0] * 32 + wave.tolist() + [0.0] * 32
    window = [0.5 - 0.5 * math.cos(2 * math.pi * i / 64) for i in range(64)]
    bank = slow_bank(5, 64, 2000)
    assert shape.shape == (5, 7)
    found = shape(wave[None])[0]
    for frame in range(7):
        for band in range(5):
            power = 0.0
            for k in range(33):
                terms = [padded[frame * 30 + i] * window[i] for i in range(64)]
                re = sum(term * math.cos(2 * math.pi * k * i / 64) for i, term in enumerate(terms))
                im = sum(term * math.sin(2 * math.pi * k * i / 64) for i, term in enumerate(terms))
                power += float(bank[band, k]) * (re * re + im * im) * (2 / sum(window)) ** 2
            assert float(found[band, frame]) == pytest.approx(1 + math.log10(max(power, 1e-10)) / 10, abs=1e-4)


@pytest.mark.parametrize("band", [3, 20, 40, 63])
def test_a_tone_lands_in_its_band_at_its_level(band):
    logmel = LogMel()
    f = hz(mel(11025) * (band + 1) / 65)
    time = torch.arange(logmel.n_samples) / 22050
    waves = torch.stack([amplitude * torch.sin(2 * math.pi * f * time) for amplitude in (1.0, 0.1)])
    loud, quiet = logmel(waves)[:, :, 4:-4]
    assert (loud.argmax(0) == band).all()
    assert torch.allclose(loud[band] - quiet[band], torch.tensor(0.2), atol=1e-3)  # 20 of 100 dB
    assert 0.95 < loud[band].min() <= loud[band].max() < 1.03


def test_silence_batches_and_dtype():
    logmel = pickle.loads(pickle.dumps(LogMel()))
    waves = torch.randn(3, logmel.n_samples, generator=torch.Generator().manual_seed(0)) / 10
    waves[1] = 0
    found = logmel(waves)
    assert found.shape == (3, *logmel.shape) == (3, 64, 128)
    assert found[1].eq(0).all()
    assert torch.allclose(found[2], logmel(waves[2:])[0], atol=1e-6)
    assert torch.allclose(logmel(waves.double()).float(), found, atol=1e-4)


def test_a_band_without_a_bin_is_refused():
    with pytest.raises(ValueError, match=r"`n_mels` parameter of `mel_filterbank` must be small enough .* Got 128"):
        mel_filterbank(128, n_fft=512, sample_rate=22050)


@pytest.mark.parametrize(
    ("options", "error"),
    [({"n_mels": 0}, ValueError), ({"hop": 0}, ValueError), ({"n_fft": 1}, ValueError), ({"seconds": 0}, ValueError),
     ({"sample_rate": 22050.0}, TypeError)],
)  # fmt: skip
def test_bad_options(options, error):
    (name,) = options
    with pytest.raises(error, match=f"The `{name}` parameter of `LogMel` must be"):
        LogMel(**options)


def test_waves_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"`waves` parameter of `LogMel` must be a tensor \(b, 88200\)"):
        LogMel()(torch.zeros(2, 88199))
