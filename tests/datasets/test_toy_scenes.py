import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_interp.datasets import ToyScenes


def test_image_label_and_length():
    scenes = ToyScenes(30, size=(32, 40))
    image, label = scenes[5]
    assert image.shape == (3, 32, 40)
    assert image.dtype == torch.float32
    assert 0 <= image.min() < image.max() <= 1
    assert isinstance(label, int)
    assert len(scenes) == len(scenes.targets) == len(list(scenes)) == 30
    assert torch.equal(scenes[-1][0], scenes[29][0])
    assert scenes.targets.bincount().tolist() == [3] * 6 + [2] * 6


def test_same_address_same_image_whatever_n():
    assert torch.equal(ToyScenes(50)[40][0], ToyScenes(5000)[40][0])
    assert not torch.equal(ToyScenes(50)[40][0], ToyScenes(50, seed=1)[40][0])
    assert not torch.equal(ToyScenes(50)[40][0], ToyScenes(50, split="test")[40][0])


def test_render_equals_items():
    scenes = ToyScenes(40)
    images = scenes.render().float() / 255
    for i, (image, _) in enumerate(scenes):
        assert torch.equal(images[i], image)
    assert torch.equal(scenes.render([7, 3]), scenes.render()[[7, 3]])


def test_truth_agrees_with_itself_and_the_image():
    scenes = ToyScenes(24, size=64)
    for i in range(24):
        truth = scenes.truth(i)
        assert truth.label == scenes.targets[i]
        assert torch.equal(truth.object_mask, torch.stack(list(truth.part_masks.values())).any(0))
        left, top, right, bottom = truth.object_box
        assert truth.object_mask[top:bottom, left:right].sum() == truth.object_mask.sum()
        assert truth.object_mask[top].any()
        assert truth.object_mask[:, right - 1].any()
        for name, (x0, y0, x1, y1) in truth.part_boxes.items():
            mask = truth.part_masks[name]
            assert mask.any()
            assert mask[y0:y1, x0:x1].sum() == mask.sum()
            assert left <= x0 < x1 <= right
            assert top <= y0 < y1 <= bottom
            assert (truth.part_map[mask] == scenes.concepts["part"].index(name)).all()


def test_colours_are_seen_where_the_truth_says():
    """Red objects are redder than blue ones: planted truth against pixels, over many images."""
    scenes, mean = ToyScenes(200), {}
    for i in range(200):
        truth, image = scenes.truth(i), scenes[i][0]
        for name in ("red", "green", "blue"):
            where = truth.object_mask & (truth.color_map == scenes.concepts["color"].index(name))
            mean.setdefault(name, []).append(image[:, where])
    for channel, name in enumerate(("red", "green", "blue")):
        color = torch.cat(mean[name], 1).mean(1)
        assert color.argmax() == channel
        assert color[channel] > 1.3 * color.sum() / 3


def test_views_show_one_object_elsewhere():
    scenes = ToyScenes(96, views=4)
    same = [i for i in range(96) if scenes.instances[i] == scenes.instances[5]]
    assert len(same) == 4
    assert len({scenes.targets[i].item() for i in same}) == 1
    colors = [
        set(zip(t.part_map[t.object_mask].tolist(), t.color_map[t.object_mask].tolist(), strict=True))
        for t in map(scenes.truth, same)
    ]
    assert all(len(found & colors[0]) >= 2 for found in colors)
    assert max(len(dict(found)) for found in colors) == max(map(len, colors))  # one colour per part
    assert len({scenes.truth(i).object_box for i in same}) == 4


def test_objects_are_not_shared_by_splits():
    train, test = ToyScenes(12), ToyScenes(12, split="test")
    for i in range(12):
        assert train.targets[i] == test.targets[i]
        pairs = [
            set(zip(t.part_map[t.object_mask].tolist(), t.color_map[t.object_mask].tolist(), strict=True))
            for t in (train.truth(i), test.truth(i))
        ]
        assert pairs[0] != pairs[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_and_pickle(workers):
    scenes = pickle.loads(pickle.dumps(ToyScenes(50, transform=torch.Tensor.double)))
    images = torch.cat([x for x, _ in DataLoader(scenes, batch_size=16, num_workers=workers)])
    assert images.dtype == torch.float64
    assert torch.equal(images.float(), scenes.render().float() / 255)


def test_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    ToyScenes(20).truth(3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"n": 0}, ValueError, r"`n` parameter of `ToyScenes` must be an int in \[1, inf\). Got 0"),
        ({"n": 2.0}, TypeError, "`n`"),
        ({"n": 2, "size": 2}, ValueError, "`size`"),
        ({"n": 2, "size": (32, 32, 3)}, ValueError, r"pair \(height, width\)"),
        ({"n": 2, "seed": -1}, ValueError, "`seed`"),
        ({"n": 2, "split": "trian"}, ValueError, "Did you mean 'train'"),
        ({"n": 2, "views": 0}, ValueError, "`views`"),
    ],
)
def test_bad_input(options, error, match):
    with pytest.raises(error, match=match):
        ToyScenes(**options)


def test_index_out_of_range():
    with pytest.raises(IndexError, match="`index`"):
        ToyScenes(3)[3]
