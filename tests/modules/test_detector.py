import importlib.util
import operator
from functools import reduce

import pytest
import torch
from torch import nn

from lightning_interp.datamodules.voc_detection import VOCDetectionDataModule
from lightning_interp.functional.selection import batch_statistics, image_scores
from lightning_interp.functional.voc_average_precision import voc_average_precision
from lightning_interp.modules.detector import Detector
from tests.data import voc
from tests.datamodules.test_voc_detection import quiet

COCO = any(importlib.util.find_spec(name) for name in ("pycocotools", "faster_coco_eval"))
SMALL = {
    "min_size": 64,
    "max_size": 128,
    "head_width": 128,
    "coco_map": False,
    "rpn_pre_nms_top_n_train": 200,
    "rpn_post_nms_top_n_train": 100,
    "rpn_batch_size_per_image": 64,
    "box_batch_size_per_image": 64,
}


def trunk(width=4):
    """Six convolutions of stride 8 in all."""
    layers, channels = [], 3
    for k, stride in enumerate((2, 1, 2, 1, 2, 1)):
        out = width * 2 ** (k // 2)
        layers += [nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        channels = out
    net = nn.Sequential(*layers)
    net.out_channels = channels
    return net


@pytest.fixture
def data(tmp_path):
    voc.write(tmp_path, year=2007, lists={"train": 8, "val": 3, "test": 4})
    voc.write(tmp_path, year=2012, lists={"train": 5}, seed=1)
    return VOCDetectionDataModule(tmp_path, val="2007/val", batch_size=2)


def test_logs_losses_and_precision(data):
    torch.manual_seed(0)
    detector = Detector(trunk(), lr=0.01, lr_steps=[2], **SMALL)
    trainer = quiet()
    trainer.fit(detector, datamodule=data)
    parts = {f"train/loss_{name}" for name in ("classifier", "box_reg", "objectness", "rpn_box_reg")}
    assert {"train/loss", "val/voc_map", *parts} == set(trainer.callback_metrics)
    total = sum(float(trainer.callback_metrics[name]) for name in parts)
    assert float(trainer.callback_metrics["train/loss"]) == pytest.approx(total, rel=1e-5)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.001)  # after two of four steps
    (result,) = trainer.test(detector, datamodule=data, verbose=False)
    assert set(result) == {"test/voc_map"}


@pytest.mark.parametrize("rule", ["area", "eleven_point"])
def test_precision_is_that_of_the_function(data, rule):
    def guess(target):
        """The truth, and in every picture a person, with any confidence."""
        labels = torch.cat([target["labels"], torch.tensor([15])])
        boxes = torch.cat([target["boxes"], torch.tensor([[0.0, 0.0, 60.0, 60.0]])])
        return {"boxes": boxes, "labels": labels, "scores": torch.rand(len(labels))}

    data.setup()
    items = [data.test_dataset[i] for i in range(4)]
    detector = Detector(trunk(), rule=rule, **SMALL)
    torch.manual_seed(1)
    predictions = [guess(target) for _, target in items]
    replies = iter([predictions[:2], predictions[2:]])
    detector.forward = lambda images: next(replies)
    (result,) = quiet().test(detector, datamodule=data, verbose=False)
    expected = voc_average_precision(predictions, [target for _, target in items], rule=rule)
    assert result["test/voc_map"] == pytest.approx(float(expected.mean))
    assert torch.equal(detector.voc_precision.precision().n_objects, expected.n_objects)


@pytest.mark.skipif(not COCO, reason="neither pycocotools nor faster-coco-eval is installed")
def test_coco_precision(data):
    data.setup()
    detector = Detector(trunk(), **{**SMALL, "coco_map": True})
    truth = [data.test_dataset[i][1] for i in range(4)]
    replies = iter([truth[:2], truth[2:]])
    detector.forward = lambda images: [
        {**target, "scores": torch.ones(len(target["labels"]))} for target in next(replies)
    ]
    (result,) = quiet().test(detector, datamodule=data, verbose=False)
    assert {name: round(value, 5) for name, value in result.items()} == {
        "test/voc_map": 1, "test/map": 1, "test/map_50": 1, "test/map_75": 1,
    }  # fmt: skip


def test_coco_precision_without_its_package(data, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"needs pycocotools or faster-coco-eval .* coco_map=False"):
        quiet().test(Detector(trunk(), **{**SMALL, "coco_map": True}), datamodule=data, verbose=False)


def test_pictures_without_boxes_train():
    torch.manual_seed(0)
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    full = {"boxes": torch.tensor([[4.0, 4.0, 40.0, 50.0]]), "labels": torch.tensor([7])}
    detector = Detector(trunk(), **SMALL).train()
    detector.log = detector.log_dict = lambda *args, **options: None
    for targets in ([empty], [empty, full]):
        loss = detector.training_step(([torch.rand(3, 64, 64)] * len(targets), targets), 0)
        loss.backward()
        assert loss.isfinite()
    assert all(weight.grad.isfinite().all() for weight in detector.parameters())


@pytest.mark.filterwarnings("ignore:Found .* in eval mode:UserWarning")  # Lightning has its doubts too
def test_a_detector_left_in_eval_mode_says_so(data):
    with pytest.raises(RuntimeError, match=r"Call its `train\(\)` before `trainer.fit`"):
        quiet().fit(Detector(trunk(), **SMALL).eval(), datamodule=data)


def test_pseudo_labels_are_the_confident_predictions():
    boxes = torch.arange(12.0).reshape(3, 4)
    outputs = [
        {"boxes": boxes, "labels": torch.tensor([3, 4, 5]), "scores": torch.tensor([0.9, 0.5, 0.4])},
        {"boxes": boxes, "labels": torch.tensor([3, 4, 5]), "scores": torch.tensor([0.4, 0.3, 0.2])},
        {"boxes": boxes[:0], "labels": torch.zeros(0).long(), "scores": torch.zeros(0)},
    ]
    first, *others = Detector(trunk(), **SMALL).pseudo_labels(outputs)
    assert others == [None, None]
    assert sorted(first) == ["boxes", "labels"]
    assert torch.equal(first["boxes"], boxes[:2])
    assert first["labels"].tolist() == [3, 4]
    (all_of_them, *_) = Detector(trunk(), pseudo_confidence=0.2, **SMALL).pseudo_labels(outputs)
    assert len(all_of_them["boxes"]) == 3


def test_backbone_layers_are_the_convolutions_with_what_follows_them():
    detector = Detector(trunk(), **SMALL)
    names = detector.backbone_layers()
    assert names == [f"net.backbone.{i}" for i in (2, 5, 8, 11, 14, 17)]
    assert detector.training
    pyramid = Detector("resnet50_fpn", **SMALL).backbone_layers()
    assert {"net.backbone.body.maxpool", "net.backbone.body.layer4.2.relu:2"} <= set(pyramid)
    assert all(name.startswith("net.backbone.") for name in pyramid)


def test_an_image_score_does_not_depend_on_the_other_pictures(data):
    data.setup()
    torch.manual_seed(0)
    detector = Detector(trunk(), **SMALL)
    options = {"n_classes": 1, "layers": tuple(detector.backbone_layers()), "spatial": "mean"}
    one_class = torch.zeros(1, dtype=torch.long)
    parts = (batch_statistics(detector, [image], one_class, **options) for image, _ in data.labeled_dataset)
    statistics = reduce(operator.add, parts)
    pool = [([image], index) for image, index in data.unlabeled_dataset]
    scores = image_scores(detector, pool, statistics).scores
    assert scores.max() <= 0
    assert scores.unique().numel() > 1
    assert torch.equal(image_scores(detector, pool[::-1], statistics).scores.flip(0), scores)
    same = [([pool[0][0][0], pool[2][0][0]], 0)]  # of one size: no margins
    assert image_scores(detector, same, statistics).scores.tolist() == pytest.approx(scores[[0, 2]].tolist(), abs=1e-3)


def test_sgd_of_the_paper():
    detector = Detector(trunk(), **SMALL)
    detector.net.backbone[0].requires_grad_(False)
    optimizer = detector.configure_optimizers()
    (group,) = optimizer.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (1e-3, 0.9, 5e-4)
    assert len(group["params"]) == sum(weight.requires_grad for weight in detector.parameters())


@pytest.mark.parametrize(
    ("options", "owner"),
    [
        ({"lr": -1.0}, "Detector"),
        ({"momentum": 2}, "Detector"),
        ({"lr_steps": [0]}, "Detector"),
        ({"pseudo_confidence": 1.5}, "Detector"),
        ({"rule": "coco"}, "VOCAveragePrecision"),
        ({"min_size": 0}, "faster_rcnn"),
    ],
)
def test_bad_options_are_named(options, owner):
    (name,) = options
    with pytest.raises(ValueError, match=f"The `{name}` parameter of `{owner}` must be"):
        Detector(trunk(), **{**SMALL, **options})


@pytest.mark.slow
def test_learns_to_find_objects(tmp_path):
    """Pictures it was trained on, so that half a minute is enough."""
    voc.write(tmp_path, lists={"train": 24})
    data = VOCDetectionDataModule(tmp_path, unlabeled=None, test="2007/train", batch_size=4, mirror=True)
    torch.manual_seed(0)
    detector = Detector(trunk(16), lr=0.02, lr_steps=[120], **SMALL)
    trainer = quiet()
    trainer.fit_loop.max_epochs = 30
    (before,) = quiet().test(detector, datamodule=data, verbose=False)
    trainer.fit(detector, datamodule=data)
    (after,) = quiet().test(detector, datamodule=data, verbose=False)
    assert before["test/voc_map"] < 0.1
    assert after["test/voc_map"] > 0.5
