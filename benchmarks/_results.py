"""Write benchmark rows as JSON and as a Markdown table, with all it takes to run them again."""

import json
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "pytorch-lightning", "torchmetrics", "torchvision", "torchnmf")


def write_results(
    name: str, rows: list[dict[str, Any]], *, seeds: list[int], notes: str = "", folder: Path | None = None
) -> Path:
    """Write ``<name>.json`` and ``<name>.md``; returns the path of the table.

    Args:
        name: stem of both files.
        rows: one dict per line of the table; missing cells stay empty.
        seeds: all seeds the run used.
        notes: what a reader must know to judge the numbers.
        folder: where to, ``results`` by default.
    """
    folder = folder or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "command": " ".join(["python", "-m", _module(), *sys.argv[1:]]),
        "commit": _commit(),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "seeds": seeds,
        "notes": notes,
    }
    (folder / f"{name}.json").write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    table = folder / f"{name}.md"
    lines = [f"- {key}: {_inline(value)}" for key, value in facts.items() if value]
    table.write_text("\n".join([f"# {name}", "", *lines, "", *markdown(rows), ""]), encoding="utf-8")
    return table


def machine() -> dict[str, Any]:
    """CPU, cores, threads, load, accelerator and versions."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        **{package: found for package in _PACKAGES if (found := _version(package))},
    }


def markdown(rows: list[dict[str, Any]]) -> list[str]:
    """The lines of a Markdown table whose columns are the keys of all rows, in order of appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    body = [[_cell(row.get(column)) for column in columns] for row in rows]
    return [f"| {' | '.join(cells)} |" for cells in [columns, ["---"] * len(columns), *body]]


def _module() -> str:
    """Dotted name of the script that runs, as ``python -m`` takes it."""
    path = Path(sys.argv[0]).resolve().with_suffix("")
    root = RESULTS.parents[1]
    return ".".join(path.relative_to(root).parts) if path.is_relative_to(root) else path.name


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _inline(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items() if v) if isinstance(value, dict) else str(value)


def _commit() -> str:
    root = Path(__file__).parent
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].split(":")[1].strip() if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
