"""Stop a run without a validation set, in thirty lines: toy scenes with noisy labels.

python examples/early_stopping.py
"""

import pytorch_lightning as pl

from lightning_interp.callbacks import NMFEarlyStopping
from lightning_interp.datamodules import ToyScenesDataModule
from lightning_interp.models import CIFAR10CNN
from lightning_interp.modules import Classifier


def main(max_epochs: int = 24, n_train: int = 2000, width: int = 16) -> NMFEarlyStopping:
    """Train until the callback says stop, and test the weights it gave back."""
    pl.seed_everything(0)
    data = ToyScenesDataModule(n_train=n_train, label_noise=0.4, batch_size=50)
    stopper = NMFEarlyStopping()
    trainer = pl.Trainer(max_epochs=max_epochs, callbacks=[stopper], enable_checkpointing=False)
    module = Classifier(CIFAR10CNN(data.n_classes, width=width))
    trainer.fit(module, datamodule=data)
    print(stopper.stopped_reason or "The run ended by itself.")
    print(stopper.history.round(3).to_string(index=False))
    trainer.test(module, datamodule=data)
    return stopper


if __name__ == "__main__":
    main()
