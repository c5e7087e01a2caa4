from importlib import import_module

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lightning_interp.cli import main
from lightning_interp.cli._pictures import picture_files, printable, read_upright
from lightning_interp.cli._stamps import append_stamps, read_stamps
from lightning_interp.exceptions import DatasetNotFoundError
from lightning_interp.functional.retrieval.descriptors import describe_images
from lightning_interp.functional.retrieval.index import ImageIndex
from lightning_interp.functional.retrieval.whitening import Whitening
from lightning_interp.models import SVHNCNN
from tests.cli.pictures import NETWORK, RANDOM, write_pictures

NAMES = ["0.png", "1.jpg", "3.jpg", "4.png", "inside/2.png", "inside/5.jpg"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "photos")
    return tmp_path / "photos"


def say(capsys):
    return " ".join(capsys.readouterr().out.split())


def vectors(folder="index"):
    found = ImageIndex.open(folder)
    return dict(zip(found.names, found.vectors[:], strict=True))


def assert_alike(ours, theirs):
    """Up to rounding, which depends on the size of batches."""
    assert ours.keys() == theirs.keys()
    assert min(float(ours[name] @ theirs[name]) for name in ours) > 0.9998


def test_pictures_are_described_as_the_function_does(folder, capsys):
    state = torch.random.get_rng_state()
    main(["index", "photos", *RANDOM, "-k", "3", "--mean=[0.5]", "--std=[0.25]"])
    out = say(capsys)
    assert "6 pictures are new or changed, 0 were there." in out
    assert "The index 'index' has 6 pictures: nmf_v of layer features.15" in out
    found = ImageIndex.open("index")
    assert found.names == NAMES
    assert found.about["pictures"] == str(folder)
    assert found.about["layer"] == "features.15"
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator was used"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = SVHNCNN(width=8)
    images = [(read_upright(folder / name, side=32)[0] - 0.5) / 0.25 for name in NAMES]
    torch.testing.assert_close(
        found.vectors[:], describe_images(net, [images], layer="features.15", k=3).vectors, atol=1e-5, rtol=0
    )


def test_only_what_is_new_or_has_changed_is_described_again(folder, capsys):
    main(["index", "photos", *RANDOM])
    before = vectors()
    write_pictures(folder, 2, first=6)
    (folder / "0.png").write_bytes((folder / "4.png").read_bytes())
    (folder / "1.jpg").unlink()
    capsys.readouterr()
    main(["index", "photos"])  # the other options are those of the index
    out = say(capsys)
    assert "3 pictures are new or changed, 4 were there." in out
    assert "1 not in the folder any more (--prune drops them): 1.jpg." in out
    after = vectors()
    assert set(after) == {*NAMES, "6.png", "7.jpg"}
    assert torch.equal(after["0.png"], before["4.png"])
    assert torch.equal(after["1.jpg"], before["1.jpg"])
    main(["index", "photos", "--prune"])
    out = say(capsys)
    assert "0 pictures are new or changed, 7 were there. 1 dropped: 1.jpg. The index 'index' has 7" in out
    assert "1.jpg" not in vectors()


def test_a_crash_keeps_the_batches_that_were_done(monkeypatch, capsys):
    index_module = import_module("lightning_interp.cli.index")
    describe, n_calls = index_module.described_batches, []

    def dies_at_the_third(describer, loader):
        n_calls.append(len(loader[0]))
        if len(n_calls) == 3:
            raise KeyboardInterrupt
        return describe(describer, loader)

    monkeypatch.setattr(index_module, "described_batches", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        main(["index", "photos", *RANDOM, "--batch_size=2"])
    assert ImageIndex.open("index").names == NAMES[:4]
    capsys.readouterr()
    main(["index", "photos", "--batch_size=2"])
    assert "2 pictures are new or changed, 4 were there." in say(capsys)
    assert n_calls == [2, 2, 2, 2]
    main(["index", "photos", *RANDOM, "--out=at_once"])
    assert_alike(vectors("at_once"), vectors())


def test_a_picture_whose_stamp_was_not_written_is_described_again(tmp_path, capsys):
    main(["index", "photos", *RANDOM])
    stamps = tmp_path / "index" / "pictures.jsonl"
    stamps.write_text(stamps.read_text()[:-20])
    capsys.readouterr()
    main(["index", "photos"])
    assert "1 pictures are new or changed, 5 were there." in say(capsys)
    assert len(vectors()) == 6


def test_damaged_pictures_and_strips_are_counted_and_named(folder, capsys):
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "[red]cut.jpg").write_bytes((folder / "1.jpg").read_bytes()[:-40])
    Image.new("RGB", (400, 4)).save(folder / "strip.png")
    main(["index", "photos", *RANDOM, "--batch_size=1"])
    out = say(capsys)
    assert "6 pictures are new or changed" in out
    assert "3 cannot be described: [red]cut.jpg (image file is truncated" in out
    assert "broken.jpg (cannot identify image file 'broken.jpg')" in out
    assert "strip of 400 x 4 pixels" in out
    assert ImageIndex.open("index").names == NAMES


def test_whitening_is_learned_on_other_pictures_and_kept_beside_the_index(tmp_path, capsys):
    write_pictures(tmp_path / "others", 12, first=50)
    main(["index", "photos", *RANDOM, "--whiten=others", "--dim=5", "--batch_size=5"])
    assert ImageIndex.open("index").dim == 5
    before = vectors()
    kept = Whitening.load("index/whitening.safetensors")
    for file in (tmp_path / "others").rglob("*.*"):
        file.unlink()
    (tmp_path / "photos" / "0.png").touch()
    capsys.readouterr()
    main(["index", "photos"])
    assert "1 pictures are new or changed" in say(capsys)
    assert_alike(vectors(), before)
    kept.save("kept.safetensors")
    main(["index", "photos", *RANDOM, "--whiten=kept.safetensors", "--out=second"])
    assert_alike(vectors("second"), before)
    with pytest.raises(SystemExit, match=r"`whiten` parameter .* must be .*others.* Set --out to make another index"):
        main(["index", "photos", "--whiten=kept.safetensors"])
    save_file({"a": torch.ones(1)}, "no_whitening.safetensors")
    (tmp_path / "no_file.txt").write_text("text")
    for file in ("no_whitening.safetensors", "no_file.txt"):
        with pytest.raises(SystemExit, match=r"Whitening\.save"):
            main(["index", "photos", *RANDOM, f"--whiten={file}", "--out=third"])
    assert not (tmp_path / "third").exists()


def test_another_network_option_or_folder_is_refused(tmp_path):
    for seed, name in enumerate(["one", "two"]):
        torch.manual_seed(seed)
        save_file(SVHNCNN(width=8).state_dict(), f"{name}.safetensors")
    main(["index", "photos", *NETWORK, "--ckpt=one.safetensors"])
    (tmp_path / "moved.safetensors").write_bytes((tmp_path / "one.safetensors").read_bytes())
    main(["index", "photos", "--ckpt=moved.safetensors"])
    with pytest.raises(
        SystemExit, match=r"another network or descriptor: ckpt is .*one\.s.* there and .*two\.s.* here"
    ):
        main(["index", "photos", "--ckpt=two.safetensors"])
    with pytest.raises(SystemExit, match=r"`image_size` parameter .* must be 32, as for the index in 'index'. Got 64"):
        main(["index", "photos", "--image_size=64"])
    with pytest.raises(SystemExit, match=r"`method` parameter .* must be 'nmf_v'"):
        main(["index", "photos", "--method=gem"])
    (tmp_path / "others").mkdir()
    Image.new("RGB", (9, 9)).save("others/a.png")
    with pytest.raises(SystemExit, match=r"`folder` parameter .* must be '.*photos', of which the index"):
        main(["index", "others"])
    (tmp_path / "photos").rename(tmp_path / "renamed")
    main(["index", "renamed"])  # the folder has moved


def test_bad_calls(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "nowhere"):
        with pytest.raises(SystemExit, match=r"There is no picture \(.*\) in '.*' or the folders inside it"):
            main(["index", folder, *RANDOM])
    with pytest.raises(SystemExit, match="`batch_size` parameter"):
        main(["index", "photos", *RANDOM, "--batch_size=0"])
    with pytest.raises(SystemExit, match="`k` parameter"):
        main(["index", "photos", *RANDOM, "--k=0"])
    ImageIndex.create("foreign", dim=2, fingerprint="by hand")
    with pytest.raises(SystemExit, match="an index that `lightning-interp index` has made"):
        main(["index", "photos", "--out=foreign"])
    assert not (tmp_path / "index").exists()


def test_pictures_are_read_as_the_camera_was_held(tmp_path):
    picture = Image.new("RGB", (30, 20))
    picture.paste((255, 0, 0), (0, 0, 15, 10))  # red at the top left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    picture.save("turned.png", exif=exif)
    upright, size = read_upright(tmp_path / "turned.png")
    assert size == (30, 20)
    assert upright.shape == (3, 30, 20)
    assert upright[0, :15, 10:].min() == 1  # now at the top right
    assert upright[0].sum() == 15 * 10
    small, size = read_upright(tmp_path / "turned.png", side=10, box=(10, 0, 20, 15))
    assert (size, small.shape) == ((30, 20), (3, 15, 10))
    assert small[0].min() == 1
    with pytest.raises(ValueError, match="box 0 is outside"):
        read_upright(tmp_path / "turned.png", box=(0, 0, 30, 20))
    with pytest.raises(DatasetNotFoundError, match="missing, truncated or no picture"):
        read_upright(tmp_path / "nowhere.png")


def test_palettes_grey_and_transparent_pictures_become_colours(tmp_path):
    for mode in ("P", "L", "RGBA", "1", "CMYK"):
        Image.new("RGB", (6, 5), (255, 255, 255)).convert(mode).save(f"{mode}.tif")
        assert torch.equal(read_upright(tmp_path / f"{mode}.tif")[0], torch.ones(3, 5, 6))


def test_files_are_found_in_order_without_hidden_ones(folder):
    (folder / ".hidden").mkdir()
    for name in (".hidden/a.png", ".b.png", "notes.txt"):
        (folder / name).write_bytes(b"")
    (folder / "folder.png").mkdir()
    assert [file.relative_to(folder).as_posix() for file in picture_files(folder)] == NAMES
    assert printable("a\udce9.jpg") == "a?.jpg"


def test_stamps_survive_a_line_that_was_cut(tmp_path):
    assert read_stamps(tmp_path) == {}
    append_stamps(tmp_path, {"a": [1, 2], "b\udce9": [3, 4]})
    append_stamps(tmp_path, {"a": [5, 6]})
    with (tmp_path / "pictures.jsonl").open("a") as file:
        file.write('{"c": [1')
    append_stamps(tmp_path, {"d": [7, 8]})
    append_stamps(tmp_path, {"e": [9, 9]})
    assert read_stamps(tmp_path) == {"a": [5, 6], "b\udce9": [3, 4], "e": [9, 9]}


def test_an_approximate_search_says_what_it_finds(capsys, monkeypatch):
    main(["index", "photos", *RANDOM])
    monkeypatch.setattr(ImageIndex, "approximate", property(lambda self: True))
    monkeypatch.setattr(ImageIndex, "recall", lambda self, queries, k=10: 0.5 if len(queries) == 6 else None)
    capsys.readouterr()
    main(["index", "photos"])
    assert "approximate and find 50% of the ten nearest" in say(capsys)
