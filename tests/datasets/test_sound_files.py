import struct

import numpy as np
import pytest
import soundfile
import torch

from lightning_interp.datasets.sound_files import read_wave
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data.urban_sound8k import FORMATS


def sine(rate, seconds, f=440.0):
    return 0.5 * np.sin(2 * np.pi * f * np.arange(round(rate * seconds)) / rate)


def read(file, *, rate=22050, seconds=1.0):
    return read_wave(file, sample_rate=rate, n_samples=round(rate * seconds))


@pytest.mark.parametrize("form", [*FORMATS, ("WAV", "PCM_16", 192000, 2), ("WAV", "PCM_16", 11024, 1)])
def test_every_format_and_rate_gives_the_same_sound(tmp_path, form):
    container, subtype, rate, channels = form
    sound = np.repeat(sine(rate, 0.5)[:, None], channels, 1)
    soundfile.write(tmp_path / "x.wav", sound, rate, format=container, subtype=subtype)
    wave = read(tmp_path / "x.wav")
    assert wave.shape == (22050,)
    assert wave.dtype == torch.float32
    inside = slice(500, 10500)  # away from where the resampled sound begins and ends
    error = (wave[inside] - torch.from_numpy(sine(22050, 0.5))[inside]).abs().max()
    assert error < (0.03 if "ADPCM" in subtype else 0.012)  # one step of 8 bits is 0.008
    assert wave[12300:].abs().max() < 1e-4  # ADPCM comes in blocks of about 1000, the last one filled up


def test_24_bits_are_extensible_and_float_has_a_fact_chunk(tmp_path):
    soundfile.write(tmp_path / "x.wav", sine(8000, 0.1), 8000, format="WAVEX", subtype="PCM_24")
    assert struct.unpack("<H", (tmp_path / "x.wav").read_bytes()[20:22]) == (0xFFFE,)
    soundfile.write(tmp_path / "y.wav", sine(8000, 0.1), 8000, subtype="FLOAT")
    assert b"fact" in (tmp_path / "y.wav").read_bytes()[:80]


def test_channels_are_averaged_and_long_sounds_cut(tmp_path):
    left, right = np.full(9000, 0.5), np.full(9000, -0.25)
    soundfile.write(tmp_path / "x.wav", np.stack([left, right], 1), 8000, subtype="FLOAT")
    assert torch.equal(read(tmp_path / "x.wav", rate=8000), torch.full((8000,), 0.125))


def test_a_cut_does_not_ring(tmp_path):
    soundfile.write(tmp_path / "x.wav", sine(44100, 3), 44100, subtype="FLOAT")
    whole = read(tmp_path / "x.wav", seconds=3.0)
    assert torch.allclose(read(tmp_path / "x.wav"), whole[:22050], atol=1e-6)


@pytest.mark.parametrize("form", FORMATS[:4])
def test_truncated_is_found_out_though_libsndfile_reads_it(tmp_path, form):
    container, subtype, rate, channels = form
    file = tmp_path / "cut.wav"
    soundfile.write(file, np.repeat(sine(rate, 0.5)[:, None], channels, 1), rate, format=container, subtype=subtype)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert len(soundfile.read(file)[0]) > 0
    with pytest.raises(DatasetNotFoundError, match=r"cut.wav' cannot be read \(it is truncated: \d+ of \d+ bytes"):
        read(file)


@pytest.mark.parametrize("length", [0x7FFFF000, 0xFFFFFFFF])
def test_a_header_written_to_a_pipe_is_no_damage(tmp_path, length):
    soundfile.write(tmp_path / "x.wav", sine(8000, 0.1), 8000, subtype="PCM_16")
    content = bytearray((tmp_path / "x.wav").read_bytes())
    at = content.index(b"data")
    content[at + 4 : at + 8] = struct.pack("<I", length)
    (tmp_path / "x.wav").write_bytes(content)
    assert read(tmp_path / "x.wav").abs().max() > 0.4


def test_chunks_before_the_sound_are_stepped_over(tmp_path):
    soundfile.write(tmp_path / "x.wav", sine(8000, 0.1), 8000, subtype="PCM_16")
    content = (tmp_path / "x.wav").read_bytes()
    at = content.index(b"data")
    odd = content[:at] + b"LIST" + struct.pack("<I", 5) + b"dataX\0" + content[at:]
    (tmp_path / "y.wav").write_bytes(odd)
    assert torch.equal(read(tmp_path / "x.wav"), read(tmp_path / "y.wav"))


@pytest.mark.parametrize("content", [b"", b"RIFF", b"<html>no sound</html>", b"RIFF\0\0\0\0WAVEfmt "])
def test_no_sound(tmp_path, content):
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(
        DatasetNotFoundError, match=r"x.wav' cannot be read \(.+\). Replace it, or pass damaged=\"skip\""
    ):
        read(tmp_path / "x.wav")


def test_missing_empty_not_finite_and_absurd_rate(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="No such file"):
        read(tmp_path / "x.wav")
    soundfile.write(tmp_path / "x.wav", np.zeros(0), 8000)
    with pytest.raises(DatasetNotFoundError, match="it has no samples"):
        read(tmp_path / "x.wav")
    for value in (np.nan, np.inf, -1e30):
        soundfile.write(tmp_path / "x.wav", np.array([0, value, 0], dtype=np.float32), 8000, subtype="FLOAT")
        with pytest.raises(DatasetNotFoundError, match=r"not finite or above 1e\+06"):
            read(tmp_path / "x.wav")
    soundfile.write(tmp_path / "x.wav", np.zeros(10), 2_000_003)
    with pytest.raises(DatasetNotFoundError, match="2000003 samples per second are more than 768000"):
        read(tmp_path / "x.wav")
