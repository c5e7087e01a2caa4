"""The README's Python blocks run, and its numbers are those of the benchmark results."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_python_blocks_run(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[number], f"README block {number}", "exec"), {"__name__": "readme"})


def test_there_are_blocks_and_every_table_is_filled():
    assert len(BLOCKS) >= 3
    assert len(re.findall(r"<!-- table: \w+ -->\n\| ", README)) == README.count("<!-- table:") >= 3


def test_numbers_are_those_of_the_results():
    from benchmarks import tables

    assert tables.fill(README) == README, "run `make tables`"


def test_files_and_make_targets_it_names_exist():
    for target in re.findall(r"\]\(([\w./-]+)\)", README):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text()
    for verb in set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)):
        assert re.search(rf"^{verb}:", makefile, re.MULTILINE), verb
    for example in re.findall(r"examples/[\w.]+", README):
        assert (ROOT / example).exists(), example
