import json

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_interp.plots.palette import save_label_pngs, save_palette_png, voc_palette


def test_colours_are_those_of_voc():
    """The first 21 as the development kit lists them, and the void colour."""
    known = {
        **{1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 5: (128, 0, 128), 6: (0, 128, 128)},
        **{7: (128, 128, 128), 8: (64, 0, 0), 9: (192, 0, 0), 10: (64, 128, 0), 11: (192, 128, 0), 12: (64, 0, 128)},
        **{13: (192, 0, 128), 14: (64, 128, 128), 15: (192, 128, 128), 16: (0, 64, 0), 17: (128, 64, 0)},
        **{18: (0, 192, 0), 19: (128, 192, 0), 20: (0, 64, 128), 255: (224, 224, 192)},
    }
    colors = voc_palette()
    assert {number: colors[number] for number in known} == known
    assert len(set(colors)) == len(colors) == 256


def test_what_is_written_is_read_back(tmp_path):
    mask = torch.randint(-1, 255, (17, 23), generator=torch.Generator().manual_seed(0))
    mask[0, :3] = torch.tensor([-1, 0, 254])
    save_palette_png(mask, tmp_path / "mask.png")
    image = Image.open(tmp_path / "mask.png")
    assert (image.mode, image.size) == ("P", (23, 17))
    read = torch.from_numpy(np.array(image)).long()
    assert torch.equal(torch.where(read == 255, -1, read), mask)
    colors = np.array(image.convert("RGB"))
    assert (colors == np.array(voc_palette(), dtype=np.uint8)[read.numpy()]).all()


def test_bools_are_masks_too(tmp_path):
    save_palette_png(torch.eye(4).bool(), tmp_path / "mask.png")
    assert np.array(Image.open(tmp_path / "mask.png")).tolist() == torch.eye(4).long().tolist()


def test_a_set_is_written_with_its_legend(tmp_path):
    masks = torch.randint(0, 3, (2, 5, 4), generator=torch.Generator().manual_seed(0))
    names = ["background", "Kopf/тело", "leg"]
    paths = save_label_pngs(masks, tmp_path / "labels", names=names, stems=["b", "a.1"])
    assert [path.name for path in paths] == ["b.png", "a.1.png"]
    for path, mask in zip(paths, masks, strict=True):
        assert np.array(Image.open(path)).tolist() == mask.tolist()
    legend = json.loads((tmp_path / "labels" / "legend.json").read_text(encoding="utf-8"))
    assert [entry["name"] for entry in legend] == names
    assert legend[2] == {"class": 2, "name": "leg", "color": [0, 128, 0]}
    assert [path.name for path in save_label_pngs(masks, tmp_path, names=names)] == ["000000.png", "000001.png"]


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (torch.zeros(2, 2), r"whole numbers, \(H, W\)"),
        (torch.zeros(1, 2, 2).long(), r"whole numbers, \(H, W\)"),
        (torch.tensor([[255]]), r"of classes in \[-1, 254\]. Got \[255, 255\]"),
        (torch.tensor([[-2, 3]]), r"Got \[-2, 3\]"),
        (torch.zeros(0, 3).long(), r"of classes in \[-1, 254\]"),
    ],
)
def test_bad_masks_are_named_and_nothing_is_written(mask, text, tmp_path):
    with pytest.raises(ValueError, match=text):
        save_palette_png(mask, tmp_path / "mask.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stems", [["a"], ["a", "a"], ["a", "../b"], ["a", ".."], ["a", "b\\c"], ["", "b"]])
def test_stems_are_different_and_stay_in_the_folder(stems, tmp_path):
    with pytest.raises(ValueError, match="2 different file names without folders"):
        save_label_pngs(torch.zeros(2, 3, 3).long(), tmp_path / "labels", names=["background"], stems=stems)
    assert not (tmp_path / "labels").exists()


def test_a_class_without_a_name(tmp_path):
    with pytest.raises(ValueError, match="a name for class 2, too"):
        save_label_pngs(torch.full((1, 2, 2), 2), tmp_path, names=["background", "head"])
