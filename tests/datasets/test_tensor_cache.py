import torch
from safetensors.torch import save_file

from lightning_interp.datasets.tensor_cache import load_tensor, save_tensor

TENSOR = torch.arange(6).reshape(2, 3).half()


def test_what_is_saved_comes_back_and_nothing_else_is_left(tmp_path):
    file = tmp_path / "deep" / "x.safetensors"
    assert load_tensor(file, shape=(2, 3), dtype=torch.half) is None
    save_tensor(file, torch.zeros(9))
    save_tensor(file, TENSOR.T.contiguous().T)
    assert torch.equal(load_tensor(file, shape=(2, 3), dtype=torch.half), TENSOR)
    assert list(file.parent.iterdir()) == [file]


def test_another_tensor_or_damage_is_as_good_as_none(tmp_path):
    file = tmp_path / "x.safetensors"
    save_tensor(file, TENSOR)
    assert load_tensor(file, shape=(3, 2), dtype=torch.half) is None
    assert load_tensor(file, shape=(2, 3), dtype=torch.float) is None
    file.write_bytes(file.read_bytes()[:-2])
    assert load_tensor(file, shape=(2, 3), dtype=torch.half) is None
    save_file({"other": TENSOR}, file)
    assert load_tensor(file, shape=(2, 3), dtype=torch.half) is None
