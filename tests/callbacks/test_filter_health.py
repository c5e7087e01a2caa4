import pytest
import torch
from torch import nn
from torch.nn.functional import relu

from lightning_interp.callbacks import FilterHealthMonitor
from lightning_interp.functional.filter_health import high_frequency_share
from tests.callbacks.conftest import Net, quiet_trainer, toy_loader
from tests.callbacks.processes import one_and_two


class Dying(Net):
    """Unit 3 of the second convolution dies after the first epoch; otherwise nothing changes."""

    def on_train_epoch_start(self):
        with torch.no_grad():
            self.features[4].bias[3] = 9 if self.current_epoch == 0 else -99

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def test_a_unit_that_dies_is_counted(tensorboard):
    net, monitor = Dying(), FilterHealthMonitor(per_class=5)
    trainer = quiet_trainer(logger=tensorboard, callbacks=[monitor])
    trainer.fit(net, toy_loader())
    with torch.no_grad():
        maps = {
            name: net.eval().features[:end](monitor._drawn().images)
            for name, end in (("features.3", 4), ("features.5", 6))
        }
    by_hand = {name: each.amax((0, 2, 3)) <= 0 for name, each in maps.items()}
    assert {name: dead.tolist() for name, dead in monitor.dead_.items()} == {k: v.tolist() for k, v in by_hand.items()}
    assert by_hand["features.5"][3]
    before, after = monitor.history["features.5/dead"]
    assert after == pytest.approx(before + 1 / 8)
    assert trainer.callback_metrics["filter_health/dead"] == pytest.approx(
        float(torch.cat([*by_hand.values()]).float().mean())
    )


def test_aliasing_is_that_of_the_function():
    monitor, net = FilterHealthMonitor(per_class=5), Net()
    trainer = quiet_trainer(callbacks=[monitor])
    trainer.fit(net, toy_loader())
    for name in ("features.0", "features.4"):
        share = high_frequency_share(net.get_submodule(name).weight.detach()).mean()
        assert trainer.callback_metrics[f"filter_health/{name}/aliasing"] == pytest.approx(float(share))
    assert (
        trainer.callback_metrics["filter_health/aliasing"]
        == trainer.callback_metrics["filter_health/features.0/aliasing"]
    )


def test_a_network_without_filters_and_layers_of_ones_own():
    class Linear(Net):
        def __init__(self):
            super().__init__()
            self.features, self.head = nn.Flatten(), nn.Sequential(nn.Linear(192, 5), nn.ReLU(), nn.Linear(5, 3))

        def forward(self, x):
            return self.head(relu(self.features(x)))

    monitor = FilterHealthMonitor(layers="head.1", per_class=5)
    trainer = quiet_trainer(callbacks=[monitor])
    trainer.fit(Linear(), toy_loader())
    assert "filter_health/aliasing" not in trainer.callback_metrics
    assert list(monitor.dead_) == ["head.1"]


DISTRIBUTED = """
import sys, torch
from lightning_interp.callbacks import FilterHealthMonitor
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
    with torch.no_grad():
        net.features[4].bias -= 0.3
    monitor = FilterHealthMonitor(per_class=3)
    quiet_trainer(callbacks=[monitor], max_epochs=1, **options).fit(net, toy_loader())
    report({name: dead.tolist() for name, dead in monitor.dead_.items()})
"""


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path):
    (alone,), both = one_and_two(DISTRIBUTED, tmp_path)
    assert "True" in alone
    assert "False" in alone
    assert both == [alone, alone]
