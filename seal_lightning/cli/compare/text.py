"""What a comparison says at its end, in the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from seal_lightning.evaluation.outcome import Outcome, Rivals, finishes_of, tried
from seal_lightning.evaluation.runs import HOST, Run
from seal_lightning.evaluation.statistics import Paired
from seal_lightning.evaluation.tables import aligned, own_best_table, table
from seal_lightning.evaluation.verdict import describe_side, describe_verdicts

__all__ = ["about_rivals", "conclusion", "how_chosen", "weight_rows"]

_SHOWN = {
    "mpjpe": ("MPJPE (mm)", 1),
    "body_segment_length_error": ("BSLE (%)", 2),
    "mpjpe_cvar95": ("MPJPE, worst 5 % (mm)", 1),
}


def conclusion(
    head: str,
    runs: Sequence[Run],
    outcomes: Mapping[str, Outcome],
    judged: Outcome,
    rivals: Rivals | None = None,
    *,
    chosen: bool,
) -> str:
    """Tables and verdict.

    Args:
        head: What was compared.
        runs: All runs.
        outcomes: Every method against the host.
        judged: The one that the verdict is on.
        rivals: Other ways to train the host.
        chosen: Whether that was chosen on validation data, where there are several.
    """
    several = len(judged.seeds) > 1
    seeds = f"seed{'s' if several else ''} {' '.join(map(str, judged.seeds))}"
    parts = [f"{head}; {runs[0].steps} steps each; {seeds}"]
    if several:
        parts.append("Mean ± standard deviation over seeds.")
    if len(outcomes) > 1:
        parts += [aligned(weight_rows(outcomes)), how_chosen(judged, chosen=chosen)]
    finishes = [f"  {method}: {finishes_of(runs, method)}" for method in (HOST, judged.method)]
    parts += [
        table(judged.summary, judged.datasets, (HOST, judged.method)),
        "\n".join([tried(runs), *finishes]),
        own_best_table(judged.summary_own_best, judged.method),
        describe_verdicts(judged.own_best, judged.as_predicted),
    ]
    if rivals is not None:
        outcomes = {judged.method: judged, **rivals.outcomes}
        parts += [aligned(weight_rows(outcomes)), about_rivals(rivals, judged.method)]
    return "\n\n".join(parts)


def about_rivals(rivals: Rivals, method: str) -> str:
    """Say how SEAL compares with the strongest rival."""
    if rivals.strongest is None:
        return "There are no validation data to choose the strongest rival by."
    if rivals.against is None:
        return "No rival is better than the host on validation data."
    side = describe_side(rivals.against.own_best)
    return (
        f"Strongest rival, the best on validation data: {rivals.strongest}. {method} against it, in the primary error "
        f"after each method's own best: {side}."
    )


def weight_rows(outcomes: Mapping[str, Outcome]) -> list[tuple[str, ...]]:
    """Head and rows of a table of several methods, each after its own best."""
    rows: list[tuple[str, ...]] = [("own best", *(name for name, _ in _SHOWN.values()), "change of the primary error")]
    for label, outcome in outcomes.items():
        mean, side = outcome.summary_own_best["mean"], outcome.own_best
        interval = "" if math.isnan(side.low) else f" [{side.low:+.1f}, {side.high:+.1f}]"
        if len(rows) == 1:
            rows.append((HOST, *_cells(mean, "host_mean"), ""))
        rows.append((label, *_cells(mean, "seal_mean"), f"{side.change:+.1f} %{interval}"))
    return rows


def how_chosen(judged: Outcome, *, chosen: bool) -> str:
    """Say why the verdict is on this weight."""
    if chosen:
        return f"{judged.method} is best on validation data, so the verdict is on it; the other rows are shown alone."
    return (
        f"There are no validation data to choose a weight by. What follows is about {judged.method}, the first; no "
        "interval is adjusted for the number of weights."
    )


def _cells(mean: Mapping[str, Paired], part: str) -> list[str]:
    return [f"{getattr(mean[metric], part):.{digits}f}" for metric, (_, digits) in _SHOWN.items()]
