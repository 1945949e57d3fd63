"""The tables of a comparison: which metrics they show, in which units, and as aligned Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from seal_lightning.evaluation.statistics import Paired

__all__ = ["OWN_BEST_ROWS", "TAIL_ROWS", "Row", "aligned", "own_best_table", "rows_of", "table"]

Row = tuple[str, str, str, str, str]  # name, host, SEAL, difference, relative

_ROWS = {
    "mpjpe": ("MPJPE", "mm"),
    "p_mpjpe": ("P-MPJPE", "mm"),
    "n_mpjpe": ("N-MPJPE", "mm"),
    "limb_symmetry_error": ("LSE", "%"),
    "truth_limb_symmetry_error": ("LSE of the truth itself", "%"),
    "asymmetry_error": ("asymmetry error", "mm"),
    "body_segment_length_error": ("BSLE", "%"),
    "scaled_body_segment_length_error": ("BSLE at the best scale", "%"),
    "limb_length_error": ("LLE", "%"),
    "mpjpe_p50": ("MPJPE, median", "mm"),
    "mpjpe_p90": ("MPJPE, 90th percentile", "mm"),
    "mpjpe_p95": ("MPJPE, 95th percentile", "mm"),
    "mpjpe_p99": ("MPJPE, 99th percentile", "mm"),
    "mpjpe_cvar95": ("MPJPE, mean of the worst 5 %", "mm"),
    "mpjve": ("MPJVE", "mm/frame"),
    "acceleration_error": ("acceleration error", "mm/frame²"),
    "mpsce": ("MPSCE", "mm"),
    "wall_time": ("training time", "s"),
}

TAIL_ROWS = ("mpjpe_p95", "mpjpe_p99", "mpjpe_cvar95")
OWN_BEST_ROWS = (
    "mpjpe", "p_mpjpe", "limb_symmetry_error", "asymmetry_error", "body_segment_length_error", "acceleration_error",
    *TAIL_ROWS,
)  # fmt: skip


def rows_of(
    summary: Mapping[str, Mapping[str, Paired]], datasets: Sequence[str], metrics: Sequence[str] = tuple(_ROWS)
) -> list[tuple[str, list[Row]]]:
    """Return the rows of a comparison, in blocks with a title.

    Args:
        summary: What `summarise` or `compare_scores` returned.
        datasets: Names of the datasets among its scopes. Several get a block of rows each, before that of the mean.
        metrics: The metrics to show, in this order, where the summary has them.

    Returns:
        For each block its title and its rows; a single block has no title.
    """
    blocks = [*datasets, "mean"] if len(datasets) > 1 else ["mean"]
    titles = {"mean": f"mean of {', '.join(datasets)}" if len(blocks) > 1 else ""}
    return [
        (
            titles.get(block, block),
            [_row(metric, summary[block][metric]) for metric in metrics if metric in summary[block]],
        )
        for block in blocks
    ]


def table(
    summary: Mapping[str, Mapping[str, Paired]], datasets: Sequence[str], methods: tuple[str, str] = ("host", "SEAL")
) -> str:
    """Format the comparison as an aligned Markdown table.

    Args:
        summary: What `summarise` returned.
        datasets: Names of the datasets among its scopes. Several get a block of rows each, before that of the mean.
        methods: Titles of the columns of the two methods.

    Returns:
        The lines of the table.
    """
    return _markdown(rows_of(summary, datasets), summary, methods)


def own_best_table(summary: Mapping[str, Mapping[str, Paired]], method: str = "SEAL") -> str:
    """Format the comparison after each method's own best finishing: the errors that finishing changes, and the tail."""
    blocks = rows_of(summary, [], OWN_BEST_ROWS)
    return _markdown(blocks, summary, ("host, own best", f"{method}, own best"))


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Format rows of cells as an aligned Markdown table whose first row is the head.

    Example:
        >>> print(aligned([("", "mm"), ("a", "1.0")]))
        |   |  mm |
        |---|----:|
        | a | 1.0 |
    """
    columns = range(len(rows[0]))
    widths = [max(len(row[column]) for row in rows) for column in columns]
    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    lines = [
        "| "
        + " | ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        + " |"
        for row in rows
    ]
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def _markdown(
    blocks: Sequence[tuple[str, Sequence[Row]]],
    summary: Mapping[str, Mapping[str, Paired]],
    methods: tuple[str, str],
) -> str:
    host, seal = methods
    interval = "" if all(math.isnan(paired.low) for paired in summary["mean"].values()) else " [95 % interval]"
    rows: list[Row] = [("", host, seal, f"SEAL - host{interval}", "relative")]
    for title, block in blocks:
        rows += [(f"**{title}**", "", "", "", "")] if title else []
        rows += block
    return aligned(rows)


def _row(metric: str, paired: Paired) -> Row:
    name, unit = _ROWS[metric]
    digits = 2 if unit == "%" else 1

    def spread(mean: float, std: float) -> str:
        return _number(mean, digits) + ("" if math.isnan(std) else f" ± {std:.{digits}f}")

    if metric == "truth_limb_symmetry_error":
        return f"{name} ({unit})", _number(paired.host_mean, digits), _number(paired.seal_mean, digits), "", ""
    difference = _number(paired.difference, digits, sign=True)
    if not math.isnan(paired.low):
        difference += f" [{paired.low:+.{digits}f}, {paired.high:+.{digits}f}]"
    # A mean that is printed as zero, such as the LSE after symmetrising, is rounding error: a percentage would mislead.
    nothing = math.isnan(paired.relative) or paired.host_mean < 0.5 / 10**digits
    relative = "-" if nothing else f"{paired.relative:+.1f} %"
    host, seal = spread(paired.host_mean, paired.host_std), spread(paired.seal_mean, paired.seal_std)
    return f"{name} ({unit})", host, seal, difference, relative


def _number(value: float, digits: int, *, sign: bool = False) -> str:
    return "-" if math.isnan(value) else f"{value:{'+' if sign else ''}.{digits}f}"
