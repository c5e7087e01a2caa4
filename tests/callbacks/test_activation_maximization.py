import pytest
import torch

from lightning_interp.callbacks import ActivationMaximizationMonitor
from lightning_interp.functional.synthesis import PixelSpace, TotalVariation, channel, logit, maximize_activation
from tests.callbacks.conftest import ColourData, Net, quiet_trainer, toy_loader


def test_makes_what_the_function_makes(tensorboard):
    units, smooth = {"features.5": [0, 3], "features.2": [1]}, [TotalVariation(0.1)]
    monitor = ActivationMaximizationMonitor(units, every_n_epochs=1, steps=6, regularizers=smooth, seed=4)
    net = Net()
    trainer = quiet_trainer(logger=tensorboard, callbacks=[monitor])
    trainer.fit(net, toy_loader())
    objectives = [channel("features.5", 0), channel("features.5", 3), channel("features.2", 1)]
    options = {"image_shape": (3, 8, 8), "steps": 6, "regularizers": smooth, "seed": 4}
    expected = maximize_activation(net, objectives, **options)
    assert torch.equal(monitor.maximization_.images, expected.images)
    reached = trainer.callback_metrics["activation_maximization/mean"]
    assert reached == pytest.approx(float(expected.activations.mean()))
    assert monitor.evolution.names == ["features.5:0", "features.5:3", "features.2:1"]


def test_classes_by_name_and_normalisation_of_the_datamodule():
    monitor = ActivationMaximizationMonitor(every_n_epochs=1, steps=2)
    data = ColourData()
    quiet_trainer(callbacks=[monitor], max_epochs=1).fit(Net(), datamodule=data)
    assert monitor.maximization_.names == ("red", "green", "blue")
    assert monitor.maximization_.space == PixelSpace((0.5,) * 3, (0.25,) * 3)


def test_objectives_and_normalisation_of_ones_own():
    monitor = ActivationMaximizationMonitor(
        [logit(0) - logit(1)], every_n_epochs=1, steps=2, parameters="pixel", mean=[0.1], std=[2.0]
    )
    quiet_trainer(callbacks=[monitor], max_epochs=1).fit(Net(), datamodule=ColourData())
    assert monitor.maximization_.names == ("class 0 - class 1",)
    assert monitor.maximization_.space == PixelSpace((0.1,), (2.0,))


def test_ctrl_c_during_a_snapshot_reaches_the_trainer():
    class Pressed(Net):
        def on_train_epoch_start(self):
            if self.current_epoch == 1:
                calls = iter(range(10))
                self.features[0].register_forward_pre_hook(
                    lambda *_: (_ for _ in ()).throw(KeyboardInterrupt) if next(calls) == 8 else None
                )

    monitor = ActivationMaximizationMonitor({"features.5": [0]}, every_n_epochs=1, steps=20)
    trainer = quiet_trainer(callbacks=[monitor], max_epochs=4)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer.fit(Pressed(), toy_loader())
    assert trainer.interrupted
    assert len(monitor.history) == 1


def test_what_cannot_work_is_told_at_the_start():
    def fit(units, **options):
        quiet_trainer(callbacks=[ActivationMaximizationMonitor(units, **options)]).fit(Net(), toy_loader())

    with pytest.raises(ValueError, match=r"Layer 'features.5' has 8 units"):
        fit({"features.5": [8]})
    with pytest.raises(ValueError, match="matches a layer"):
        fit({"nowhere": [0]})
    for nothing in ({}, [], ["features.5"]):
        with pytest.raises(ValueError, match="a mapping from layers to units, or objectives"):
            ActivationMaximizationMonitor(nothing)
    with pytest.raises(ValueError, match="`parameters` parameter"):
        ActivationMaximizationMonitor(parameters="wavelet")
