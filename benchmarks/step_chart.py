"""Draws the results of `benchmarks.step`.

    python -m benchmarks.step_chart runs/step.json runs/step_published.json --output docs/performance.png

There is one panel for each host, number of joints and window length. It shows what a step costs as a multiple of the
plain step: one bar per kind of step, or, where several batch sizes were measured, one line per kind of step.
"""

from __future__ import annotations

import argparse
import json
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

matplotlib.use("Agg")


NAMES = {"simple": "SimpleBaseline", "temporal": "VideoPose3D", "seq2seq": "MixSTE"}


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Draw the measured rows, which are sorted by host, number of joints and window length."""
    by_size = [list(group) for _, group in groupby(rows, lambda row: (row["host"], row["joints"], row["frames"]))]
    heights = [1.0 + 0.26 * len({row["step"] for row in group}) for group in by_size]
    # One below the other: beside each other they could not be read on a phone.
    figure = Figure(figsize=(6.5, sum(heights)), layout="constrained")
    panels = figure.subplots(len(by_size), 1, squeeze=False, height_ratios=heights).flat
    for axes, group in zip(panels, by_size, strict=True):
        batches = sorted({row["batch"] for row in group})
        (_bars if len(batches) == 1 else _lines)(axes, [row for row in group if row["step"] != "plain"])
        window = "" if group[0]["host"] == "simple" else f", {group[0]['frames']} frames"
        batch = f", batch {batches[0]}" if len(batches) == 1 else ""
        axes.set_title(f"{NAMES[group[0]['host']]}, {group[0]['joints']} joints{window}{batch}", fontsize="medium")
    return figure


def _bars(axes: Axes, rows: list[dict[str, Any]]) -> None:
    values = [row["over_plain"] for row in rows]
    bars = axes.barh([row["step"] for row in rows], values)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set_xlim(0, 1.18 * max(values))  # room for the label of the longest bar
    axes.axvline(1, color="0.5", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel("step / plain step")


def _lines(axes: Axes, rows: list[dict[str, Any]]) -> None:
    for name in dict.fromkeys(row["step"] for row in rows):
        points = [(row["batch"], row["over_plain"]) for row in rows if row["step"] == name]
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.axhline(1, color="0.5", linewidth=1)
    axes.set_xscale("log", base=2)
    batches = sorted({row["batch"] for row in rows})
    axes.set_xticks(batches, labels=[str(batch) for batch in batches])
    axes.set_xlabel("batch size")
    axes.set_ylabel("step / plain step")
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.02, 0.5))  # beside the lines, not over them


def main(arguments: list[str] | None = None) -> Path:
    """Draw the figure and return its path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="JSON files that benchmarks.step wrote with --output")
    parser.add_argument("--output", type=Path, default=Path("runs/step.png"), help="picture to write")
    options = parser.parse_args(arguments)
    rows = [row for path in options.results for row in json.loads(path.read_text())["rows"]]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    draw(rows).savefig(options.output, dpi=120)
    return options.output


if __name__ == "__main__":
    main()
