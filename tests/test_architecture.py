"""Imports go downward only, and what must be light is light."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "lightning_interp"
BASE = {"exceptions", "_checks", "_lightning", "_optional"}
MAY_IMPORT = {
    "hooks": set(),
    "datasets": set(),
    "models": set(),
    "functional": {"hooks"},
    "metrics": {"functional", "hooks"},
    "plots": {"functional"},
    "datamodules": {"datasets"},
    "modules": {"hooks", "models", "functional", "metrics"},
    "callbacks": {"hooks", "functional", "metrics", "plots"},
}
NO_LIGHTNING = {"hooks", "datasets", "models", "functional", "metrics", "plots"}
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path):
    """Absolute dotted names a module imports, also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def room(path):
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else parts[0].removesuffix(".py")


@pytest.mark.parametrize("name", ROOMS)
def test_imports_go_downward(name):
    if name == "cli":  # the top floor imports everything
        return
    for path in (PACKAGE / name).rglob("*.py"):
        for target in imports(path):
            if target.startswith("lightning_interp"):
                found = ([*target.split("."), ""])[1]
                assert found in BASE | MAY_IMPORT[name] | {name}, f"{path} imports {target}"


def test_base_modules_import_no_room():
    for path in PACKAGE.glob("*.py"):
        for target in imports(path):
            parts = target.split(".")
            assert parts[0] != "lightning_interp" or parts[1] in BASE, f"{path} imports {target}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_third_party_imports_stay_in_their_rooms(path):
    for target in imports(path):
        root = target.split(".")[0]
        if root == "matplotlib":
            assert room(path) == "plots" or target == "matplotlib.figure", f"{path} imports {target}"
        if root in {"pytorch_lightning", "lightning"}:
            assert path.name == "_lightning.py", f"{path} imports {target}"
        if target == "lightning_interp._lightning":
            assert room(path) not in NO_LIGHTNING, f"{path} imports {target}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_stay_small_and_tested(path):
    assert len(path.read_text().splitlines()) <= 300, f"{path} is too long: split it"
    if path.name.startswith("_"):
        return
    tests = PACKAGE.parent / "tests" / path.relative_to(PACKAGE).parent / f"test_{path.name}"
    assert tests.exists(), f"{path} has no {tests.name}"


@pytest.mark.parametrize("name", ROOMS)
def test_public_names_exist(name):
    module = importlib.import_module(f"lightning_interp.{name}")
    assert module.__all__
    assert all(hasattr(module, public) for public in module.__all__)


def test_import_costs_little_on_top_of_torch_and_lightning():
    code = (
        "import time, torch, torchmetrics, pytorch_lightning\n"
        "began = time.perf_counter()\n"
        "import lightning_interp.callbacks\n"
        "import sys; print(time.perf_counter() - began, 'sklearn' in sys.modules, 'pandas' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    seconds, sklearn, pandas = run.stdout.split()
    assert (sklearn, pandas) == ("False", "False")
    assert float(seconds) < 3.0, "the budget is 0.3 s; ten times that would be a real regression on a busy machine"
