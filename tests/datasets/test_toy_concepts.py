import pytest
import torch
from torch.utils.data import DataLoader

from lightning_interp.datasets import ToyConcepts, ToyScenes


def test_contract_and_agreement_with_the_truth():
    scenes = ToyScenes(20, size=(32, 48))
    concepts = ToyConcepts(scenes)
    assert len(concepts) == 20
    assert all(names[0] == "unlabelled" for names in concepts.concepts.values())
    for i in range(20):
        image, targets = concepts[i]
        truth = scenes.truth(i)
        assert torch.equal(image, scenes[i][0])
        assert set(targets) == set(concepts.concepts) == {"color", "object", "part", "texture", "scene"}
        assert torch.equal(targets["part"], truth.part_map)
        assert torch.equal(targets["color"], truth.color_map)
        assert torch.equal(targets["texture"], truth.texture_map)
        assert torch.equal(targets["object"] > 0, truth.object_mask)
        assert concepts.concepts["object"][targets["object"].max()] == scenes.classes[truth.label]
        assert concepts.concepts["scene"][targets["scene"]] == scenes.scenes[truth.scene]
        for category in ("color", "object", "part", "texture"):
            assert targets[category].dtype == torch.long
            assert targets[category].max() < len(concepts.concepts[category])


def test_batches_and_transform():
    concepts = ToyConcepts(ToyScenes(20), transform=lambda image: 1 - image)
    images, targets = next(iter(DataLoader(concepts, batch_size=8)))
    assert torch.equal(images[3], 1 - concepts.scenes[3][0])
    assert targets["object"].shape == (8, 32, 32)
    assert targets["scene"].shape == (8,)


def test_bad_input():
    with pytest.raises(TypeError, match="`scenes` parameter of `ToyConcepts` must be a ToyScenes"):
        ToyConcepts([1, 2])
