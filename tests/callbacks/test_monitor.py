"""The base of the monitors, through the smallest monitor there can be."""

import pytest
import torch

from lightning_interp.callbacks.logs import log_values
from lightning_interp.callbacks.monitor import Monitor
from lightning_interp.exceptions import MeasurementWarning
from tests.callbacks.conftest import Net, quiet_trainer, toy_loader


class Brightness(Monitor):
    """The mean of the images it was given; fails at the checks it is told to."""

    def __init__(self, fail_at=(), **options):
        super().__init__(**{"name": "brightness", "per_class": 2, "batches_per_class": 2, **options})
        self.fail_at, self.planned = fail_at, 0

    def _plan(self, trainer, module):
        super()._plan(trainer, module)
        self.planned += 1

    def _measure(self, trainer, module, epoch):
        mean = self._attempt(trainer, self._mean, float)
        if mean is not None:
            self.history_.append({"epoch": epoch, "mean": mean})
            log_values(trainer, module, {f"{self.name}/mean": mean, **self._costs()})

    def _mean(self):
        torch.rand(3)  # a careless measurement draws from the global random state
        if len(self.history_) in self.fail_at:
            self.fail_at = ()
            raise RuntimeError("out of memory")
        return self._drawn().images.mean()


def fit(monitor, **options):
    trainer = quiet_trainer(**{"callbacks": [monitor], "max_epochs": 3, **options})
    torch.manual_seed(0)
    trainer.fit(Net(), toy_loader())
    return trainer


def test_one_row_per_check_on_the_same_images():
    monitor = Brightness()
    fit(monitor)
    assert monitor.planned == 1
    assert monitor.history["epoch"].tolist() == [1, 2, 3]
    assert monitor.history["mean"].nunique() == 1
    assert len(monitor._sample.labels) == 12


def test_a_failed_check_is_a_warning_and_its_random_numbers_are_taken_back():
    monitor = Brightness(fail_at=(1,))
    with pytest.warns(MeasurementWarning, match="Brightness could not measure at step 12, .* out of memory"):
        fit(monitor)
    assert monitor.history["epoch"].tolist() == [1, 3]
    after = torch.get_rng_state()
    fit(Brightness())
    assert torch.equal(torch.get_rng_state(), after)


def test_costs_are_logged():
    monitor = Brightness()
    logged = fit(monitor).callback_metrics
    assert float(logged["brightness/bytes"]) == 12 * (3 * 8 * 8 * 4 + 8)
    assert float(logged["brightness/seconds"]) > 0
    assert 0 < float(logged["brightness/overhead"]) < 1


def test_every_n_steps_and_every_n_epochs():
    steps, epochs = Brightness(every_n_train_steps=4), Brightness(every_n_epochs=2, name="other")
    fit(steps, callbacks=[steps, epochs])
    assert [round(e * 6) for e in steps.history["epoch"]] == [4, 8, 12, 16]
    assert epochs.history["epoch"].tolist() == [2]


def test_two_of_one_name_are_refused():
    class Contrast(Brightness):
        """Another monitor that would log under the same name."""

    with pytest.raises(ValueError, match="The `name` parameter of Brightness and Contrast must differ"):
        fit(None, callbacks=[Brightness(), Contrast()])


def test_a_second_fit_starts_anew_and_a_state_goes_on():
    monitor = Brightness()
    fit(monitor)
    fit(monitor)
    assert len(monitor.history) == 3
    fresh = Brightness()
    fresh.load_state_dict(monitor.state_dict())
    assert fresh.history.equals(monitor.history)
    assert fresh.schedule.state_dict()["last_step"] == monitor.schedule.last_step
