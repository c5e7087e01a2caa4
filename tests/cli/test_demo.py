import re

import pytest

from lightning_interp.cli.demo import demo
from tests.data.image_folder import write

SMALL = ["--quick", "--train_size=120", "--log_dir=logs"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def rows(text):
    """Cells of the closing table by their first column."""
    cells = [[cell.strip() for cell in re.split("[│┃|]", line)[1:-1]] for line in text.splitlines()]
    return {row[0]: row[1:] for row in cells if len(row) == 3}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_demo_ends_with_its_table_and_the_way_to_tensorboard(capsys, tmp_path):
    demo(SMALL)
    out = capsys.readouterr().out
    table = rows(out)
    names = ["stopped itself after", "weights it returns", "last epoch of a run that goes on"]
    assert list(table)[-5:] == [*names, "best epoch, chosen by the test set", "spent measuring"]
    assert table["last epoch of a run that goes on"][0] == "3"
    best, last = (float(table[name][1].rstrip("%")) for name in (list(table)[-2], names[2]))
    assert best >= last
    assert "tensorboard --logdir logs" in out
    assert list((tmp_path / "logs").rglob("events.out.tfevents*"))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_same_on_a_folder_of_pictures(capsys, tmp_path):
    write(tmp_path / "pictures", n=12)
    demo(["--data=pictures", "--label_noise=0", *SMALL])
    assert "0% of the labels" in capsys.readouterr().out.replace("\n", " ")
