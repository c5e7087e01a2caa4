"""Write the numbers of ``benchmarks/results`` into README.md, between its markers: ``make tables``."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks._results import RESULTS, markdown

README = Path(__file__).parents[1] / "README.md"
_THESIS = "NMF AuC, rule of the thesis"
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


def early_stopping(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every method, as it was set, that beats the last epoch, and the thesis's; points of test accuracy, best first."""
    last = next(row["regret"] for row in rows if row["method"] == "last epoch")
    lines = []
    for row in sorted(rows, key=lambda row: row["regret"]):
        if row["regret"] >= last and row["method"] not in ("last epoch", _THESIS):
            continue
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


def memorization_noise_grid(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per noise level: compression and ablation by NMF, from three experiments on the same networks."""
    multi, ablated = (_rows(f"memorization_{name}") for name in ("multi_class", "ablate_directions"))
    lines = []
    for row in (row for row in rows if row["method"] == "NMF"):
        mixed = next(other for other in multi if other["p"] == row["p"] and other["batches"] == "multi-class")
        without = {other["ablated"]: other["AuC"] for other in ablated if other["p"] == row["p"]}
        line = {"noise p": f"{row['p']:g}", "test accuracy": f"{100 * row['test accuracy']:.0f} %"}
        line |= {f"accuracy at K = {k}": f"{100 * row[f'K={k}']:.0f} %" for k in (1, 2, 4)}
        line |= {"AuC": f"{row['AuC']:.2f}", "AuC, mixed classes": f"{mixed['AuC']:.2f}"}
        line |= {f"AuC, {name} ablated": f"{value:.2f}" for name, value in without.items()}
        lines.append(line)
    return lines


def _rows(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((RESULTS / f"{name}.json").read_text())["rows"]
    return rows


def image_score(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Precision of what each ranking keeps, and accuracy of its students, in percent; readings in a table apart."""
    names = {f"precision {share}%": f"{share} %" for share in (5, 10, 20, 30, 50)}
    names |= {"overlap with softmax": "shared with softmax", "student accuracy": "student"}
    shown = [row for row in rows if "student accuracy" in row]
    cells = [{new: f"{100 * row[old]:.1f}" for old, new in names.items() if old in row} for row in shown]
    return [{"ranking": row["ranking"].replace("_", " "), **each} for row, each in zip(shown, cells, strict=True)]


def image_score_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per network and batch size: the default reading, and the slowest of the others."""
    lines = []
    for network, size in dict.fromkeys((row["network"], row["batch size"]) for row in rows):
        first, *others = [row for row in rows if (row["network"], row["batch size"]) == (network, size)]
        slowest = max(others, key=lambda row: row["times forward"])
        line = {"network": network, "pixels": first["side"], "batch": size}
        line |= {"forward, ms per image": f"{first['forward, ms per image']:.2f}"}
        line |= {"scores": f"{first['times forward']:.2f}x", "state": f"{first['state, MB']:.1f} MB"}
        line |= {"slowest reading": f"{slowest['times forward']:.2f}x ({slowest['reading'].replace('_', ' ')})"}
        lines.append(line)
    return lines


def dissection(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per network: its last block's last layer, and all of the block."""
    lines = []
    for network in dict.fromkeys(row["network"] for row in rows):
        one, block = [row for row in rows if row["network"] == network]
        line = {"network": network, "image": one["image side"], "masks": one["mask side"], "units": one["units"]}
        line |= {"two passes, ms per image": f"{one['two passes, ms per image']:.1f}"}
        line |= {"last layer": f"{one['times two passes']:.2f}x", "last block": f"{block['times two passes']:.2f}x"}
        line |= {"units of the block": block["units"]}
        lines.append(line)
    return lines


def synthesis(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Steps per second of activation maximisation over torch-lucent's, and what both reach."""
    lines = []
    for row in rows:
        line = {"network": row["network"], "image": row["side"], "layer": row["layer"], "images": row["images"]}
        line |= {"steps per second over lucent": f"{row['steps per second over lucent']:.1f}x"}
        line |= {"with frozen weights": f"{row['steps per second over lucent with frozen weights']:.1f}x"}
        line |= {name: f"{row[name]:.3g}" for name in ("activation, start", "activation, ours", "activation, lucent")}
        lines.append(line)
    return lines


def synthesis_deconvnet(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per network and layer: time over the bare backward passes, ours and captum's."""
    lines = []
    for row in rows:
        line = {"network": row["network"], "ReLU": row["ReLU"], "layer": row["layer"]}
        line |= {"ours": f"{row['ours, times bare']:.2f}x", "captum": f"{row['captum, times bare']:.1f}x"}
        line |= {"relative difference": f"{row['difference to captum']:.2g}"}
        lines.append(line)
    return lines


def localization(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per network and method: the object that a set of images shares, as mask and as box."""
    lines = []
    for row in rows:
        line = {"network": row["network"], "method": row["method"]}
        line |= {"IoU": f"{row['IoU']:.2f} ± {row['IoU sd']:.2f}", "cut": row["cut"]}
        line |= {"IoU at 0.75": f"{row['IoU at 0.75']:.2f}"}
        line |= {"CorLoc": f"{100 * row['CorLoc']:.0f} %", "ms per image": f"{row['ms per image']:.1f}"}
        lines.append(line)
    return lines


def retrieval(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per network, descriptor and use of the box; plain and whitened on both worlds, with standard errors."""
    lines = []
    for network, method, box in dict.fromkeys((row["network"], row["method"], row.get("box")) for row in rows):
        line = {"network": network, "descriptor": method, "box": box or ""}
        own = [row for row in rows if (row["network"], row["method"], row.get("box")) == (network, method, box)]
        for world, score in (("categories", "mAP@30"), ("instances", "mAP")):
            for name, whitened in (("", False), (", whitened", True)):
                cells = [row for row in own if row["world"] == world and bool(row.get("whitened to")) == whitened]
                line[f"{world}, {score}{name}"] = _percent(cells[0], score) if cells else ""
        lines.append(line)
    return lines


def _percent(row: dict[str, Any], score: str) -> str:
    if score not in row:
        return ""
    error = row.get(f"{score} s.e.")
    return f"{row[score]:.0f}" if error is None else f"{row[score]:.0f} ± {error:.0f}"


def retrieval_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per network: every descriptor over the forward pass, and scikit-learn's NMF over ours."""
    lines = []
    for network in dict.fromkeys(row["network"] for row in rows):
        own = {row["method"]: row for row in rows if row["network"] == network}
        first = own["nmf_v"]
        line = {"network": network, "image": first["side"], "map": first["map"]}
        line["forward, ms per image"] = f"{first['forward, ms per image']:.1f}"
        for method in ("nmf_v", "nmf_vtu", "mac", "gem", "crow", "rmac", "cam"):
            line[method] = f"{own[method]['times forward']:.2f}x" if method in own else ""
        line["scikit-learn over ours"] = f"{first['scikit-learn, times ours']:.1f}x"
        line["errors"] = f"{first['error, ours']:.3f}, {first['error, scikit-learn']:.3f}"
        lines.append(line)
    return lines


def inverse_set(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per sampler: means over neurons and levels, and how often ours is more diverse."""
    ours = {(row["neuron"], row["level"]): row["diversity"] for row in rows if row["sampler"] == "ours"}
    lines = []
    for sampler in dict.fromkeys(row["sampler"] for row in rows):
        own = [row for row in rows if row["sampler"] == sampler]
        known = [row for row in own if "diversity" in row]
        less = sum(row["diversity"] < ours[row["neuron"], row["level"]] for row in known)
        line = {"images": sampler, "in range": f"{100 * _mean(own, 'in range'):.0f} %"}
        line |= {"lowest": f"{100 * min(row['in range'] for row in own):.0f} %"}
        line |= {"diversity": f"{_mean(known, 'diversity'):.1f}" if known else ""}
        line |= {"ours is more diverse": "" if sampler == "ours" else f"{less} of {len(known)}"}
        line |= {"to the nearest training image": f"{_mean(own, 'nearest training image'):.1f}"}
        line |= {"size of codes": f"{_mean(own, 'code size'):.1f}" if "code size" in own[0] else ""}
        line |= {"gradient steps": f"{_mean(own, 'steps'):.0f}", "seconds": f"{_mean(own, 'seconds'):.1f}"}
        lines.append(line)
    return lines


def _mean(rows: list[dict[str, Any]], name: str) -> float:
    """Over the rows that have it."""
    return fmean(row[name] for row in rows if name in row)


TABLES: dict[str, Callable[[list[dict[str, Any]]], list[dict[str, Any]]]] = {
    "nmf": nmf,
    "check_cost": check_cost,
    "dissection": dissection,
    "early_stopping": early_stopping,
    "image_score": image_score,
    "localization": localization,
    "image_score_time": image_score_time,
    "inverse_set": inverse_set,
    "memorization_noise_grid": memorization_noise_grid,
    "retrieval": retrieval,
    "retrieval_time": retrieval_time,
    "synthesis": synthesis,
    "synthesis_deconvnet": synthesis_deconvnet,
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
