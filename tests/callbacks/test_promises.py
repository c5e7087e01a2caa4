"""What every callback promises (design: "What a callback promises"), each promise with its test."""

import gc
import signal

import pytest
import torch
from torch import nn

from lightning_interp.callbacks import (
    ActivationMaximizationMonitor,
    CompressionMonitor,
    DeconvNetMonitor,
    FilterHealthMonitor,
    GeneralizationMonitor,
    HeatmapMonitor,
    NetworkDissectionMonitor,
    NMFEarlyStopping,
    PseudoLabelSelection,
)
from lightning_interp.datasets import ToyConcepts, ToyScenes
from tests.callbacks.conftest import SMALL, Net, PoolData, quiet_trainer, toy_loader
from tests.callbacks.processes import reports, run_code, run_script

pytestmark = pytest.mark.filterwarnings("ignore:PseudoLabelSelection chose no image")

SIGNALS_OF_EACH_KIND = ["gwa", "label_wave", "gradient_disparity", "parallel_heads", "susceptibility", "nmf_auc"]
MAKERS = {
    "ActivationMaximizationMonitor": lambda: ActivationMaximizationMonitor(
        {"features.5": [0, 1]}, every_n_epochs=1, steps=2
    ),
    "CompressionMonitor": lambda: CompressionMonitor(log_per_layer=True, **SMALL),
    "DeconvNetMonitor": lambda: DeconvNetMonitor(every_n_epochs=1, n_images=2, n_units=2),
    "FilterHealthMonitor": lambda: FilterHealthMonitor(per_class=5),
    "GeneralizationMonitor": lambda: GeneralizationMonitor(SIGNALS_OF_EACH_KIND, per_class=5, batches_per_class=2),
    "HeatmapMonitor": lambda: HeatmapMonitor(every_n_epochs=1, n_images=2, k=2),
    "NetworkDissectionMonitor": lambda: NetworkDissectionMonitor(
        ToyConcepts(ToyScenes(10, size=16)), every_n_epochs=1, batch_size=4
    ),
    "NMFEarlyStopping": lambda: NMFEarlyStopping(patience=99, **SMALL),
    # It is there to change the training; scoring and labelling alone must not.
    "PseudoLabelSelection": lambda: PseudoLabelSelection(0.0),
}


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


def flags_and_hooks(net):
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()]
    own_forward = ["forward" in vars(m) for m in net.modules()]
    return [m.training for m in net.modules()], hooks, own_forward, [p.requires_grad for p in net.parameters()]


def train(callbacks, **options):
    torch.manual_seed(3)
    net = Net()
    trainer = quiet_trainer(callbacks=callbacks, max_epochs=3, **options)
    trainer.fit(net, datamodule=PoolData())
    return net, trainer, torch.random.get_rng_state()


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}])
def test_training_is_bit_identical_with_the_callback_on_or_off(make, options):
    without, trainer, rng = train([], **options)
    with_it, measured, rng_too = train([make()], **options)
    for (name, a), (_, b) in zip(without.state_dict().items(), with_it.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert torch.equal(rng, rng_too)
    states = [t.optimizers[0].state_dict()["state"] for t in (trainer, measured)]
    assert all(torch.equal(states[0][i]["exp_avg"], states[1][i]["exp_avg"]) for i in states[0])
    assert flags_and_hooks(without) == flags_and_hooks(with_it)


def test_nothing_is_left_or_changed_in_the_middle_of_training(make):
    seen = []

    class Watching(Net):
        def on_train_batch_start(self, batch, batch_idx):
            self.features[1].eval()  # a frozen batch norm must stay frozen, and only it
            seen.append(flags_and_hooks(self))

    quiet_trainer(callbacks=[make()], max_epochs=3).fit(Watching(), datamodule=PoolData())
    assert all(state == seen[1] for state in seen[1:])


def test_gradients_survive_a_check(make):
    """With accumulation a check can fall between two backward passes: their gradients must add up as without it."""
    grads = []

    class Keeping(Net):
        def on_before_optimizer_step(self, optimizer):
            grads.append(self.head[1].weight.grad.clone())

    for callbacks in ([], [make()]):
        torch.manual_seed(0)
        trainer = quiet_trainer(callbacks=callbacks, accumulate_grad_batches=4, max_epochs=2)
        trainer.fit(Keeping(), datamodule=PoolData())
    half = len(grads) // 2
    assert all(torch.equal(a, b) for a, b in zip(grads[:half], grads[half:], strict=True))


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_other_precisions(precision):
    monitor, signals = CompressionMonitor(**SMALL), GeneralizationMonitor("all", per_class=5, batches_per_class=2)
    quiet_trainer(callbacks=[monitor, signals], precision=precision).fit(Net(), toy_loader())
    assert monitor.history["auc"].between(0, 1).all()
    assert signals.history[list(signals.signals)].notna().all().sum() > 20


def test_compiled_modules_are_measured_like_plain_ones():
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        monitor = CompressionMonitor(**SMALL)
        net = Net()
        if compiled:
            net.features = torch.compile(net.features, backend="eager")
        quiet_trainer(callbacks=[monitor]).fit(net, toy_loader())
        results.append(monitor.history["auc"].tolist())
    assert results[0] == results[1]


def test_a_compiled_lightning_module():
    torch.manual_seed(0)
    monitor = CompressionMonitor(**SMALL)

    class Silent(Net):  # self.log inside a compiled step is beyond torch.compile
        def training_step(self, batch, batch_idx):
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

    quiet_trainer(callbacks=[monitor]).fit(torch.compile(Silent(), backend="eager"), toy_loader())
    assert len(monitor.history) == 2


@pytest.mark.slow
def test_no_growth_over_fifty_epochs(make):
    """Neither hooks nor tensors grow (RSS itself is too noisy at this size: it is what tensors and objects make)."""
    counts = []

    class Counting(Net):
        def on_train_epoch_start(self):
            if self.current_epoch in (17, 49):  # thumbnails of snapshots are thinned out in between, at 17 to nine
                gc.collect()
                tensors = [o for o in gc.get_objects() if type(o) in (torch.Tensor, nn.Parameter)]
                counts.append((sum(flags_and_hooks(self)[1]), sum(t.nbytes for t in tensors), len(tensors)))

    quiet_trainer(callbacks=[make()], max_epochs=50).fit(Counting(), datamodule=PoolData(n_labeled=90))
    early, late = counts
    assert all(after <= before for after, before in zip(late, early, strict=True)), (early, late)


@pytest.mark.slow
def test_resident_memory_is_flat_over_fifty_epochs():
    code = (
        "import resource, torch\n"
        "from lightning_interp.callbacks import NMFEarlyStopping\n"
        "from tests.callbacks.conftest import SMALL, Net, quiet_trainer, toy_loader\n"
        "peaks = []\n"
        "class Counting(Net):\n"
        "    def on_train_epoch_start(self):\n"
        "        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        "stopper = NMFEarlyStopping(patience=99, **SMALL)\n"
        "quiet_trainer(callbacks=[stopper], max_epochs=50).fit(Counting(), toy_loader())\n"
        "print(peaks[10], peaks[49])"
    )
    run = run_code(code)
    assert run.returncode == 0, run.stderr
    early, late = map(int, run.stdout.split()[-2:])
    assert late < early + 20_000, f"peak memory grew from {early} to {late} kB"


RESUMABLE = """
import sys, os, signal, torch
from pytorch_lightning.callbacks import ModelCheckpoint, Callback
from lightning_interp.callbacks import NMFEarlyStopping
from tests.callbacks.conftest import SMALL, Net, quiet_trainer, toy_loader

class Kill(Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

class Seeded(Net):  # shuffling and dropout must be the same in both halves; that is not the callback's business
    def on_train_batch_start(self, batch, batch_idx):
        torch.manual_seed(self.global_step)

stopper = NMFEarlyStopping(patience=99, **SMALL)
saver = ModelCheckpoint(sys.argv[1], filename="last", enable_version_counter=False)
last = os.path.join(sys.argv[1], "last.ckpt")
net = Seeded()
trainer = quiet_trainer(callbacks=[stopper, saver, Kill()], max_epochs=6, enable_checkpointing=True)
trainer.fit(net, toy_loader(shuffle=False), ckpt_path=last if os.path.exists(last) else None)
print(stopper.history["relative_auc"].tolist(), stopper.best_epoch, float(net.head[1].weight.sum()))
"""


@pytest.mark.slow
def test_kill_and_resume_gives_the_run_that_was_never_killed(tmp_path):
    def run(folder, kill_at):
        return run_code(RESUMABLE, tmp_path / folder, kill_at)

    whole = run("whole", -1)
    killed = run("killed", 15)  # in the middle of the third epoch
    assert killed.returncode == -signal.SIGKILL
    resumed = run("killed", -1)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.splitlines()[-1] == whole.stdout.splitlines()[-1]


DISTRIBUTED = """
import sys, torch, warnings
from pytorch_lightning import Trainer
from lightning_interp.callbacks import NMFEarlyStopping
from tests.callbacks.conftest import QUIET, Net, toy_loader
from tests.callbacks.processes import report

class Frozen(Net):  # equal weights on any number of processes, so that only the measuring can differ
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def __init__(self):
        super().__init__()
        self.features[1].eval().requires_grad_(False)
        with torch.no_grad():  # colour i, which marks class i, goes straight through to score i
            for layer in (self.features[0], self.features[4], self.head[1]):
                layer.weight.zero_()
                layer.bias.zero_()
            for i in range(3):
                self.features[0].weight[i, i, 1, 1] = self.features[4].weight[i, i, 1, 1] = 1
                self.head[1].weight[i, i] = 1

    def on_train_epoch_start(self):
        self.features[1].eval()

if __name__ == "__main__":
    devices = int(sys.argv[1])
    sample = {"per_class": 5, "batches_per_class": 3, "ks": [1, 2, 4]}
    stopper = NMFEarlyStopping(rule="thesis", patience=2, smoothing=1, min_epochs=0, **sample)
    strategy = "ddp" if devices > 1 else "auto"
    options = {**QUIET, "enable_checkpointing": False, "max_epochs": 9, "devices": devices, "strategy": strategy}
    trainer = Trainer(callbacks=[stopper], **options)
    trainer.fit(Frozen(), toy_loader())
    counts = stopper.curve_.counts
    report(trainer.current_epoch, counts.correct.tolist(), counts.total.tolist(), stopper.stopped_reason)
"""


@pytest.mark.slow
def test_two_processes_measure_the_same_curve_and_stop_together(tmp_path):
    def results(devices):
        done = run_script(DISTRIBUTED, tmp_path, devices, timeout=300)
        assert done.returncode == 0, done.stderr
        return reports(done)

    (alone,) = results(1)
    both = results(2)
    assert both == [alone, alone]
    assert alone.startswith("3 ")  # a frozen network never improves: patience 2 ends it after the third check


TWIN = """
import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from lightning_interp.callbacks import NMFEarlyStopping
from lightning_interp.datamodules import ToyScenesDataModule
from lightning_interp.models import CIFAR10CNN
from lightning_interp.modules import Classifier

assert issubclass(Classifier, pl.LightningModule)
data = ToyScenesDataModule(n_train=60, n_test=20, batch_size=20)
stopper = NMFEarlyStopping(per_class=3, batches_per_class=1, ks=[1, 2], smoothing=1, patience=1, min_epochs=0)
options = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
trainer = pl.Trainer(max_epochs=2, callbacks=[stopper], **options)
trainer.fit(Classifier(CIFAR10CNN(data.n_classes, width=4)), datamodule=data)
print("OK", len(stopper.history))
"""


@pytest.mark.slow
def test_the_twin_package_with_our_modules_and_data():
    run = run_code(TWIN)
    assert "OK " in run.stdout, run.stderr


def test_a_trainer_of_the_twin_package_in_the_same_process():
    twin = pytest.importorskip("lightning.pytorch")

    class TwinNet(twin.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 3))

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, batch_idx):
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    stock = twin.callbacks.EarlyStopping("compression/nmf_auc", mode="max", patience=0, min_delta=10.0)
    stopper = NMFEarlyStopping(**SMALL)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = twin.Trainer(callbacks=[stock, stopper], max_epochs=5, enable_model_summary=False, **options)
    trainer.fit(TwinNet(), toy_loader())
    assert trainer.current_epoch == 2
    assert len(stopper.history) == 2
