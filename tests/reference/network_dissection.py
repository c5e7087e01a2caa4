"""Network dissection as methods.md section 6 writes it: whole activations in memory, one image after the other."""

import math

import torch
from torch.nn.functional import interpolate


def activations(model, images, layer, call=0):
    """Output of a layer for every image, one forward pass per image; `call` is its call within the pass."""
    found, outputs = [], []
    module = model.get_submodule(layer)
    handle = module.register_forward_hook(lambda module, inputs, output: outputs.append(output.detach().clone()))
    training = model.training
    model.eval()
    with torch.no_grad():
        for image in images:
            outputs.clear()
            model(image[None])
            found.append(outputs[call][0].float())
    model.train(training)
    handle.remove()
    return found


def level(values, quantile):
    """The `n + 1`-th largest value, `n` being the share `quantile` of their number."""
    ordered = sorted(values, reverse=True)
    return ordered[min(math.floor(quantile * len(ordered)), len(ordered) - 1)]


def levels(maps, quantile):
    n_units = len(maps[0])
    return torch.tensor([level(torch.cat([a[u].flatten() for a in maps]).tolist(), quantile) for u in range(n_units)])


def layer_of_masks(target, size):
    """A stack of masks (L, h, w) from whatever the target of one category is."""
    target = torch.as_tensor(target)
    if target.ndim == 0:
        return target.expand(1, *size)
    return target[None] if target.ndim == 2 else target


def whole_size(targets, image):
    """Resolution of labels for whole images: that of the largest mask, or else of the image."""
    sizes = [tuple(torch.as_tensor(t).shape[-2:]) for t in targets.values() if torch.as_tensor(t).ndim]
    return max(sizes, key=lambda size: size[0] * size[1]) if sizes else tuple(image.shape[-2:])


def intersection_over_union(maps, thresholds, items, concepts):
    """`(units, C)`, concepts category by category."""
    columns = [(category, value) for category, names in concepts.items() for value in range(1, len(names))]
    table = torch.zeros(len(thresholds), len(columns), dtype=torch.float64)
    for unit, threshold in enumerate(thresholds):
        for column, (category, value) in enumerate(columns):
            intersection = union = 0
            for a, (image, targets) in zip(maps, items, strict=True):
                if category not in targets:
                    continue
                masks = layer_of_masks(targets[category], whole_size(targets, image))
                size = masks.shape[-2:]
                if a[unit].numel() == 1:  # a linear layer: active everywhere or nowhere
                    large = a[unit].reshape(1, 1, 1, 1).expand(1, 1, *size)
                else:
                    large = interpolate(a[unit][None, None], size=size, mode="bilinear", align_corners=False)
                annotated = (masks >= 0).all(0)
                active = (large[0, 0] > threshold) & annotated
                present = (masks == value).any(0) & annotated
                intersection += int((active & present).sum())
                union += int((active | present).sum())
            table[unit, column] = intersection / union if union else 0.0
    return table.float()


def dissection(model, items, layer, concepts, quantile, call=0):
    """Levels and intersections over unions of one layer."""
    maps = activations(model, [image for image, _ in items], layer, call)
    thresholds = levels(maps, quantile)
    return thresholds, intersection_over_union(maps, thresholds, items, concepts)
