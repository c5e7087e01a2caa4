"""DeconvNet as Zeiler & Fergus (ECCV 2014, section 2.1) describe it: a second network, built layer by layer.

It has unpooling with switches, rectification and transposed filters, for plain stacks of layers, one image and one
position of one unit at a time. Slow, and shares no code with the package: it never asks autograd.
"""

import torch
import torch.nn.functional as F
from torch import nn


def forward(layers, image):
    """The inputs of all layers, and the switches of the pooling layers."""
    inputs, switches, x = [], {}, image[None]
    for i, layer in enumerate(layers):
        inputs.append(x)
        if isinstance(layer, nn.MaxPool2d):
            x, switches[i] = F.max_pool2d(x, layer.kernel_size, layer.stride, layer.padding, return_indices=True)
        else:
            x = layer(x)
    return inputs, switches, x


def transposed(layer, signal, layer_input, switches):
    """The counterpart of one layer in the deconvnet."""
    if isinstance(layer, nn.Conv2d):
        padded = layer_input.shape[2] + 2 * layer.padding[0], layer_input.shape[3] + 2 * layer.padding[1]
        full = F.conv_transpose2d(signal, layer.weight, stride=layer.stride, groups=layer.groups)
        full = F.pad(full, (0, padded[1] - full.shape[3], 0, padded[0] - full.shape[2]))
        top, left = layer.padding
        return full[:, :, top : padded[0] - top, left : padded[1] - left]
    if isinstance(layer, nn.ReLU):
        return signal.clamp(min=0)
    if isinstance(layer, nn.MaxPool2d):
        return F.max_unpool2d(signal, switches, layer.kernel_size, layer.stride, output_size=layer_input.shape)
    if isinstance(layer, nn.AvgPool2d):  # every pixel of a window has the same share of the mean
        return F.interpolate(signal, scale_factor=layer.kernel_size) / layer.kernel_size**2
    if isinstance(layer, nn.BatchNorm2d):
        scale = layer.weight / (layer.running_var + layer.eps).sqrt()
        return signal * scale[None, :, None, None]
    if isinstance(layer, nn.Flatten):
        return signal.reshape(layer_input.shape)
    if isinstance(layer, nn.Linear):
        return signal @ layer.weight
    raise NotImplementedError(type(layer))


def project(layers, image, unit, position):
    """Projection ``(C, H, W)`` of one unit of the last layer: from ``(row, column)``, or everywhere for ``None``."""
    with torch.no_grad():
        inputs, switches, output = forward(layers, image)
        signal = torch.zeros_like(output)
        place = (0, unit) if position is None else (0, unit, *position)
        signal[place] = output[place].clamp(min=0)
        for i in reversed(range(len(layers))):
            signal = transposed(layers[i], signal, inputs[i], switches.get(i))
    return signal[0]
