import pytest
import torch

from lightning_interp.functional.dissection.cache import cached_layers, dataset_fingerprint
from lightning_interp.functional.dissection.result import LayerDissection
from lightning_interp.functional.dissection.top_images import TopImages
from tests.functional.dissection.planted import Rectangles


def layer(seed):
    generator = torch.Generator().manual_seed(seed)
    top = TopImages(torch.rand(3, 2, generator=generator), torch.tensor([[seed, 1]] * 3))
    return LayerDissection(torch.rand(3, generator=generator), torch.rand(3, 5, generator=generator), top)


def same(one, other):
    return (
        torch.equal(one.levels, other.levels)
        and torch.equal(one.iou, other.iou)
        and torch.equal(one.top.values, other.top.values)
        and torch.equal(one.top.indices, other.top.indices)
    )


class Computer:
    """Computes layers `a` to `e`, and remembers which it was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, names):
        self.asked.append(names)
        return {name: layer(ord(name)) for name in names}


def test_what_is_there_is_not_computed_again(tmp_path):
    compute = Computer()
    first = cached_layers(tmp_path / "new" / "folder", ["a", "b"], compute, {"model": "x"})
    second = cached_layers(tmp_path / "new" / "folder", ["b", "c", "a"], compute, {"model": "x"})
    assert compute.asked == [["a", "b"], ["c"]]
    assert list(second) == ["b", "c", "a"]
    assert same(first["a"], second["a"])
    assert all(same(found, layer(ord(name))) for name, found in second.items())


def test_another_question_has_another_file(tmp_path):
    compute = Computer()
    for made_from in ({"model": "x"}, {"model": "y"}, {"model": "x", "quantile": 0.1}):
        cached_layers(tmp_path, ["a"], compute, made_from)
    assert len(compute.asked) == len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("damage", ["cut", "emptied", "one bit", "another file"])
def test_a_damaged_file_is_computed_again_with_a_warning(damage, tmp_path):
    compute = Computer()
    cached_layers(tmp_path, ["a"], compute, {})
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    if damage == "cut":
        content = content[:-7]
    elif damage == "emptied":
        content = b""
    elif damage == "one bit":
        content[-3] ^= 1
    else:
        content = b"no safetensors at all, but as long as you like" * 9
    file.write_bytes(content)
    with pytest.warns(UserWarning, match="cached dissection of 'a' in .* is damaged .*: it is computed again"):
        again = cached_layers(tmp_path, ["a"], compute, {})
    assert same(again["a"], layer(ord("a")))
    assert compute.asked == [["a"], ["a"]]
    cached_layers(tmp_path, ["a"], compute, {})
    assert len(compute.asked) == 2, "the file was repaired"


def test_nothing_unfinished_is_left(tmp_path):
    cached_layers(tmp_path, ["a", "b"], Computer(), {})
    assert {file.suffix for file in tmp_path.iterdir()} == {".safetensors"}


def test_a_dataset_is_what_it_says_it_is_or_its_items():
    dataset = Rectangles(200)
    plain = dataset_fingerprint(dataset)
    assert plain == dataset_fingerprint(Rectangles(200))
    dataset.masks[-1, 0, 0] = 2
    assert dataset_fingerprint(dataset) != plain, "the last item is always looked at"
    dataset.fingerprint = "rectangles v2"
    assert dataset_fingerprint(dataset) == "rectangles v2"


def test_other_concepts_or_another_length_are_another_dataset():
    prints = {dataset_fingerprint(Rectangles(n)) for n in (1, 2, 64, 65)}
    renamed = Rectangles(2)
    renamed.concepts = {**Rectangles.concepts, "thing": ["unlabelled", "warm", "cold"]}
    assert len(prints | {dataset_fingerprint(renamed)}) == 5
