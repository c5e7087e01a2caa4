"""The base of all callbacks, through the smallest one there can be."""

import pytest
import torch

from lightning_interp.callbacks.logs import log_values
from lightning_interp.callbacks.periodic import PeriodicCallback
from lightning_interp.exceptions import MeasurementWarning
from tests.callbacks.conftest import Net, quiet_trainer, toy_loader


class Dice(PeriodicCallback):
    """Draws a number and keeps its rounding; fails with ``error`` at its second check."""

    def __init__(self, error=None, **options):
        super().__init__(**{"name": "dice", **options})
        self.error, self.planned = error, 0

    def _plan(self, trainer, module):
        self.planned += 1
        torch.rand(3)  # a careless plan and a careless measurement draw from the global random state

    def _measure(self, trainer, module, epoch):
        drawn = self._attempt(trainer, self._throw, round)
        if drawn is not None:
            self.history_.append({"epoch": epoch, "step": trainer.global_step, "drawn": drawn})
            log_values(trainer, module, self._costs())

    def _throw(self):
        if len(self.history_) == 1 and self.error is not None:
            error, self.error = self.error, None
            raise error
        return 6 * float(torch.rand(()))

    def _held_bytes(self):
        return 7


def fit(callback, **options):
    trainer = quiet_trainer(**{"callbacks": [callback], "max_epochs": 3, **options})
    torch.manual_seed(0)
    trainer.fit(Net(), toy_loader())
    return trainer


def test_a_plan_and_a_row_per_check_and_the_random_state_as_if_nothing_had_been():
    fit(None, callbacks=[])
    alone = torch.get_rng_state()
    dice = Dice()
    trainer = fit(dice)
    assert torch.equal(torch.get_rng_state(), alone)
    assert dice.planned == 1
    assert dice.history["step"].tolist() == [6, 12, 18]
    assert all(isinstance(row["drawn"], int) for row in dice.history_)
    assert trainer.callback_metrics["dice/bytes"] == 7
    assert 0 < trainer.callback_metrics["dice/seconds"] < dice.schedule.measuring_seconds


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), ValueError("NaN")])
def test_a_check_that_fails_is_a_warning(error):
    dice = Dice(error)
    text = f"Dice could not measure at step 12, training goes on: {error}"
    with pytest.warns(MeasurementWarning, match=text) as caught:
        fit(dice)
    assert dice.history["epoch"].tolist() == [1, 3]
    (lost,) = (warning for warning in caught if warning.category is MeasurementWarning)
    assert lost.filename == __file__  # points at the measurement


def test_a_bug_is_no_failed_check():
    with pytest.raises(KeyError):
        fit(Dice(KeyError("typo")))


def test_the_other_ranks_learn_of_a_failure(monkeypatch):
    dice = Dice()
    trainer = quiet_trainer(callbacks=[dice])
    monkeypatch.setattr(type(trainer.strategy), "reduce_boolean_decision", lambda self, decision, all: False)
    with pytest.warns(MeasurementWarning, match="another rank failed"):
        trainer.fit(Net(), toy_loader())
    assert dice.history.empty


def test_a_state_is_a_copy_and_goes_on():
    dice, fresh = Dice(), Dice()
    fit(dice)
    state = dice.state_dict()
    fresh.load_state_dict(state)
    assert fresh.history.equals(dice.history)
    assert fresh.schedule.measuring_seconds == dice.schedule.measuring_seconds
    fresh.history_[0]["drawn"] = 99
    assert state["history"][0]["drawn"] == dice.history_[0]["drawn"] != 99


def test_a_fit_forgets_and_a_test_does_not():
    dice = Dice()
    trainer = fit(dice)
    dice.setup(trainer, trainer.lightning_module, "test")
    assert len(dice.history) == 3
    dice.setup(trainer, trainer.lightning_module, "fit")
    assert dice.history.empty
    assert dice.schedule.measuring_seconds == 0


def test_names_tell_callbacks_apart():
    class Cards(Dice):
        """Another callback that would log under the same name."""

    with pytest.raises(ValueError, match=r"The `name` parameter of Dice and Cards must differ.*Got 'dice' twice"):
        fit(None, callbacks=[Dice(), Cards()])
    both = [Dice(), Dice(name="other")]
    fit(None, callbacks=both)
    assert [len(dice.history) for dice in both] == [3, 3]


def test_images_come_as_the_network_takes_them():
    class Feeding(Dice):
        def _measure(self, trainer, module, epoch):
            self.given = self._converted(torch.rand(2, 3, 8, 8), trainer, module)

    feeding = Feeding()
    fit(feeding, precision="bf16-true", max_epochs=1)
    assert feeding.given.dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["every_n_epochs", "every_n_train_steps"])
def test_an_interval_of_none_is_refused(name):
    with pytest.raises(ValueError, match=f"The `{name}` parameter of `Dice` must be an int in \\[1, inf\\). Got 0"):
        Dice(**{name: 0})
