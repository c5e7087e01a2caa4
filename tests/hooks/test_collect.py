import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_interp.exceptions import LayerNotReachedError
from lightning_interp.hooks import collect, evaluating, select_layers


def test_batches_are_concatenated_in_eval_mode_without_gradients(resnet, images, is_untouched):
    resnet.train()
    resnet.layer1.eval()
    modes = [module.training for module in resnet.modules()]
    buffers = [buffer.clone() for buffer in resnet.buffers()]
    loader = DataLoader(TensorDataset(images.repeat(3, 1, 1, 1), torch.arange(6)), batch_size=4)
    activations = collect(resnet, loader, "last_block")
    assert list(activations) == select_layers(resnet, "last_block")
    with evaluating(resnet):
        expected = resnet.layer2(resnet.layer1(resnet.stem(images.repeat(3, 1, 1, 1))))
    torch.testing.assert_close(activations["layer2.1.relu:1"], expected)
    assert not activations["layer2.1.relu:1"].requires_grad
    assert is_untouched(resnet, modes)
    assert all(map(torch.equal, buffers, resnet.buffers()))


def test_max_images_stops_early_and_takes_no_batch_too_many(resnet, images):
    taken = []

    def batches():
        for start in range(5):
            taken.append(start)
            yield images + start

    activations = collect(resnet, batches(), ["fc"], max_images=3)["fc"]
    assert taken == [0, 1]
    torch.testing.assert_close(activations, collect(resnet, [images, images + 1], "fc")["fc"][:3])


def test_a_layer_of_several_calls_is_not_collected_beyond_what_was_asked(resnet, images):
    assert list(collect(resnet, [images], "layer1.0.relu")) == ["layer1.0.relu"]


@pytest.mark.parametrize(
    ("batches", "error", "text"),
    [
        (torch.ones(2, 3, 16, 16), TypeError, r"`batches`.*such as \[images\]"),
        ([], ValueError, "at least one batch"),
        (["text"], TypeError, "`batches`.*Got 'text'"),
        ([torch.ones(1, 3, 16, 16), torch.ones(1, 3, 8, 8)], ValueError, r"one shape at layer 'stem'.*\(4, 8, 8\)"),
    ],
)
def test_bad_batches_are_refused(resnet, batches, error, text):
    with pytest.raises(error, match=text):
        collect(resnet, batches, "stem")


def test_max_images_must_be_positive(resnet, images):
    with pytest.raises(ValueError, match="`max_images` parameter of `collect`"):
        collect(resnet, [images], "fc", max_images=0)


def test_an_unreached_layer_is_an_error():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.used(x)

    with pytest.raises(LayerNotReachedError, match=r"`layers` parameter of `collect`.*'unused'"):
        collect(Net(), [torch.ones(1, 2)], "unused")
