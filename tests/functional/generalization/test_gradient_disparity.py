import itertools

import pytest
import torch
from torch.nn.functional import cross_entropy

from lightning_interp.functional.generalization import gradient_disparity


def rescaled(scores, labels):
    """The authors' loss: divided by the standard deviation of the batch, which is not detached."""
    each = cross_entropy(scores, labels, reduction="none")
    return (each / each.std()).mean()


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("seed", [None, 3])
def test_disparity_equals_the_loop_over_pairs(net, pictures, gradient_of, rescale, seed):
    images, labels = pictures[0][:37], pictures[1][:37]
    order = torch.arange(37) if seed is None else torch.randperm(37, generator=torch.Generator().manual_seed(seed))
    batches = [order[i * 9 : i * 9 + 9] for i in range(4)]  # the 37th image is left over
    loss = rescaled if rescale else cross_entropy
    gradients = [gradient_of(net, images[rows], labels[rows], loss) for rows in batches]
    pairs = [float((a - b).norm()) for a, b in itertools.combinations(gradients, 2)]
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    got = gradient_disparity(net, images, labels, n_batches=4, rescale=rescale, generator=generator)
    assert len(pairs) == 6
    assert got == pytest.approx(sum(pairs) / 6, rel=1e-3)


def test_batches_are_no_larger_than_asked(net, pictures, gradient_of):
    images, labels = pictures
    first, second = (gradient_of(net, images[i : i + 4], labels[i : i + 4]) for i in (0, 4))
    got = gradient_disparity(net, images, labels, n_batches=2, batch_size=4, rescale=False)
    assert got == pytest.approx(float((first - second).norm()), rel=1e-3)


def test_equal_batches_agree_and_contradicting_labels_do_not(cnn, pictures):
    images, labels = pictures[0][:12].repeat(2, 1, 1, 1), pictures[1][:12].repeat(2)
    assert gradient_disparity(cnn, images, labels, n_batches=2, rescale=False) == pytest.approx(0, abs=1e-6)
    wrong = torch.cat([labels[:12], (labels[:12] + 1) % 3])
    assert gradient_disparity(cnn, images, wrong, n_batches=2, rescale=False) > 0.1


def test_batches_of_one_image_are_not_rescaled(cnn, pictures):
    images, labels = pictures[0][:4], pictures[1][:4]
    alone = gradient_disparity(cnn, images, labels, n_batches=4)
    assert alone == gradient_disparity(cnn, images, labels, n_batches=4, rescale=False)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"n_batches": 1}, ValueError, r"`n_batches` parameter of `gradient_disparity` must be an int in \[2, 60\]"),
        ({"n_batches": 61}, ValueError, "Got 61"),
        ({"n_batches": 2.0}, TypeError, "`n_batches`"),
        ({"batch_size": 0}, ValueError, "`batch_size`"),
    ],
)
def test_bad_input_is_named(cnn, pictures, options, error, text):
    with pytest.raises(error, match=text):
        gradient_disparity(cnn, *pictures, **options)


def test_no_images_are_named(cnn, pictures):
    with pytest.raises(ValueError, match="`n_batches`"):
        gradient_disparity(cnn, pictures[0][:0], pictures[1][:0])
    with pytest.raises(ValueError, match="weights that are not frozen"):
        gradient_disparity(cnn.requires_grad_(False), *pictures)
