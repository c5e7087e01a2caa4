import json
import warnings

import pytest
import torch
from torch import nn

from lightning_interp.datamodules.oxford_paris import OxfordParisDataModule
from lightning_interp.exceptions import MeasurementWarning
from lightning_interp.functional.retrieval.average_precision import average_precision
from lightning_interp.functional.retrieval.descriptors import describe_images, learn_whitening
from lightning_interp.functional.retrieval.search import search
from lightning_interp.modules.retriever import Retriever
from tests.callbacks.conftest import quiet_trainer
from tests.callbacks.processes import one_and_two
from tests.data import oxford_paris


def net():
    torch.manual_seed(0)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)]
    return nn.Sequential(nn.Conv2d(3, 12, 5, stride=4), nn.ReLU(), *head)


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    found = {name: tmp_path_factory.mktemp(name) for name in ("oxford5k", "rparis6k")}
    for name, root in found.items():
        oxford_paris.write(root, name)
    return found


def run(roots, name="oxford5k", box="factors", **options):
    data = OxfordParisDataModule(roots[name], name=name, image_size=40, box=box)
    retriever = Retriever(net(), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MeasurementWarning)  # queries without a factor in their box
        logged = quiet_trainer().test(retriever, datamodule=data, verbose=False)[0]
    return logged, retriever, data


@pytest.mark.parametrize(("method", "box"), [("nmf_v", "factors"), ("nmf_vtu", "crop"), ("rmac", "crop")])
@pytest.mark.parametrize("name", ["oxford5k", "rparis6k"])
def test_it_logs_what_the_functions_give(roots, method, box, name):
    logged, _, data = run(roots, name, box, method=method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MeasurementWarning)
        database = describe_images(net(), data.database_dataloader(), method)
        boxes = torch.cat([batch[1] for batch in data.query_dataloader()]) if method.startswith("nmf") else None
        queries = describe_images(net(), data.query_dataloader(), method, boxes=boxes)
    rankings = search(queries.vectors, database.vectors).indices
    for protocol in data.protocols:
        judged = [query.relevance(protocol) for query in data.queries]
        found = [
            average_precision(database.positions[ranking], *lists, rule="trapezoid")
            for ranking, lists in zip(rankings, judged, strict=True)
        ]
        expected = torch.tensor(found).nanmean()
        assert logged[f"test/map_{protocol}"] == pytest.approx(float(expected), abs=1e-5)
    assert logged["test/n_skipped"] == 0


def test_rules_expansion_and_whitening_change_what_is_found(roots):
    plain, _, data = run(roots)
    whitening = learn_whitening(net(), data.database_dataloader(), "nmf_vtu", dim=6)
    others = [run(roots, **options)[0] for options in ({"rule": "finite_sum"}, {"expand": 3}, {"whitening": whitening})]
    values = {round(found["test/map_original"], 6) for found in (plain, *others)}
    assert len(values) == 4
    assert all(0 < value <= 1 for value in values)


def test_a_whitening_can_be_a_file(roots, tmp_path):
    _, _, data = run(roots)
    whitening = learn_whitening(net(), data.database_dataloader(), "nmf_vtu", dim=6)
    whitening.save(tmp_path / "w.safetensors")
    assert run(roots, whitening=str(tmp_path / "w.safetensors"))[0] == run(roots, whitening=whitening)[0]


def test_pictures_that_cannot_be_read_are_counted_and_named(tmp_path):
    oxford_paris.write(tmp_path, "oxford5k")
    (tmp_path / "oxbuild_images" / "keble_000004.jpg").write_bytes(b"no picture")
    data = OxfordParisDataModule(tmp_path, name="oxford5k", image_size=40, box="crop")
    with pytest.warns(MeasurementWarning, match=r"1 images could not be described and cannot be found: keble_000004"):
        logged = quiet_trainer().test(Retriever(net(), "mac"), datamodule=data, verbose=False)[0]
    assert logged["test/n_skipped"] == 1


def test_a_method_without_factors_wants_cuts(roots):
    with pytest.raises(ValueError, match=r"`box` parameter of `OxfordParisDataModule` must be 'crop' for method='mac'"):
        run(roots, method="mac")


def test_it_needs_queries():
    loader = torch.utils.data.DataLoader(torch.rand(2, 3, 8, 8))
    with pytest.raises(RuntimeError, match="needs a datamodule with queries"):
        quiet_trainer().test(Retriever(net()), loader, verbose=False)


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="`expand` parameter of `Retriever`"):
        Retriever(net(), expand=-1)
    with pytest.raises(ValueError, match="`rule` parameter of `Retriever`"):
        Retriever(net(), rule="voc")


SCRIPT = """
import json, sys, torch, warnings
warnings.simplefilter("ignore")
import pytorch_lightning as pl
from lightning_interp.datamodules.oxford_paris import OxfordParisDataModule
from lightning_interp.modules.retriever import Retriever
from tests.callbacks.processes import report
from tests.modules.test_retriever import net

if __name__ == "__main__":
    devices = int(sys.argv[1])
    data = OxfordParisDataModule(sys.argv[2], name="oxford5k", image_size=40, batch_size=4)
    retriever = Retriever(net())
    trainer = pl.Trainer(
        accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )
    trainer.test(retriever, datamodule=data, verbose=False)
    found = retriever.database.vectors()
    logged = float(trainer.callback_metrics["test/map_original"])
    report(json.dumps([logged, retriever.database.compute().tolist(), found.double().tolist()]))
"""


@pytest.mark.slow
def test_two_processes_describe_and_measure_like_one(roots, tmp_path):
    (alone,), both = one_and_two(SCRIPT, tmp_path, roots["oxford5k"])
    value, numbers, vectors = json.loads(alone)
    assert len(both) == 2
    for line in both:
        other_value, other_numbers, other_vectors = json.loads(line)
        assert other_numbers == numbers == list(range(len(numbers)))
        assert torch.allclose(torch.tensor(other_vectors), torch.tensor(vectors), atol=1e-4)
        assert other_value == pytest.approx(value, abs=1e-6)
