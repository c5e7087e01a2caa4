import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_interp.datasets import ImageTensors, ToyScenes
from lightning_interp.datasets.concept_view import (
    ConceptView,
    concepts_from_boxes,
    concepts_from_labels,
    concepts_from_segmenter,
)
from lightning_interp.datasets.concepts import ConceptDataset, collate_concepts
from lightning_interp.datasets.voc_detection import VOCDetection
from tests.data import voc

LIGHT = {"light": ["unlabelled", "dark", "bright"]}


def halves(image):
    return {"light": 1 + image.mean(0).gt(0.5).long()}


class TwoBoxes:
    """Items of a detection dataset; the boxes are not whole pixels and reach out of the image."""

    classes = ("cat", "dog")

    def __len__(self):
        return 1

    def __getitem__(self, index):
        boxes = torch.tensor([[-3.0, 0.0, 2.0, 3.0], [1.5, 1.0, 9.0, 2.2], [-9.0, -9.0, -1.0, -1.0]])
        return torch.rand(3, 3, 4), {"boxes": boxes, "labels": torch.tensor([1, 2, 2])}, "more"


def test_labels_of_any_dataset():
    scenes = ToyScenes(14)
    view = concepts_from_labels(scenes)
    assert isinstance(view, ConceptDataset)
    assert (len(view), view.concepts) == (14, {"class": ["unlabelled", *ToyScenes.classes]})
    for i, (image, targets) in enumerate(view):
        assert torch.equal(image, scenes[i][0])
        assert view.concepts["class"][targets["class"]] == ToyScenes.classes[scenes[i][1]]
    data = ImageTensors(torch.zeros(3, 3, 4, 4, dtype=torch.uint8), torch.tensor([1, 0, 1]))
    view = concepts_from_labels(data, names=["a", "b"], category="kind", transform=lambda image: image + 1)
    assert [targets["kind"] for _, targets in view.__getitems__([0, 1, 2])] == [2, 1, 2]
    assert view[0][0].min() == 1


def test_boxes():
    target = concepts_from_boxes(TwoBoxes())[0][1]["object"]
    cat, dog = [[1, 1, 0, 0]] * 3, [[0] * 4, [0, 2, 2, 2], [0, 2, 2, 2]]
    assert target.tolist() == [cat, dog]


def test_boxes_of_voc(tmp_path):
    truth = voc.write(tmp_path)
    data = VOCDetection(tmp_path, year=2007)
    view = concepts_from_boxes(data)
    assert view.concepts["object"] == ["unlabelled", *data.classes]
    for name, (image, targets) in zip(data.ids, view, strict=True):
        target = targets["object"]
        assert target.shape[-2:] == image.shape[1:]
        expected = torch.zeros(21, *image.shape[1:], dtype=torch.bool)
        for label, left, top, right, bottom, _ in truth[name]:
            expected[view.concepts["object"].index(label), top:bottom, left:right] = True
        layers = target if target.ndim == 3 else target[None]
        for value in range(1, 21):
            assert torch.equal((layers == value).any(0), expected[value])


def test_a_segmenter():
    scenes = ToyScenes(6)
    view = concepts_from_segmenter(scenes, halves, concepts=LIGHT, transform=lambda image: -image)
    for i, (image, targets) in enumerate(view):
        assert torch.equal(image, -scenes[i][0])
        assert torch.equal(targets["light"] == 2, scenes[i][0].mean(0) > 0.5)


def test_views_go_to_workers():
    scenes = ToyScenes(6)
    views = [
        concepts_from_labels(scenes),
        concepts_from_boxes(TwoBoxes()),
        concepts_from_segmenter(scenes, halves, concepts=LIGHT),
    ]
    assert [len(pickle.loads(pickle.dumps(view))) for view in views] == [6, 1, 6]
    loader = DataLoader(views[2], batch_size=4, collate_fn=collate_concepts, num_workers=1)
    images, targets = next(iter(loader))
    assert (images.shape, len(targets)) == ((4, 3, 32, 32), 4)
    assert torch.equal(targets[3]["light"], views[2][3][1]["light"])


def test_bad_concepts_and_targets_are_named():
    scenes = ToyScenes(6)
    with pytest.raises(ValueError, match=r"`concepts` .* must be lists of names that begin with 'unlabelled', that of"):
        ConceptView(scenes, concepts={"light": ["dark", "bright"]}, annotate=halves)
    with pytest.raises(ValueError, match="begin with 'unlabelled'"):
        ConceptView(scenes, concepts={"light": []}, annotate=halves)
    view = concepts_from_segmenter(scenes, lambda image: {"light": image.mean(0)}, concepts=LIGHT)
    with pytest.raises(TypeError, match="`annotate` parameter of `ConceptView` must be something whose 'light' is"):
        view[0]
    with pytest.raises(TypeError, match="`names` parameter of `concepts_from_labels` must be given"):
        concepts_from_labels(ImageTensors(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.tensor([0])))
    with pytest.raises(TypeError, match="`names` parameter of `concepts_from_boxes` must be given"):
        concepts_from_boxes([])
