"""Figures of poses and training curves. They need matplotlib (the extra ``plot``), but not pyplot's global state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seal_lightning._extras import require
from seal_lightning.skeleton import Skeleton, get_skeleton

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

__all__ = ["plot_comparison", "plot_curves", "plot_poses"]

_LEFT, _RIGHT, _CENTRE, _REFERENCE = "#1f77b4", "#d9541e", "#3c3c3c", "#9a9a9a"
_LINES = ("#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#17becf")  # of curves: not those of the sides


def plot_poses(
    poses: Mapping[str, Tensor],
    skeleton: str | Skeleton,
    *,
    reference: str | None = None,
    captions: Mapping[str, Sequence[str]] | None = None,
    rows: Sequence[str] | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Draw poses in 3D: one column per entry of ``poses``, one row per pose; the left side is blue, the right orange.

    Poses are in the camera frame (x right, y down, z forward) and are turned upright. All axes of a row share one
    scale. A legend names the colours.

    Args:
        poses: For each column its title and its poses, ``(J, 3)`` or ``(N, J, 3)``, in any unit.
        skeleton: The skeleton of the poses, or its name.
        reference: Title of the column whose poses are also drawn in grey behind those of the other columns.
        captions: For each column that has captions, by its title, one string per pose, which stands below the pose.
        rows: What each row is called; it stands to the left.
        figure: Figure to draw in; None makes one.

    Returns:
        The figure. ``figure.savefig(path)`` writes it.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
        ValueError: If the poses do not share one shape that fits the skeleton, ``reference`` is not a title, or
            ``captions`` or ``rows`` do not have one string per pose.

    Example:
        >>> figure = plot_poses({"truth": torch.randn(2, 17, 3), "prediction": torch.randn(2, 17, 3)}, "h36m17")
        >>> len(figure.axes)
        4
    """
    skeleton = get_skeleton(skeleton)
    columns = {name: torch.as_tensor(pose).detach().float().cpu() for name, pose in poses.items()}
    _check_poses(columns, skeleton, reference)
    columns = {name: _upright(pose.reshape(-1, skeleton.num_joints, 3)) for name, pose in columns.items()}
    count = len(next(iter(columns.values())))
    captions = captions or {}
    _check_strings({**captions, **({} if rows is None else {"rows": rows})}, count)
    figure = _new_figure((2.2 * len(columns), 2.4 * count + 0.3)) if figure is None else figure
    everything = torch.stack(list(columns.values()))
    low, high = everything.amin(dim=(0, 2)), everything.amax(dim=(0, 2))
    for row in range(count):
        for column, (name, pose) in enumerate(columns.items()):
            axes = figure.add_subplot(count, len(columns), row * len(columns) + column + 1, projection="3d")
            if reference is not None and name != reference:
                _draw_pose(axes, columns[reference][row], skeleton, reference=True)
            _draw_pose(axes, pose[row], skeleton)
            _frame_pose(axes, low[row], high[row])
            if row == 0:
                axes.set_title(name, fontsize=11)
            if name in captions:
                box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
                axes.text2D(0.5, 0.0, captions[name][row], transform=axes.transAxes, ha="center", fontsize=9, bbox=box)
            if column == 0 and rows is not None:
                axes.text2D(-0.02, 0.5, rows[row], transform=axes.transAxes, ha="right", va="center", rotation=90)
    _name_colours(figure, reference if len(columns) > 1 else None)
    return figure


def plot_curves(
    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    *,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Draw curves over the training steps, one panel per entry of ``curves``; four or more panels make a grid.

    Args:
        curves: For each panel its title and its lines; for each line its label and its points (step, value).
        figure: Figure to draw in; None makes one.

    Returns:
        The figure. ``figure.savefig(path)`` writes it.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
        ValueError: If there is no panel to draw.

    Example:
        >>> figure = plot_curves({"energy": {"seed 0": [(0, 1.0), (10, 0.5)], "seed 1": [(0, 1.2), (10, 0.4)]}})
        >>> [line.get_label() for line in figure.axes[0].lines]
        ['seed 0', 'seed 1']
    """
    if not curves:
        raise ValueError("Expected `curves` to hold at least one panel, but got none.")
    columns = len(curves) if len(curves) < 4 else math.ceil(math.sqrt(len(curves)))
    rows = math.ceil(len(curves) / columns)
    figure = _new_figure((3.2 * columns, 2.6 * rows)) if figure is None else figure
    for index, (title, lines) in enumerate(curves.items()):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.set_prop_cycle(color=_LINES)
        for label, points in lines.items():
            axes.plot([step for step, _ in points], [value for _, value in points], label=label, linewidth=1.2)
        if all(value >= 0 for points in lines.values() for _, value in points):
            axes.set_ylim(bottom=0)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if index == 0 and len(lines) > 1:
            axes.legend(fontsize=8, frameon=False)
    return figure


def plot_comparison(
    poses: Mapping[str, Tensor],
    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    skeleton: str | Skeleton,
    *,
    captions: Mapping[str, Sequence[str]] | None = None,
    rows: Sequence[str] | None = None,
) -> Figure:
    """Draw `plot_poses` on the left, with the first column as the reference, and `plot_curves` on the right.

    Args:
        poses: For each column its title and its poses, ``(J, 3)`` or ``(N, J, 3)``.
        curves: For each panel its title and its lines, as for `plot_curves`.
        skeleton: The skeleton of the poses, or its name.
        captions: What stands below the poses, as for `plot_poses`.
        rows: What the rows of poses are called.

    Returns:
        The figure. ``figure.savefig(path)`` writes it.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
        ValueError: If poses or curves do not fit.

    Example:
        >>> poses = {"truth": torch.randn(17, 3), "prediction": torch.randn(17, 3)}
        >>> len(plot_comparison(poses, {"energy": {"seed 0": [(0, 1.0), (10, 0.5)]}}, "h36m17").axes)
        3
    """
    if not poses:
        raise ValueError("Expected `poses` to hold at least one column, but got none.")
    figure = _new_figure((14.0, 7.2))
    halves: Any = figure.subfigures(1, 2, wspace=0.03)
    plot_poses(poses, skeleton, reference=next(iter(poses)), captions=captions, rows=rows, figure=halves[0])
    plot_curves(curves, figure=halves[1])
    return figure


def _new_figure(size: tuple[float, float]) -> Figure:
    require("matplotlib", "figures")
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _check_poses(poses: Mapping[str, Tensor], skeleton: Skeleton, reference: str | None) -> None:
    shapes = [tuple(pose.shape) for pose in poses.values()]
    if (
        any(0 in shape for shape in shapes)
        or len(set(shapes)) != 1
        or len(shapes[0]) not in (2, 3)
        or shapes[0][-2:] != (skeleton.num_joints, 3)
    ):
        expected = f"({skeleton.num_joints}, 3) or (N, {skeleton.num_joints}, 3)"
        raise ValueError(f"Expected `poses` to hold poses of one shape {expected}, but got {shapes}.")
    if broken := [name for name, pose in poses.items() if not pose.isfinite().all()]:
        raise ValueError(f"Expected `poses` to be finite, but {broken} hold NaN or infinity.")
    if reference is not None and reference not in poses:
        raise ValueError(f"Expected `reference` to be one of {list(poses)}, but got {reference!r}.")


def _check_strings(given: Mapping[str, Sequence[str]], count: int) -> None:
    for name, strings in given.items():
        if len(strings) != count:
            raise ValueError(f"Expected one string per pose for {name!r}, {count} of them, but got {len(strings)}.")


def _name_colours(figure: Figure | SubFigure, reference: str | None) -> None:
    """Name the colours in a legend below the poses."""
    from matplotlib.lines import Line2D

    colours = {"left": _LEFT, "right": _RIGHT, "middle": _CENTRE, **({reference: _REFERENCE} if reference else {})}
    lines = [Line2D([], [], color=colour, linewidth=2.0, label=name) for name, colour in colours.items()]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), fontsize=9, frameon=False)


def _upright(pose: Tensor) -> Tensor:
    """Turn camera axes (x right, y down, z forward) into those of the plot (x right, y forward, z up)."""
    return torch.stack((pose[..., 0], pose[..., 2], -pose[..., 1]), dim=-1)


def _draw_pose(axes: Any, pose: Tensor, skeleton: Skeleton, *, reference: bool = False) -> None:
    for child, parent in skeleton.bones:
        colour = _LEFT if child in skeleton.left else _RIGHT if child in skeleton.right else _CENTRE
        style = {"color": _REFERENCE, "linewidth": 1.2} if reference else {"color": colour, "linewidth": 2.0}
        axes.plot(*pose[[child, parent]].T.tolist(), solid_capstyle="round", **style)
    if not reference:
        axes.scatter(*pose.T.tolist(), s=5, c=_CENTRE, depthshade=False)


def _frame_pose(axes: Any, low: Tensor, high: Tensor) -> None:
    extent = high - low
    # A flat pose gets a box that is at least half as deep as it is wide, and there is a little room around each pose.
    extent = extent.clamp(min=max(float(extent.max()) / 2, 1e-6)) * 1.08
    start = (low + high - extent) / 2
    for set_limits, first, length in zip(
        (axes.set_xlim, axes.set_ylim, axes.set_zlim), start.tolist(), extent.tolist(), strict=True
    ):
        set_limits(first, first + length)
    axes.set_box_aspect(extent.tolist(), zoom=1.18)
    axes.view_init(elev=12, azim=-65)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_ticks([])
        axis.line.set_alpha(0.25)
        axis.pane.set_facecolor("#f4f4f4")
        axis.pane.set_edgecolor("#d9d9d9")
