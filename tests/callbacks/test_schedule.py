from types import SimpleNamespace

import pytest

from lightning_interp.callbacks import schedule as module
from lightning_interp.callbacks.schedule import Schedule


class Clock:
    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def trainer(epoch=0, step=0):
    return SimpleNamespace(current_epoch=epoch, global_step=step, strategy=SimpleNamespace(broadcast=lambda x: x))


def measure(schedule, clock, seconds, step=1):
    with schedule.measuring(trainer(step=step)):
        clock.now += seconds


def test_overhead_is_measuring_over_training(clock):
    schedule = Schedule(1, None, None, owner="X")
    schedule.start()
    clock.now += 90
    measure(schedule, clock, 9)
    clock.now += 10
    assert (schedule.training_seconds, schedule.measuring_seconds, schedule.last_seconds) == (100, 9, 9)
    assert schedule.overhead == pytest.approx(0.09)


def test_a_check_waits_until_it_is_affordable(clock):
    schedule = Schedule(1, None, 0.05, owner="X")
    schedule.start()
    assert schedule.due_after_epoch(trainer())  # nothing is known before the first one
    measure(schedule, clock, 5)
    clock.now += 199
    assert not schedule.due_after_epoch(trainer())
    clock.now += 1
    assert schedule.due_after_epoch(trainer())  # two checks of 5 s in 200 s


def test_epochs_and_steps(clock):
    every_third = Schedule(3, None, None, owner="X")
    assert [every_third.due_after_epoch(trainer(epoch=i)) for i in range(6)] == [False, False, True] * 2
    assert not every_third.due_after_step(trainer(step=3))
    steps = Schedule(1, 4, None, owner="X")
    assert [steps.due_after_step(trainer(step=i)) for i in range(6)] == [False] * 4 + [True, False]
    measure(steps, clock, 1, step=4)
    assert not steps.due_after_step(trainer(step=4))
    assert not steps.due_after_epoch(trainer())


def test_clocks_go_on_after_a_resume(clock):
    first = Schedule(1, None, None, owner="X")
    first.start()
    clock.now += 40
    measure(first, clock, 2, step=7)
    second = Schedule(1, None, None, owner="X")
    second.load_state_dict(first.state_dict())
    clock.now += 1000  # the night between
    second.start()
    clock.now += 10
    assert (second.training_seconds, second.measuring_seconds, second.last_step) == (50, 2, 7)


def test_time_is_counted_when_measuring_fails(clock):
    schedule = Schedule(1, None, None, owner="X")

    def fail():
        with schedule.measuring(trainer()):
            clock.now += 3
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert schedule.measuring_seconds == 3
