"""Writes a small UrbanSound8K: every clip is a tone whose pitch tells its class, in the formats of the dataset."""

import csv
import hashlib
import tarfile

import numpy as np

CLASSES = (
    "air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling",
    "engine_idling", "gun_shot", "jackhammer", "siren", "street_music",
)  # fmt: skip
HEADER = "slice_file_name,fsID,start,end,salience,fold,classID,class"
# container, subtype, rate, channels: 24 bits come as WAVE_FORMAT_EXTENSIBLE
FORMATS = (
    ("WAV", "PCM_16", 44100, 2),
    ("WAVEX", "PCM_24", 48000, 2),
    ("WAV", "FLOAT", 96000, 1),
    ("WAV", "PCM_U8", 11025, 1),
    ("WAV", "MS_ADPCM", 22050, 2),
    ("WAV", "PCM_16", 8000, 1),
    ("WAV", "IMA_ADPCM", 24000, 1),
)


def pitch(label):
    """Hz; the highest is below half of the lowest rate."""
    return 250 * 1.35**label


def tone(label, rate, seconds):
    return 0.5 * np.sin(2 * np.pi * pitch(label) * np.arange(round(rate * seconds)) / rate)


def write(root, *, folds=range(1, 11), seconds=0.5):
    """Writes ``root/UrbanSound8K`` with one clip per class and fold; returns [(path, fold, label)] as in the table."""
    import soundfile

    home = root / "UrbanSound8K"
    (home / "metadata").mkdir(parents=True)
    rows, clips = [], []
    for fold in folds:
        folder = home / "audio" / f"fold{fold}"
        folder.mkdir(parents=True)
        (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        for label, name in enumerate(CLASSES):
            container, subtype, rate, channels = FORMATS[(fold + label) % len(FORMATS)]
            file = folder / f"{1000 * fold + label}-{label}-0-0.wav"
            sound = np.repeat(tone(label, rate, seconds)[:, None], channels, 1)
            soundfile.write(file, sound, rate, format=container, subtype=subtype)
            rows.append([file.name, 1000 * fold + label, 0.0, 2 * seconds, 1, fold, label, name])  # shorter than listed
            clips.append((file, fold, label))
    with (home / "metadata" / "UrbanSound8K.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([HEADER.split(","), *rows])
    return clips


def pack(root, archive):
    """Packs ``root/UrbanSound8K`` like the official archive and returns its md5."""
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root / "UrbanSound8K", "UrbanSound8K")
    return hashlib.md5(archive.read_bytes()).hexdigest()
