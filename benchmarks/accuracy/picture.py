"""The picture of a study: which error each method trades for which, how often it fails badly, and how it learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.accuracy.errors import RESCALINGS, Rescaling
from benchmarks.accuracy.outcome import Outcome

__all__ = ["draw"]

UNITS = {"MPJPE": "mm", "BSLE": "%", "asymmetry": "mm"}


def draw(outcomes: Mapping[str, Outcome], primary: Sequence[str]) -> Figure:
    """Draw the primary errors against each other along the rescalings, the tail of the MPJPE, and the learning curves.

    Args:
        outcomes: The outcome of every method, by name.
        primary: Names of the primary errors, MPJPE first.
    """
    figure = Figure(figsize=(16, 4.5), layout="constrained")
    panels = figure.subplots(1, len(primary) + 1)
    plain = RESCALINGS.index(Rescaling())
    straight = [place for place, how in enumerate(RESCALINGS) if not how.symmetrise]
    for axes, other in zip(panels, primary[1:], strict=False):
        column = primary.index(other)
        for name, outcome in outcomes.items():
            (line,) = axes.plot(*outcome.frontier[straight][:, [column, 0]].T, ".-", linewidth=1, label=name)
            axes.plot(*outcome.frontier[plain, [column, 0]], "o", color=line.get_color())
        axes.set_xlabel(f"{other} ({UNITS[other]})")
        axes.set_ylabel("MPJPE (mm)")
    panels[0].set_title("large dot: as predicted; small dots: bones moved to their mean lengths", fontsize="small")
    *_, tail, learning = panels
    for name, outcome in outcomes.items():
        share = 100 * (1 - np.arange(len(outcome.tail)) / len(outcome.tail))
        tail.plot(outcome.tail, share, linewidth=1, label=name)
        steps, values = outcome.curve
        learning.plot(steps, 1e3 * values, linewidth=1)
    tail.set_yscale("log")
    tail.set_xlabel("MPJPE (mm)")
    tail.set_ylabel("poses with a larger error (%)")
    learning.set_xlabel("step")
    learning.set_ylabel("validation MPJPE (mm)")
    figure.legend(*tail.get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize="x-small")
    return figure
