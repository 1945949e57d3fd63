"""The poses that a comparison shows, and its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seal_lightning.cli.compare.methods import Method
from seal_lightning.cli.compare.store import Store
from seal_lightning.evaluation.anatomy import pick
from seal_lightning.evaluation.outcome import Outcome
from seal_lightning.evaluation.runs import HOST, Run, curves
from seal_lightning.plotting import plot_comparison, plot_curves
from seal_lightning.skeleton import Skeleton

__all__ = ["TRUTH", "Shown", "draw"]

TRUTH = "truth"


@dataclass(frozen=True)
class Shown:
    """Poses of the first seed, in millimetres and with their roots at the origin.

    Args:
        skeleton: Their skeleton.
        poses: The poses (N, J, 3) of the truth and of both methods, by name.
        errors: The mean distance of the joints of every pose, for both methods.
        chosen: Which pose is best, median and worst; empty where no pose has all its joints.
    """

    skeleton: Skeleton
    poses: dict[str, Tensor]
    errors: dict[str, list[float]]
    chosen: dict[str, int]

    @classmethod
    def of(cls, store: Store, judged: Outcome, skeleton: Skeleton) -> Shown:
        """Take them from the store."""
        pairs = {label: store.poses(Method(label), judged.seeds[0]) for label in (HOST, judged.method)}
        poses = {TRUTH: pairs[HOST][:, 0], **{label: pair[:, 1] for label, pair in pairs.items()}}
        errors = {
            label: torch.linalg.vector_norm(pair[:, 1] - pair[:, 0], dim=-1).mean(dim=-1)
            for label, pair in pairs.items()
        }
        chosen = pick(list(errors.values())) if len(poses[TRUTH]) else {}
        return cls(skeleton, poses, {label: found.tolist() for label, found in errors.items()}, chosen)


def draw(path: Path, shown: Shown, runs: Sequence[Run], judged: Outcome) -> None:
    """Write the picture: the best, the median and the worst pose beside the curves of the trainings."""
    lines, places = curves([run for run in runs if run.method == judged.method]), list(shown.chosen.values())
    if places:
        poses = {label: pose[places] for label, pose in shown.poses.items()}
        captions = {
            label: [f"error {found[place]:.0f} mm" for place in places] for label, found in shown.errors.items()
        }
        figure: Any = plot_comparison(poses, lines, shown.skeleton, captions=captions, rows=list(shown.chosen))
    else:
        figure = plot_curves(lines)
    figure.savefig(path, dpi=120)
