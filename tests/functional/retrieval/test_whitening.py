import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.decomposition import PCA

from lightning_interp.functional.retrieval.whitening import Whitening


def rows(n=300, channels=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, generator=generator) @ torch.rand(channels, channels, generator=generator) + 0.3


@pytest.mark.parametrize("dim", [None, 3])
def test_it_is_scikit_learns_up_to_signs(dim):
    data = rows()
    found = Whitening.fit(data.split(77), dim=dim)(data)
    expected = PCA(dim, whiten=True).fit_transform(data.numpy())
    assert found.shape == expected.shape
    assert np.allclose(found.abs(), np.abs(expected), atol=1e-3)


def test_new_rows_are_treated_alike_in_any_shape():
    fitted = PCA(4, whiten=True).fit(rows().numpy())
    new = rows(20, seed=1)
    found = Whitening.fit([rows()], dim=4)(new.view(4, 5, 6))
    assert np.allclose(found.flatten(0, 1).abs(), np.abs(fitted.transform(new.numpy())), atol=1e-3)


def test_only_directions_that_vary_are_kept_and_zero_rows_do_not_count():
    flat = rows() * torch.tensor([1.0, 1, 1, 0, 0, 0])
    with_zeros = torch.cat([flat, torch.zeros(100, 6)])
    found, expected = Whitening.fit([with_zeros]), Whitening.fit([flat])
    assert found.projection.shape == (3, 6)
    assert torch.allclose(found.mean, expected.mean)
    assert Whitening.fit([rows(3)]).projection.shape == (2, 6)  # three points span two directions


def test_it_survives_its_file(tmp_path):
    whitening = Whitening.fit([rows()], dim=4)
    whitening.save(tmp_path / "w.safetensors")
    again = Whitening.load(tmp_path / "w.safetensors")
    assert torch.equal(again(rows()), whitening(rows()))
    save_file({"mean": torch.ones(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"written by Whitening.save"):
        Whitening.load(tmp_path / "other.safetensors")


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="two descriptors at least; there are 1"):
        Whitening.fit([rows(1)])
    with pytest.raises(ValueError, match="two descriptors at least; there are 0"):
        Whitening.fit([])
    with pytest.raises(ValueError, match=r"`dim` parameter of `Whitening.fit` must be an int in \[1, 6\]"):
        Whitening.fit([rows()], dim=7)
    with pytest.raises(ValueError, match="descriptors of 6 channels"):
        Whitening.fit([rows()])(torch.rand(2, 5))
