"""Train a detector on one year of PASCAL VOC; half-way it labels the most typical pictures of another, and trains on.

python examples/semi_supervised_detection.py --root <folder with VOCdevkit>
"""

import argparse
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from lightning_interp.callbacks import PseudoLabelSelection
from lightning_interp.datamodules import VOCDetectionDataModule
from lightning_interp.modules import Detector


def main(
    root: str | Path,
    *,
    baseline: bool = False,
    detector: Detector | None = None,
    steps: int = 70_000,
    labeled_epochs: int = 24,
    fraction: float = 0.3,
    **options: Any,
) -> PseudoLabelSelection:
    """The run of the paper: 24 epochs are 60000 pictures; ``options`` are of the datamodule."""
    pl.seed_everything(0)
    data = VOCDetectionDataModule(root, mirror=True, **options)
    detector = detector or Detector("vgg16", weights="imagenet", coco_map=False)
    selection = PseudoLabelSelection(
        fraction,
        mode="dataset",
        layers=detector.backbone_layers(),
        spatial="mean",  # pictures have every size
        start_epoch=labeled_epochs,
        every_n_epochs=labeled_epochs,  # one update
    )
    trainer = pl.Trainer(
        max_steps=steps,
        max_epochs=-1,
        reload_dataloaders_every_n_epochs=1,
        callbacks=[] if baseline else [selection],
        enable_checkpointing=False,
    )
    trainer.fit(detector, datamodule=data)
    print(f"{len(data.train_dataset) - len(data.labeled_dataset)} pictures with predicted boxes")
    trainer.test(detector, datamodule=data)
    return selection


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="holds VOCdevkit/VOC2007 and VOCdevkit/VOC2012, or gets them")
    parser.add_argument("--download", action="store_true", help="fetch what is missing (3 GB)")
    parser.add_argument("--baseline", action="store_true", help="the same without pseudo-labels")
    main(**vars(parser.parse_args()))
