import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lightning_interp.cli import main
from lightning_interp.functional.localization import Heatmaps
from lightning_interp.models import SVHNCNN


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my pictures").mkdir()
    for i, size in enumerate([(40, 30), (33, 50), (64, 64)]):
        picture = Image.effect_noise(size, 60).convert("RGB")
        picture.paste((250, 10, 10), (5, 5, 18, 20))
        picture.save(tmp_path / "my pictures" / f"picture {i}.png")
    (tmp_path / "my pictures" / "Thumbs.db").write_bytes(b"stray")
    torch.manual_seed(0)
    save_file(SVHNCNN(width=4).state_dict(), tmp_path / "net.safetensors")
    return tmp_path


OPTIONS = [
    "heatmaps",
    "--images",
    "my pictures",
    "--model",
    "SVHNCNN",
    "--model_args",
    '{"width": 4}',
    "--image_size=32",
]


def test_a_folder_of_pictures_of_any_sizes(folder, capsys):
    main([*OPTIONS, "--ckpt", "net.safetensors", "-k", "3", "--out", "out"])
    out = " ".join(capsys.readouterr().out.split())
    assert "3 pictures, layer features.15, 3 factors" in out
    for i, size in enumerate([(40, 30), (33, 50), (64, 64)]):
        with Image.open(folder / "out" / f"picture {i}.png") as painted:
            assert painted.size == size  # that of the picture itself
    found = Heatmaps.load(folder / "out" / "heatmaps.safetensors")
    assert (found.k, len(found.cells), found.image_size) == (3, 3, (32, 32))
    assert (folder / "out" / "heatmaps.figure.png").stat().st_size > 1000


def test_auto_pca_and_reflection(folder, capsys):
    main([*OPTIONS, "--weights", "random", "-k", "auto", "--padding", "reflect"])
    assert "heatmaps" in capsys.readouterr().out
    assert Heatmaps.load(folder / "heatmaps" / "heatmaps.safetensors").padding == "reflect"
    main([*OPTIONS, "--weights", "random", "--method", "pca", "--layer", "features.4", "-k", "2", "--out", "signed"])
    assert Heatmaps.load(folder / "signed" / "heatmaps.safetensors").method == "pca"


def test_damaged_pictures_are_left_out_and_named(folder):
    (folder / "my pictures" / "broken.jpg").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match=r"Left out: The picture '.*broken.jpg' cannot be decoded"):
        main([*OPTIONS, "--weights", "random", "-k", "2"])
    assert not (folder / "heatmaps" / "broken.png").exists()


def test_bad_calls(folder):
    with pytest.raises(SystemExit, match=r"There is no picture .* in 'nowhere': set --images"):
        main([*OPTIONS[:2], "nowhere", *OPTIONS[3:], "--weights", "random"])
    with pytest.raises(SystemExit, match="--weights DEFAULT"):
        main(OPTIONS)
