import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from lightning_interp.callbacks import DeconvNetMonitor
from lightning_interp.exceptions import MeasurementWarning
from lightning_interp.functional.synthesis import deconvnet
from tests.callbacks.conftest import ColourData, Net, quiet_trainer, toy_dataset, toy_loader

IMAGES = toy_dataset().tensors[0][:3]


def test_shows_what_the_function_finds(tensorboard):
    monitor = DeconvNetMonitor(IMAGES, layers=["features.2", "features.5"], units=[0, 4], every_n_epochs=1)
    net = Net()
    trainer = quiet_trainer(logger=tensorboard, callbacks=[monitor])
    trainer.fit(net, toy_loader())
    for layer in ("features.2", "features.5"):
        expected = deconvnet(net, IMAGES, layer, [0, 4])
        found = monitor.projections_[layer]
        assert torch.equal(found.maps, expected.maps)
        assert torch.equal(found.activations, expected.activations)
    silent = torch.cat([each.activations.flatten() == 0 for each in monitor.projections_.values()]).float().mean()
    assert trainer.callback_metrics["deconvnet/silent"] == pytest.approx(float(silent))
    events = EventAccumulator(tensorboard.log_dir, size_guidance={"images": 0})
    events.Reload()
    shown = {tag: len(events.Images(tag)) for tag in events.Tags()["images"]}
    assert shown == {"deconvnet/features.2": 2, "deconvnet/features.5": 2, "deconvnet/evolution": 2}
    assert monitor.evolution.names == ["features.2:0", "features.2:4", "features.5:0", "features.5:4"]


def test_the_same_units_and_images_at_every_snapshot():
    monitor = DeconvNetMonitor(every_n_epochs=1, n_images=2, n_units=3)
    seen = []

    class Looking(Net):
        def on_train_epoch_end(self):
            seen.append((self.features[0].weight.sum().item(), monitor.projections_))

    quiet_trainer(callbacks=[monitor], max_epochs=3).fit(Looking(), toy_loader())
    layers = [list(found) for _, found in seen]
    assert layers[0] == layers[1] == layers[2]
    first, last = (list(found.values())[-1] for _, found in (seen[0], seen[-1]))
    assert first.units == last.units == (0, 1, 2)
    assert torch.equal(first.images, last.images)
    assert not torch.equal(first.maps, last.maps)


def test_pictures_are_shown_as_before_normalisation(tensorboard, monkeypatch):
    shown = []
    original = DeconvNetMonitor._snapshot

    def spy(self, *args, figures, **kwargs):
        shown.extend(figure.keywords["pictures"] for figure in figures.values())
        return original(self, *args, figures=figures, **kwargs)

    monkeypatch.setattr(DeconvNetMonitor, "_snapshot", spy)
    data, monitor = ColourData(), DeconvNetMonitor(every_n_epochs=1, n_images=3)
    quiet_trainer(logger=tensorboard, callbacks=[monitor], max_epochs=1).fit(Net(), datamodule=data)
    normalised = monitor._drawn().images
    torch.testing.assert_close(shown[0], (normalised * 0.25 + 0.5).clamp(0, 1))
    assert normalised.min() < 0


@pytest.mark.parametrize("method", ["guided", "gradient"])
def test_other_methods(method):
    monitor = DeconvNetMonitor(IMAGES, layers="features.5", method=method, every_n_epochs=2)
    quiet_trainer(callbacks=[monitor]).fit(Net(), toy_loader())
    assert monitor.projections_["features.5"].method == method


def test_a_failing_snapshot_costs_a_warning():
    class Broken(Net):
        def on_train_epoch_start(self):
            if self.current_epoch == 1:
                self.features[5] = nn.Tanh()

    monitor = DeconvNetMonitor(IMAGES, layers="features.5", every_n_epochs=1)
    with pytest.warns(MeasurementWarning, match=r"DeconvNetMonitor could not measure at step 12, .*Tanh"):
        quiet_trainer(callbacks=[monitor]).fit(Broken(), toy_loader())
    assert len(monitor.history) == 1


def test_what_cannot_work_is_told_at_the_start():
    def fit(**options):
        quiet_trainer(callbacks=[DeconvNetMonitor(IMAGES, **options)]).fit(Net(), toy_loader())

    with pytest.raises(ValueError, match="8"):
        fit(layers="features.5", units=[8])
    with pytest.raises(ValueError, match="matches a layer"):
        fit(layers="features.9")
    with pytest.raises(ValueError, match="`images` parameter of `DeconvNetMonitor`"):
        DeconvNetMonitor(IMAGES[0])
    with pytest.raises(ValueError, match="`method` parameter"):
        DeconvNetMonitor(IMAGES, method="saliency")
