"""Write the numbers of ``benchmarks/results`` into README.md, between its markers: ``make tables``."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks._results import RESULTS, markdown

README = Path(__file__).parents[1] / "README.md"
_PEERS = ("scikit-learn CD", "plain torch MU", "torchnmf")


def nmf(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per matrix and rank: our seconds, and how many times longer each peer takes to the same error."""
    lines = []
    for matrix, k in dict.fromkeys((row["matrix"], row["k"]) for row in rows if row.get("target")):
        cells = {row["method"]: row for row in rows if (row["matrix"], row["k"]) == (matrix, k)}
        line = {"matrix": matrix, "k": k, "error": f"{cells['ours']['target']:.3f}"}
        line["ours, s"] = f"{cells['ours']['seconds']:.2f}"
        for peer in _PEERS:
            cut = "" if cells[peer]["reached"] == "yes" else "> "
            line[peer] = f"{cut}{cells[peer]['times ours']:.1f}x"
        lines.append(line)
    return lines


def cifar10_early_stopping(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Accuracies and regrets in percent."""
    names = ("test accuracy", "regret", "best possible")
    return [{**row, **{name: f"{100 * row[name]:.1f} %" for name in names}} for row in rows]


def early_stopping(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per method, tuned on the calibration runs where it could be; points of test accuracy, best first."""
    order = ("ours", "tuned", "native", "control", "common")
    chosen: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: order.index(row["set"])):
        chosen.setdefault(row["method"], row)
    lines = []
    for row in sorted(chosen.values(), key=lambda row: row["regret"]):
        line = {"method": row["method"].replace("_", " "), "set": row["set"], "regret": f"{row['regret']:.1f}"}
        line |= {name[7:]: f"{value:.1f}" for name, value in row.items() if name.startswith("regret ")}
        line |= {
            "worst": f"{row['worst regret']:.1f}",
            "stops": f"{row['triggered']:.0%}",
            "cost": f"{row['cost']:.0%}",
        }
        differs = "p (Holm)" in row
        line["minus ours"] = f"{row['minus ours']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]" if differs else ""
        lines.append(line)
    return lines


def check_cost(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The shares in percent, the rest as it is."""
    shares = ("check / epoch", "images read / epoch")
    return [{**row, **{name: f"{100 * row[name]:.1f} %" for name in shares}} for row in rows]


TABLES: dict[str, Callable[[list[dict[str, Any]]], list[dict[str, Any]]]] = {
    "nmf": nmf,
    "cifar10_early_stopping": cifar10_early_stopping,
    "check_cost": check_cost,
    "early_stopping": early_stopping,
}


def render(name: str) -> str:
    """The Markdown of one table, with where its numbers come from."""
    result = json.loads((RESULTS / f"{name}.json").read_text())
    machine = f"{result['machine']['cpu']}, {result['machine']['cores']} cores"
    source = f"`{result['command']}`, {result['date'][:10]}, commit {result['commit']}, {machine}"
    return "\n".join([*markdown(TABLES[name](result["rows"])), "", f"<sub>{source}</sub>"])


def fill(text: str) -> str:
    """``text`` with every marked table written anew."""
    pattern = re.compile(r"(<!-- table: (\w+) -->\n)(?:.*?\n)??(<!-- end -->)", re.DOTALL)
    return pattern.sub(lambda m: f"{m[1]}{render(m[2])}\n{m[3]}", text)


def main() -> None:
    new = fill(README.read_text(encoding="utf-8"))
    if "--check" in sys.argv and new != README.read_text(encoding="utf-8"):
        sys.exit("README.md does not show the numbers of benchmarks/results. Run `make tables`.")
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
