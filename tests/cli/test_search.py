import shutil
import warnings
from importlib import import_module

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lightning_interp.cli import main
from lightning_interp.exceptions import MeasurementWarning
from lightning_interp.functional.retrieval.index import ImageIndex
from lightning_interp.models import SVHNCNN
from tests.cli.pictures import NETWORK, RANDOM, write_pictures

NAMES = {"0.png", "1.jpg", "3.jpg", "4.png", "inside/2.png", "inside/5.jpg"}


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("indexed")
    write_pictures(folder / "photos")
    main(["index", str(folder / "photos"), *RANDOM, f"--out={folder / 'index'}"])
    return folder


@pytest.fixture(autouse=True)
def folder(indexed, tmp_path, monkeypatch):
    """A copy, with an index that says so."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(indexed, tmp_path, dirs_exist_ok=True)
    manifest = tmp_path / "index" / "index.json"
    manifest.write_text(manifest.read_text().replace(str(indexed), str(tmp_path)))
    return tmp_path / "photos"


def found(capsys):
    """Rows of the table, and all that was said, on one line."""
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.strip("│ \n").split("│")] for line in out.splitlines() if line[:1] == "│"]
    return rows, " ".join(out.split())


def colors(file):
    with Image.open(file) as picture:
        return picture.convert("RGB").getcolors(2**24)


@pytest.mark.parametrize("name", ["0.png", "inside/5.jpg"])
def test_a_picture_of_the_index_is_found_first(capsys, name):
    main(["search", f"photos/{name}", "--top=6"])
    rows, said = found(capsys)
    assert rows[0] == ["1", name, "1.0000"]
    assert [row[0] for row in rows] == list("123456")
    assert {row[1] for row in rows} == NAMES
    scores = [float(row[2]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert scores[1] < 0.9999
    assert "The figure is 'search.png'." in said
    assert len(colors("search.png")) > 50


def test_a_turned_picture_is_found_by_its_upright_self(folder, capsys):
    exif = Image.Exif()
    exif[0x0112] = 8
    with Image.open(folder / "4.png") as picture:
        picture.transpose(Image.Transpose.ROTATE_270).save("turned.png", exif=exif)
    main(["search", "turned.png", "--top=1"])
    assert found(capsys)[0] == [["1", "4.png", "1.0000"]]


def test_a_crop_is_described_as_a_picture_of_its_own(folder, capsys):
    with Image.open(folder / "4.png") as picture:
        picture.crop((8, 10, 30, 48)).save(folder / "part.png")
    main(["index", "photos"])
    main(["search", "photos/4.png", "--box=8,10,30,48", "--box_use=crop", "--top=1"])
    assert found(capsys)[0] == [["1", "part.png", "1.0000"]]


def test_a_box_keeps_the_factors_inside(capsys):
    main(["search", "photos/4.png", "--top=6"])
    whole = found(capsys)[0]
    main(["search", "photos/4.png", "--box", "[0, 0, 33, 50]", "--top=6"])
    rows, said = found(capsys)
    assert rows == whole
    assert "No factor" not in said
    main(["search", "photos/4.png", "--box=0,0,1,1", "--top=6"])
    rows, said = found(capsys)
    assert rows == whole
    assert "No factor has more than 75% of its activation inside the box: all of them are used." in said


def test_expansion_adds_what_was_found(capsys):
    main(["search", "photos/4.png", "--expand=2", "--top=3"])
    expanded = found(capsys)[0]
    main(["search", "photos/4.png", "--top=6"])
    scores = {name: float(score) for _, name, score in found(capsys)[0]}
    index = ImageIndex.open("index")
    vectors = dict(zip(index.names, index.vectors[:], strict=True))
    best = sorted(scores, key=scores.get, reverse=True)[:2]
    query = torch.nn.functional.normalize(vectors["4.png"] + sum(vectors[name] for name in best), dim=0)
    for _, name, score in expanded:
        assert float(score) == pytest.approx(float(query @ vectors[name]), abs=2e-4)


def test_boxes_of_finds_are_in_pixels_of_their_files(folder, capsys, monkeypatch):
    seen = {}
    original = import_module("lightning_interp.cli.search").localize

    def watched(model, query, box, images, **options):
        seen.update(box=list(box), query=tuple(query.shape), **options)
        return original(model, query, box, images, **options)

    monkeypatch.setattr(import_module("lightning_interp.cli.search"), "localize", watched)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MeasurementWarning)  # a random network's factors are nowhere in particular
        main(["search", "photos/0.png", "--box=10,6,40,30", "--localize", "--top=4", "--out=out/figure.png"])
    rows, said = found(capsys)
    assert seen["query"] == (3, 224, 299)
    assert seen["box"] == pytest.approx([10 * 299 / 40, 6 * 224 / 30, 299, 224])
    assert (seen["layer"], seen["k"], seen["image_size"]) == ("features.15", 4, 32)
    for _, name, _, box in rows:
        left, top, right, bottom = (int(edge) for edge in box.split(","))
        with Image.open(folder / name) as picture:
            assert 0 <= left < right <= picture.width
            assert 0 <= top < bottom <= picture.height
    assert "out/figure.factors.png" in said
    assert len(colors("out/figure.factors.png")) > 50
    blue = (86, 180, 233)
    assert blue in [color for _, color in colors("out/figure.png")], "no box was drawn"


def test_factors_are_drawn_without_a_box_too(capsys):
    main(["search", "photos/0.png", "--localize", "--top=2"])
    rows, said = found(capsys)
    assert len(rows[0]) == 3
    assert "search.factors.png" in said


def test_missing_pictures_are_said_and_shown_grey(folder, tmp_path, capsys):
    for name in ("0.png", "3.jpg"):
        (folder / name).unlink()
    (folder / "1.jpg").write_bytes(b"damaged")
    main(["search", "photos/4.png", "--localize", "--top=6"])
    rows, said = found(capsys)
    assert {row[1] for row in rows} == NAMES
    assert "3 of these are not in" in said
    assert (217, 217, 217) in [color for _, color in colors("search.png")]
    folder.rename(tmp_path / "elsewhere")
    main(["search", "elsewhere/4.png", "--localize", "--top=3"])
    assert "3 of these are not in" in found(capsys)[1]
    main(["search", "elsewhere/4.png", "--pictures=elsewhere", "--top=1"])
    assert "set --pictures" not in found(capsys)[1]


def test_names_cannot_lead_out_of_the_folder(tmp_path, capsys):
    Image.new("RGB", (40, 40), (255, 0, 255)).save("secret.png")
    index = ImageIndex.open("index")
    vector = index.vectors[0:1]
    index.add(["../secret.png", str(tmp_path / "secret.png"), "[red]a$.png"], vector.expand(3, -1))
    main(["search", "photos/0.png", "--top=4"])
    rows, said = found(capsys)
    assert "[red]a$.png" in {row[1] for row in rows}
    assert "3 of these are not in" in said
    assert (255, 0, 255) not in [color for _, color in colors("search.png")]


def test_pooled_descriptors_are_searched_by_cropping(capsys):
    main(["index", "photos", *RANDOM, "--method=gem", "--out=pooled"])
    main(["search", "photos/4.png", "--index=pooled", "--box=0,0,33,50", "--top=1"])
    assert found(capsys)[0] == [["1", "4.png", "1.0000"]]
    with pytest.raises(SystemExit, match=r"`box_use` parameter .* 'crop' for the index's method, 'gem'"):
        main(["search", "photos/4.png", "--index=pooled", "--box=0,0,33,50", "--box_use=factors"])


def test_whitened_descriptors(tmp_path, capsys):
    write_pictures(tmp_path / "others", 12, first=50)
    main(["index", "photos", *RANDOM, "--whiten=others", "--dim=6", "--out=white"])
    main(["search", "photos/4.png", "--index=white", "--top=1"])
    ((_, name, score),) = found(capsys)[0]
    assert name == "4.png"
    assert float(score) > 0.999


def test_another_network_is_refused_and_a_moved_one_is_not(tmp_path, capsys):
    for seed, name in enumerate(["one", "two"]):
        torch.manual_seed(seed)
        save_file(SVHNCNN(width=8).state_dict(), f"{name}.safetensors")
    main(["index", "photos", *NETWORK, "--ckpt=one.safetensors", "--out=trained"])
    main(["search", "photos/4.png", "--index=trained", "--top=1"])
    (tmp_path / "one.safetensors").rename("moved.safetensors")
    main(["search", "photos/4.png", "--index=trained", "--top=1", "--ckpt=moved.safetensors"])
    assert found(capsys)[0] == [["1", "4.png", "1.0000"]] * 2
    with pytest.raises(SystemExit, match=r"another network or descriptor: ckpt is .*one.* there and .*two.* here"):
        main(["search", "photos/4.png", "--index=trained", "--ckpt=two.safetensors"])
    (tmp_path / "two.safetensors").rename("one.safetensors")
    with pytest.raises(SystemExit, match="another network or descriptor"):
        main(["search", "photos/4.png", "--index=trained"])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--box=0,0,34,60"], r"box 0 is outside of the image, 50 x 33 pixels"),
        (["--box=9,9,9,20"], "box 0 is empty or inverted"),
        (["--box=1,2,3"], "four numbers, such as --box=10,20,200,180. Got '1,2,3'"),
        (["--box=a,b,c,d"], "four numbers"),
        (["--box=nan,0,9,9"], "box 0 is not finite"),
        (["--top=0"], "`top` parameter"),
        (["--expand=-1"], "`expand` parameter"),
        (["--index=nowhere"], "There is no index in 'nowhere': make one with `lightning-interp index`"),
    ],
)
def test_bad_calls(options, match):
    with pytest.raises(SystemExit, match=match):
        main(["search", "photos/4.png", *options])


def test_bad_queries_and_indexes(folder):
    (folder / "broken.jpg").write_bytes(b"no picture")
    for name in ("broken.jpg", "nowhere.jpg"):
        with pytest.raises(SystemExit, match=f"{name}' cannot be decoded"):
            main(["search", f"photos/{name}"])
    ImageIndex.create("foreign", dim=2, fingerprint="by hand")
    with pytest.raises(SystemExit, match="an index that `lightning-interp index` has made"):
        main(["search", "photos/4.png", "--index=foreign"])
    index = ImageIndex.open("index")
    index.remove(index.names)
    with pytest.raises(SystemExit, match="is empty"):
        main(["search", "photos/4.png"])


def test_pictures_that_the_network_does_not_see(folder, capsys):
    Image.new("RGB", (40, 40)).save(folder / "black.png")
    bare = ["--model=tests.cli.pictures.Bare", "--weights=random", "--image_size=32", "--mean=[0]", "--std=[1]"]
    main(["index", "photos", *bare, "--layer=1", "--out=bare"])
    said = found(capsys)[1]
    assert "6 pictures are new or changed" in said
    assert "1 cannot be described: black.png (layer '1' is silent)" in said
    main(["search", "photos/4.png", "--index=bare", "--top=1"])
    assert found(capsys)[0] == [["1", "4.png", "1.0000"]]
    with pytest.raises(SystemExit, match=r"Layer '1' does not respond to 'photos/black\.png'"):
        main(["search", "photos/black.png", "--index=bare"])
