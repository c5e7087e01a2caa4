from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import TensorDataset

from lightning_interp.callbacks.concept_data import concept_picture, find_concepts, shard_concepts
from lightning_interp.datasets import ToyConcepts, ToyScenes
from lightning_interp.datasets.image_tensors import Normalize

CONCEPTS = ToyConcepts(ToyScenes(7, size=8))


def trainer(datamodule=None, local_rank=0):
    return SimpleNamespace(datamodule=datamodule, local_rank=local_rank, strategy=SimpleNamespace(barrier=lambda: None))


class Module:
    """A datamodule of someone else."""

    def __init__(self):
        self.calls = []

    def prepare_data(self):
        self.calls.append("prepare")

    def setup(self, stage):
        self.calls.append(stage)
        self.concept_dataset = CONCEPTS


def test_a_dataset_is_taken_as_it_is():
    assert find_concepts(CONCEPTS, trainer()) is CONCEPTS


def test_an_object_or_the_datamodule_of_the_trainer_may_offer_one():
    assert find_concepts(SimpleNamespace(concept_dataset=CONCEPTS), trainer()) is CONCEPTS
    own = Module()
    own.setup("fit")
    assert find_concepts(None, trainer(own)) is CONCEPTS
    assert own.calls == ["fit"]  # the Trainer has set it up


@pytest.mark.parametrize(("local_rank", "calls"), [(0, ["prepare", "fit"]), (1, ["fit"])])
def test_another_datamodule_is_set_up_its_files_prepared_once_per_machine(local_rank, calls):
    other = Module()
    assert find_concepts(other, trainer(local_rank=local_rank)) is CONCEPTS
    assert other.calls == calls


@pytest.mark.parametrize("given", [None, TensorDataset(torch.zeros(2)), SimpleNamespace(concept_dataset=3)])
def test_anything_else_is_refused(given):
    with pytest.raises(TypeError, match=r"needs a concept dataset.*Got (NoneType|TensorDataset|int). Pass one"):
        find_concepts(given, trainer())


def test_an_empty_one_is_refused():
    class Empty(list):
        concepts = CONCEPTS.concepts

    with pytest.raises(ValueError, match=r"must hold images\. Got none"):
        find_concepts(Empty(), trainer())


@pytest.mark.parametrize("batch_size", [1, 2, 9])
def test_shares_keep_their_positions(batch_size):
    state = torch.get_rng_state()
    for share in ([0, 2, 4, 6], [1, 3, 5], []):
        found = list(shard_concepts(CONCEPTS, share, batch_size=batch_size))
        assert [i for indices, _, _ in found for i in indices.tolist()] == share
        for indices, images, targets in found:
            assert len(images) == len(targets) <= batch_size
            assert all(torch.equal(image, CONCEPTS[i][0]) for i, image in zip(indices.tolist(), images, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_pictures_are_shown_as_they_were_before_normalisation():
    normalize, image = Normalize([0.5] * 3, [0.1] * 3), torch.rand(3, 4, 4)
    normal = normalize(image)
    plain = SimpleNamespace(transform=None)
    for source in (SimpleNamespace(normalize=normalize), SimpleNamespace(transform=normalize)):
        assert torch.allclose(concept_picture(normal, plain, source), image, atol=1e-6)
    assert concept_picture(normal, plain, None) is normal
