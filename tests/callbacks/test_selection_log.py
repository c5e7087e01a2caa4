import math
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch.nn.functional import one_hot

from lightning_interp.callbacks.selection_log import Selection, log_pool_figures, selection_values, write_selection
from lightning_interp.exceptions import MeasurementWarning
from lightning_interp.functional.selection import ImageScores
from tests.callbacks.conftest import ColourData, PoolData

LABELS = torch.tensor([0, 0, 0, 1, 1, 2])
TRUTH = torch.tensor([0, 0, 1, 1, 2, 2])
POOL = ImageScores(torch.tensor([-1.0, -2.0, -3.0, -1.5, float("nan"), -0.5]), LABELS, one_hot(LABELS, 4).float())


def chosen(rows, epoch=3):
    rows = torch.tensor(rows, dtype=torch.long)
    return Selection(rows, LABELS[rows], POOL.scores[rows], epoch)


class TestValues:
    def test_by_hand(self):
        rival = torch.tensor([0, 5])
        values = selection_values(chosen([0, 2, 3, 5]), POOL, truth=TRUTH, softmax_rows=rival)
        assert values.pop("balance") == pytest.approx((0.5 * math.log(2) + 2 * 0.25 * math.log(4)) / math.log(4))
        assert values == {
            "n_chosen": 4,
            "n_skipped": 1,
            "overlap_softmax": 0.5,
            **{"n_chosen/0": 2, "n_chosen/1": 1, "n_chosen/2": 1, "n_chosen/3": 0},
            "purity": 0.75,
            "pool_accuracy": pytest.approx(4 / 6),
        }
        assert all(isinstance(value, float) for value in values.values())

    def test_what_is_unknown_is_left_out(self):
        values = selection_values(chosen([0]), POOL, truth=None, softmax_rows=None)
        assert not {"purity", "pool_accuracy", "overlap_softmax"} & set(values)

    def test_nothing_chosen_is_counted(self):
        values = selection_values(chosen([]), POOL, truth=TRUTH, softmax_rows=torch.tensor([1]))
        assert (values["n_chosen"], values["n_chosen/0"], values["pool_accuracy"]) == (0, 0, pytest.approx(4 / 6))
        assert all(math.isnan(values[name]) for name in ("purity", "balance", "overlap_softmax"))

    def test_of_boxes_only_numbers(self):
        boxes = [{"labels": torch.tensor([3, 1])}, {"labels": torch.tensor([2])}]
        selection = Selection(torch.tensor([4, 1]), boxes, torch.zeros(2), 1)
        assert selection_values(selection, POOL, truth=TRUTH, softmax_rows=None) == {"n_chosen": 2, "n_skipped": 1}


class TestTable:
    def test_columns_and_rows(self, tmp_path):
        path = tmp_path / "new" / "chosen.csv"
        write_selection(path, chosen([0, 5], epoch=1))
        write_selection(path, chosen([3], epoch=2))
        table = pd.read_csv(path)
        assert table.columns.tolist() == ["index", "label", "score", "epoch"]
        assert table.to_numpy().tolist() == [[0, 0, -1.0, 1], [5, 2, -0.5, 1], [3, 1, -1.5, 2]]

    def test_rows_of_a_run_that_is_done_again_are_replaced(self, tmp_path):
        path = tmp_path / "chosen.csv"
        for epoch in (1, 2, 3):
            write_selection(path, chosen([0, epoch], epoch=epoch))
        write_selection(path, chosen([5], epoch=2))
        assert pd.read_csv(path)[["epoch", "index"]].to_numpy().tolist() == [[1, 0], [1, 1], [2, 5]]

    def test_scores_come_back_as_they_were(self, tmp_path):
        path, scores = tmp_path / "chosen.csv", -torch.rand(6)
        write_selection(path, Selection(torch.arange(6), LABELS, scores, 1))
        assert torch.equal(torch.tensor(pd.read_csv(path)["score"].to_numpy()).float(), scores)

    @pytest.mark.parametrize("order", [([], [1]), ([1], []), ([], [])])
    def test_an_epoch_without_any(self, tmp_path, order):
        path = tmp_path / "chosen.csv"
        for epoch, rows in enumerate(order):
            write_selection(path, chosen(rows, epoch=epoch))
        table = pd.read_csv(path)
        assert table.columns.tolist() == ["index", "label", "score", "epoch"]
        assert table["index"].tolist() == [1] * sum(map(len, order))
        assert path.read_text().count("1,0,-2.0") == sum(map(len, order))  # ints stay ints

    def test_classes_of_the_boxes(self, tmp_path):
        boxes = [{"labels": torch.tensor([3, 1])}, {"labels": torch.zeros(0, dtype=torch.long)}]
        write_selection(tmp_path / "boxes.csv", Selection(torch.tensor([4, 1]), boxes, torch.zeros(2), 1))
        assert (tmp_path / "boxes.csv").read_text().splitlines()[1:] == ["4,3 1,0.0,1", "1,,0.0,1"]


class TestFigures:
    @pytest.fixture
    def trainer(self, tmp_path):
        figures = {}
        experiment = SimpleNamespace(add_figure=lambda tag, figure, **_: figures.update({tag: figure}))
        logger = SimpleNamespace(experiment=experiment)
        return SimpleNamespace(
            is_global_zero=True, barebones=False, loggers=[logger], global_step=1, figures=figures, log_dir=tmp_path
        )

    def log(self, trainer, data, pool, truth):
        data.setup("fit")
        log_pool_figures(trainer, "p", data, pool, truth)
        return {tag.removeprefix("p/"): figure for tag, figure in trainer.figures.items()}

    def test_three_where_the_truth_is_known_else_two(self, trainer):
        figures = self.log(trainer, PoolData(), POOL, TRUTH)
        assert set(figures) == {"histogram", "intervals", "best_and_worst"}
        assert all(isinstance(figure, Figure) for figure in figures.values())
        trainer.figures.clear()
        assert set(self.log(trainer, PoolData(), POOL, None)) == {"histogram", "best_and_worst"}

    def test_pictures_are_shown_as_they_were_before_normalisation(self, trainer):
        data = ColourData()
        strip = self.log(trainer, data, POOL, TRUTH)["best_and_worst"]
        best = strip.axes[0].images[0].get_array()  # score -0.5: image 5
        raw = data.read("train")[int(data.unlabeled_dataset.indices[5])][0]
        assert torch.allclose(torch.tensor(best), raw.permute(1, 2, 0), atol=1e-6)
        assert strip.axes[0].get_title().splitlines() == ["-0.50", "blue", "right"]

    def test_no_image_is_shown_twice_and_none_without_a_score(self, trainer):
        strip = self.log(trainer, PoolData(), POOL, TRUTH)["best_and_worst"]
        shown = [axis.get_title().split("\n")[0] for axis in strip.axes if axis.images]
        assert shown == ["-0.50", "-1.00", "-1.50", "-3.00", "-2.00"]

    def test_of_many_the_ends_are_shown(self, trainer):
        scores = torch.linspace(-3, 0, 60)[torch.randperm(60, generator=torch.Generator().manual_seed(0))]
        pool = ImageScores(scores, torch.arange(60) % 3, torch.eye(3)[torch.arange(60) % 3])
        strip = self.log(trainer, PoolData(), pool, None)["best_and_worst"]
        shown = [axis.get_title().split("\n")[0] for axis in strip.axes if axis.images]
        ends = scores.sort().values
        assert shown == [f"{score:.2f}" for score in (*ends.flip(0)[:8].tolist(), *ends[:8].tolist())]

    def test_detectors_have_no_classes_to_be_right_about(self, trainer):
        pool = ImageScores(POOL.scores, torch.zeros(6, dtype=torch.long), torch.ones(6, 1))
        assert set(self.log(trainer, PoolData(), pool, TRUTH)) == {"histogram", "best_and_worst"}

    def test_no_scores_at_all_cost_warnings(self, trainer):
        pool = ImageScores(torch.full((6,), float("nan")), LABELS, POOL.probabilities)
        with pytest.warns(MeasurementWarning, match="The figure 'p/.*' was left out") as caught:
            assert self.log(trainer, PoolData(), pool, None) == {}
        assert len(caught) == 2
