"""A picture of scored poses: how unusual each frame is, and the worst of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seal_lightning._extras import require
from seal_lightning.plotting.figures import plot_poses
from seal_lightning.skeleton import Skeleton

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_scores"]

_SHOWN = 5


def plot_scores(
    poses: Tensor,
    percentile: Tensor,
    error: Tensor | None,
    skeleton: Skeleton,
    frames: Sequence[str],
    clips: Sequence[tuple[str, int, int]],
) -> Figure:
    """Draw the energy percentile of every frame, the estimated error where there is one, and the worst poses.

    Args:
        poses: Poses, shape (T, J, 3); NaN where there is none.
        percentile: Energy percentile of every pose, shape (T,).
        error: Estimated error in millimetres, shape (T,); None where it is not known.
        skeleton: The joints.
        frames: Names of the frames.
        clips: Name, first frame and number of frames of every clip; a line marks where one begins.

    Returns:
        The figure.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
    """
    figure = require(
        "matplotlib.figure", "the picture of `seal-lightning score` (`--picture false` draws none)"
    ).Figure(figsize=(11, 6.5), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.0, 1.2))
    axes = above.add_subplot()
    axes.plot(percentile.numpy(), ".", markersize=2, color="#3c3c3c")
    axes.set(ylim=(-3, 103), xlabel="frame", ylabel="energy percentile of real motion")
    for _, start, _ in clips[1:]:
        axes.axvline(start, color="#c0c0c0", linewidth=0.8)
    if error is not None:
        right = axes.twinx()
        right.plot(error.numpy(), linewidth=0.8, color="#d9541e")
        right.set_ylabel("estimated error, mm", color="#d9541e")
        right.set_ylim(bottom=0)
    bad = (percentile if error is None else error).nan_to_num(-1.0)
    worst = [i for i in bad.argsort(descending=True).tolist() if bad[i] >= 0][:_SHOWN]
    plot_poses({f"frame {frames[i]}": torch.as_tensor(poses[i]) for i in worst}, skeleton, figure=below)
    result: Figure = figure
    return result
