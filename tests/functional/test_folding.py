import pytest
import torch

from lightning_interp.functional import fold, unfold


@pytest.mark.parametrize("shape", [(6, 5), (6, 3, 5), (6, 5, 2, 3), (6, 5, 2, 2, 2)])
@pytest.mark.parametrize("n_batches", [1, 2, 3])
def test_unfold_undoes_fold(shape, n_batches):
    a = torch.rand(shape).to(torch.bfloat16)
    matrix = fold(a, n_batches=n_batches)
    assert matrix.shape == (n_batches, a.numel() // n_batches // 5, 5)
    assert torch.equal(unfold(matrix.float(), a), a)


def test_rows_are_patches_image_by_image():
    a = torch.arange(2 * 3 * 2 * 2.0).reshape(2, 3, 2, 2)
    rows = [a[n, :, i, j] for n in range(2) for i in range(2) for j in range(2)]
    assert torch.equal(fold(a)[0], torch.stack(rows))


def test_no_channels_axis_names_the_layer():
    with pytest.raises(ValueError, match=r"Layer 'loss' must give activations with a channels axis.*Got \(4,\)"):
        fold(torch.zeros(4), layer="loss")
    with pytest.raises(ValueError, match="5 images do not form 2 equal batches"):
        fold(torch.zeros(5, 3), n_batches=2)
