"""The picture of a study: by how much each method changes the errors, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from matplotlib.figure import Figure

from benchmarks.accuracy.errors import ERRORS
from benchmarks.accuracy.outcome import PRIMARY, Outcome
from benchmarks.accuracy.statistics import ByClip, interval
from benchmarks.accuracy.study import Study
from benchmarks.accuracy.tables import Comparisons, half
from benchmarks.accuracy.tail import TAIL

__all__ = ["draw"]

GREY, BLUE = "0.6", "tab:blue"


def draw(study: Study, outcomes: Mapping[str, Outcome]) -> Figure:
    """Draw, for each method and error, the change against the reference: as predicted, and after what is best for each.

    Args:
        study: The study.
        outcomes: The outcome of every method, by name.
    """
    names = [name for name in outcomes if study.reference(name) != name]
    columns = [*PRIMARY, TAIL[-1]]
    figure = Figure(figsize=(11, 1.5 + 0.5 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    comparisons = Comparisons(study, outcomes)
    for axes, column in zip(panels, columns, strict=True):
        for measured, colour, shift, label in (
            (_measured(column, best=False), GREY, -0.15, "as predicted"),
            (_measured(column, best=True), BLUE, 0.15, "each after what is best for it"),
        ):
            for row, name in enumerate(names):
                mean, drawn = comparisons.pair(name, study.reference(name), measured)
                place = _place(column)
                point = 100 * (mean[1, place] / mean[0, place] - 1)
                low, high = interval(100 * (drawn[:, 1, place] / drawn[:, 0, place] - 1))
                axes.plot([low, high], [row + shift] * 2, color=colour, linewidth=2)
                axes.plot(point, row + shift, "o", color=colour, label=label if row == 0 else None)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title(f"MPJPE, {column}" if column in TAIL else column)
        axes.set_xlabel("change (%)")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()  # the order of the tables, from the top
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _measured(column: str, best: bool) -> Callable[[Outcome], ByClip]:
    if column in TAIL:
        return lambda outcome: half(outcome.tail, int(best))
    return lambda outcome: outcome.best.errors if best else outcome.raw


def _place(column: str) -> int:
    return TAIL.index(column) if column in TAIL else tuple(ERRORS).index(column)
