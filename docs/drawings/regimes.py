"""Draws the table of regimes in docs/accuracy.md: what SEAL adds to the host, and to the strongest rival.

python -m docs.drawings.regimes
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

PAGE = Path(__file__).parents[1] / "accuracy.md"
CHANGE = re.compile(r"([+-][\d.]+) \[([+-][\d.]+), ([+-][\d.]+)\]")


class Regime(NamedTuple):
    """A row of the table: a change in percent and its 95 % interval, against the host and against the rival."""

    name: str
    rival: str
    against_host: tuple[float, float, float]
    against_rival: tuple[float, float, float]


def regimes(page: str) -> list[Regime]:
    """Read the rows of the table that hold two changes with intervals."""
    rows = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        changes = [tuple(map(float, found)) for cell in cells for found in CHANGE.findall(cell)]
        if line.startswith("| regime"):
            rival = cells.index("strongest rival")
        elif len(changes) == 2 and len(cells) > 2:
            name = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", cells[0])
            rows.append(Regime(name, cells[rival], *changes))  # type: ignore[arg-type]
    return rows


def draw(rows: list[Regime]) -> Figure:
    """Draw two intervals for each regime, each with what SEAL is compared with written beside it."""
    figure = Figure(figsize=(6.5, 1 + 0.6 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, regime in enumerate(rows):
        for shift, change, other, colour in (
            (-0.18, regime.against_host, "the host", "0.45"),
            (0.18, regime.against_rival, regime.rival, "tab:blue"),
        ):
            point, low, high = change
            axes.plot([low, high], [place + shift] * 2, color=colour, linewidth=3)
            axes.plot(point, place + shift, "o", color=colour, markersize=8)
            label = axes.annotate(f"against {other}", (high, place + shift), (8, 0), textcoords="offset points")
            label.set(va="center", color=colour, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [regime.name for regime in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.margins(x=0.25)  # room for the words beside the intervals
    axes.set_xlabel("← SEAL is better      change (%)      SEAL is worse →")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    return figure


if __name__ == "__main__":
    draw(regimes(PAGE.read_text(encoding="utf-8"))).savefig(PAGE.with_name("accuracy.png"), dpi=110)
