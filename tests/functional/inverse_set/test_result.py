import pytest
import torch
from safetensors.torch import save_file

from lightning_interp.functional.inverse_set.result import TRACE, InverseSet
from lightning_interp.functional.synthesis import PixelSpace


def result():
    return InverseSet(
        names=("4:2", "class 1"),
        images=torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1),
        codes=torch.rand(3, 5),
        activations=torch.tensor([[0.0, 2.0], [0.5, 2.5], [1.0, 3.5]]),
        features=torch.tensor([[0.0], [1.0], [3.0]]),
        seeds=torch.tensor([0, 1, 0]),
        intervals=torch.tensor([[0.0, 1.0], [2.0, 3.0]]),
        reached=torch.tensor([[-1.0, 1.0], [0.0, 4.0]]),
        trace=torch.tensor([[0.0] * 6, [1.0] * 6, [1.0] * 6]),
        space=PixelSpace((0.5,), (0.5,)),
    )


def test_it_tells_what_it_holds():
    found = result()
    assert len(found) == 3
    assert found.pixels.flatten().tolist() == [0, 0.5, 1]
    assert found.diversity == 2
    assert found.n_steps == (1, 2)


def test_tables_name_the_neurons():
    table = result().to_dataframe()
    assert list(table) == ["sample", "seed", "4:2", "class 1", "in_range"]
    assert table.in_range.tolist() == [True, True, False]  # the third is too high for the class
    assert list(result().trace_dataframe()) == ["step", *TRACE]


def test_it_survives_its_file(tmp_path):
    found = result()
    found.save(tmp_path / "set.safetensors")
    again = InverseSet.load(tmp_path / "set.safetensors")
    assert (again.names, again.space) == (found.names, found.space)
    assert torch.equal(again.images, found.images)
    assert torch.equal(again.trace, found.trace)
    save_file({"images": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"written by InverseSet\.save"):
        InverseSet.load(tmp_path / "other.safetensors")
