"""What a test or a validation measured, as one small table with units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from seal_lightning.callbacks.structure_metrics import STRUCTURE_UNITS

__all__ = ["scores_table"]


def scores_table(results: Sequence[Mapping[str, float]], unit: str | None) -> str:
    """Format the results of `Trainer.test` or `Trainer.validate`; what other callbacks have printed is left out.

    Args:
        results: Names and values by data loader.
        unit: Unit of the poses of the data, if it is known.

    Example:
        >>> print(scores_table([{"test_mpjpe": 0.0483928, "test/lse": 3.14159, "test/mpjpe": 48.3928}], "m"))
        test_mpjpe  0.04839
        test/lse      3.142 %
        test/mpjpe    48.39 mm
        Without a unit: as the model logs it; the data are in m.
    """
    scores = {name: value for loader in results for name, value in loader.items() if not _is_printed(name)}
    if not scores:
        return ""
    units = {name: STRUCTURE_UNITS.get(name.split("/")[1], "") if "/" in name else "" for name in scores}
    names, numbers = max(map(len, scores)), max(len(f"{value:.4g}") for value in scores.values())
    lines = [f"{name:<{names}}  {f'{value:.4g}':>{numbers}} {units[name]}".rstrip() for name, value in scores.items()]
    if not all(units.values()):
        lines.append("Without a unit: as the model logs it" + (f"; the data are in {unit}." if unit else "."))
    return "\n".join(lines)


def _is_printed(name: str) -> bool:
    """Whether a value is one of `PoseReport` or, in the form ``test/<benchmark>/<score>``, of `BenchmarkScores`."""
    parts = [part for part in name.split("/") if not part.startswith("dataloader_idx")]
    return parts[0] == "report" or (parts[0] == "test" and len(parts) > 2)
