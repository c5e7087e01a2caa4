import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from lightning_interp.callbacks import HeatmapMonitor
from lightning_interp.exceptions import MeasurementWarning, NegativeActivationsError
from lightning_interp.functional.localization import nmf_heatmaps
from tests.callbacks.conftest import ColourData, Net, quiet_trainer, toy_dataset, toy_loader
from tests.callbacks.processes import one_and_two

IMAGES = toy_dataset().tensors[0][:4]


def test_shows_what_the_function_finds(tensorboard):
    monitor, net = HeatmapMonitor(IMAGES, k=3, every_n_epochs=1), Net()
    trainer = quiet_trainer(logger=tensorboard, callbacks=[monitor])
    trainer.fit(net, toy_loader())
    expected = nmf_heatmaps(net, IMAGES, 3)
    assert torch.equal(monitor.heatmaps_.cells, expected.cells)
    assert trainer.callback_metrics["heatmaps/error"] == pytest.approx(expected.error)
    events = EventAccumulator(tensorboard.log_dir, size_guidance={"images": 0})
    events.Reload()
    shown = {tag: len(events.Images(tag)) for tag in events.Tags()["images"]}
    assert shown == {"heatmaps/images": 2, "heatmaps/evolution": 2}
    assert monitor.evolution.names == ["image 0", "image 1", "image 2", "image 3"]


def test_concepts_keep_their_colours_over_epochs_and_a_resume():
    class Swapping(Net):
        """Units change places after each epoch, and factors with them."""

        def on_train_epoch_start(self):
            if self.current_epoch:
                with torch.no_grad():
                    for name in ("weight", "bias"):
                        parameter = getattr(self.features[4], name)
                        parameter.copy_(parameter.flip(0))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    monitor = HeatmapMonitor(IMAGES, k=2, layer="features.5", every_n_epochs=1)
    seen = []

    class Looking(Swapping):
        def on_train_epoch_end(self):
            seen.append((monitor.heatmaps_.v, monitor.heatmaps_.colors))

    quiet_trainer(callbacks=[monitor], max_epochs=2).fit(Looking(), toy_loader())
    (before, colors), (after, later) = seen
    assert sorted(later) == sorted(colors) == [0, 1]
    straight = (before @ after.T).diagonal().sum() >= (before @ after.T.flip(1)).diagonal().sum()
    assert later == (colors if straight else colors[::-1])
    again = HeatmapMonitor(IMAGES, k=2)
    again.load_state_dict(monitor.state_dict())
    assert again._known[1] == monitor._known[1]
    assert torch.equal(again._known[0], monitor._known[0])


def test_pictures_are_shown_as_before_normalisation(monkeypatch):
    shown = []
    monkeypatch.setattr(
        "lightning_interp.callbacks.heatmap.overlay", lambda picture, *_: shown.append(picture) or picture
    )
    monitor = HeatmapMonitor(k=2, every_n_epochs=1, n_images=3)
    quiet_trainer(callbacks=[monitor], max_epochs=1).fit(Net(), datamodule=ColourData())
    expected = (monitor._drawn().images * 0.25 + 0.5).clamp(0, 1)
    torch.testing.assert_close(torch.stack(shown), expected)


def test_a_failing_snapshot_costs_a_warning():
    class Broken(Net):
        def on_train_epoch_start(self):
            if self.current_epoch == 1:
                self.features[5] = nn.Identity()

    monitor = HeatmapMonitor(IMAGES, k=2, layer="features.5", every_n_epochs=1)
    with pytest.warns(MeasurementWarning, match=r"HeatmapMonitor could not measure at step 12, .*signed"):
        quiet_trainer(callbacks=[monitor]).fit(Broken(), toy_loader())
    assert len(monitor.history) == 1


def test_what_cannot_work_is_told_at_the_start():
    def fit(**options):
        quiet_trainer(callbacks=[HeatmapMonitor(IMAGES, **options)]).fit(Net(), toy_loader())

    with pytest.raises(NegativeActivationsError, match=r"Layer 'features.1' is signed"):
        fit(layer="features.1")
    with pytest.raises(ValueError, match=r"`k` parameter of `HeatmapMonitor` must be an int in \[1, 8\]"):
        fit(k=9)
    with pytest.raises(ValueError, match="`images` parameter of `HeatmapMonitor`"):
        HeatmapMonitor(IMAGES[0])
    with pytest.raises(ValueError, match="`padding` parameter"):
        HeatmapMonitor(padding="mirror")


DISTRIBUTED = """
import sys, torch
from lightning_interp.callbacks import HeatmapMonitor
from tests.callbacks.conftest import Net, quiet_trainer, toy_loader
from tests.callbacks.processes import report

class Frozen(Net):  # equal weights on any number of processes, so that only the measuring can differ
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)

if __name__ == "__main__":
    devices = int(sys.argv[1])
    options = {"devices": devices, "strategy": "ddp" if devices > 1 else "auto"}
    net = Frozen()
    net.features[1].momentum = 0.0  # the statistics of a process are of its own batches
    monitor = HeatmapMonitor(k=2, every_n_epochs=1, n_images=3)
    quiet_trainer(callbacks=[monitor], max_epochs=1, **options).fit(net, toy_loader())
    report(monitor.heatmaps_.cells.sum().item(), monitor.history["error"].tolist())
"""


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path):
    (alone,), both = one_and_two(DISTRIBUTED, tmp_path)
    assert both == [alone, alone]
