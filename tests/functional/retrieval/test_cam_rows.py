import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from lightning_interp.functional.retrieval.cam_rows import cam_rows, class_weights
from tests.reference import retrieval_descriptors as slow


def net(head):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), head)


def test_weights_are_those_of_the_last_layer():
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=70)  # more than are differentiated at once
    found = class_weights(model, "layer4", torch.rand(1, 3, 65, 50))
    assert found.shape == (70, 512)
    assert torch.allclose(found, model.fc.weight, atol=1e-5)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_convolution_before_the_average_is_a_linear_layer_too():
    head = nn.Sequential(nn.Conv2d(6, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = net(head)
    assert torch.allclose(class_weights(model, "1", torch.rand(1, 3, 9, 8)), head[0].weight[:, :, 0, 0], atol=1e-6)


@pytest.mark.parametrize(
    "head",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(6 * 49, 4)),
        nn.Sequential(nn.Conv2d(6, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(6, 4)),
    ],
)
def test_another_head_is_refused_by_the_name_of_the_layer(head):
    with pytest.raises(ValueError, match=r"only a global average and linear layers follow.*'1' is not.*Choose another"):
        class_weights(net(head), "1", torch.rand(1, 3, 9, 9))


def test_rows_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 6, 4, 5, generator=generator).clamp(min=0)
    weights = torch.randn(9, 6, generator=generator)
    found = cam_rows(maps, weights, n_classes=3)
    for i, image in enumerate(maps.numpy()):
        scores = weights.numpy() @ image.mean((1, 2))
        for n, best in enumerate(np.argsort(-scores)[:3]):
            shown = np.maximum((weights[best].numpy()[:, None, None] * image).sum(0), 0)
            row = (image * shown / shown.max()).sum((1, 2)) * slow.crow_weights(image)
            assert np.allclose(found[i, n], row, rtol=1e-4)


def test_fewer_classes_than_asked_for_and_black_images_are_fine():
    assert cam_rows(torch.zeros(2, 6, 3, 3), torch.rand(4, 6)).shape == (2, 4, 6)
    assert not cam_rows(torch.zeros(2, 6, 3, 3), torch.rand(4, 6)).any()
