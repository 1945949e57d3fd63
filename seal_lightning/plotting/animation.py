"""Pictures and animations of lifted poses beside the keypoints that they were lifted from (the extra ``plot``)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from seal_lightning._extras import require
from seal_lightning.plotting.figures import _CENTRE, _LEFT, _RIGHT, _frame_pose, _new_figure, _upright
from seal_lightning.skeleton import Skeleton, get_skeleton

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["animate_lifting", "check_animation", "plot_lifting"]


def plot_lifting(
    poses: Tensor,
    keypoints_2d: Tensor,
    skeleton: str | Skeleton,
    *,
    titles: Sequence[str] = (),
    errors_mm: Tensor | None = None,
) -> Figure:
    """Draw poses in 3D beside their keypoints: one row per pose, the left side in blue and the right in orange.

    Poses are in the camera frame (x right, y down, z forward) and are turned upright. Joints that are NaN are left out.

    Args:
        poses: Poses (N, J, 3), in any unit.
        keypoints_2d: Keypoints (N, J, 2 or more), y down, in any unit.
        skeleton: The skeleton of both, or its name.
        titles: One title per row.
        errors_mm: Errors of the joints (N, J) in millimetres, estimated or true, by which they are shaded.

    Returns:
        The figure. ``figure.savefig(path)`` writes it.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
        ValueError: If the shapes do not fit.

    Example:
        >>> import torch
        >>> figure = plot_lifting(torch.randn(2, 17, 3), torch.randn(2, 17, 2), "h36m17")
        >>> len(figure.axes)
        4
    """
    skeleton = get_skeleton(skeleton)
    poses, keypoints_2d = _checked(poses, keypoints_2d, skeleton)
    figure = _new_figure((5.0, 2.6 * len(poses)))
    shades = _shades(errors_mm, poses)
    for row in range(len(poses)):
        one, first = slice(row, row + 1), len(figure.axes)
        draw = _stage(figure, len(poses), row, poses[one], keypoints_2d[one], skeleton, shades)
        draw(poses[row], keypoints_2d[row], None if errors_mm is None else errors_mm[row])
        if titles:
            figure.axes[first].set_title(titles[row], fontsize=9)
    return figure


def animate_lifting(
    path: str | os.PathLike[str],
    poses: Tensor,
    keypoints_2d: Tensor,
    skeleton: str | Skeleton,
    *,
    fps: float = 25.0,
    errors_mm: Tensor | None = None,
) -> None:
    """Write an animation of poses in 3D beside their keypoints.

    Poses are in the camera frame (x right, y down, z forward) and are turned upright; all frames share one scale.
    Joints that are NaN are left out.

    Args:
        path: File to write: a ``.gif``, or an ``.mp4`` where ffmpeg is installed.
        poses: Poses (T, J, 3), in any unit.
        keypoints_2d: Keypoints (T, J, 2 or more), y down, in any unit.
        skeleton: The skeleton of both, or its name.
        fps: Frames per second. A gif stores times in hundredths of a second, so 30 frames per second become 33.
        errors_mm: Errors of the joints (T, J) in millimetres, estimated or true, by which they are shaded.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
        ValueError: If the shapes do not fit, or the file name ends in neither ``.gif`` nor ``.mp4``.
        RuntimeError: If an ``.mp4`` is to be written and ffmpeg is not installed.

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp(), "moves.gif")
        >>> animate_lifting(path, torch.randn(2, 17, 3), torch.randn(2, 17, 2), "h36m17")
        >>> path.read_bytes()[:3]
        b'GIF'
    """
    skeleton = get_skeleton(skeleton)
    poses, keypoints_2d = _checked(poses, keypoints_2d, skeleton)
    check_animation(Path(path).suffix)
    figure = _new_figure((5.0, 2.8))
    from matplotlib.animation import FFMpegWriter, PillowWriter

    draw = _stage(figure, 1, 0, poses, keypoints_2d, skeleton, _shades(errors_mm, poses))
    kind: Any = PillowWriter if Path(path).suffix == ".gif" else FFMpegWriter
    writer = kind(fps=fps)
    with writer.saving(figure, str(path), 100):
        for frame, (pose, keypoints) in enumerate(zip(poses, keypoints_2d, strict=True)):
            draw(pose, keypoints, None if errors_mm is None else errors_mm[frame])
            writer.grab_frame()


def check_animation(suffix: str) -> None:
    """Raise unless an animation whose file name ends in `suffix` can be written.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
        ValueError: If the suffix is neither ``.gif`` nor ``.mp4``.
        RuntimeError: If the suffix is ``.mp4`` and ffmpeg is not installed.
    """
    if suffix not in (".gif", ".mp4"):
        raise ValueError(f"Expected an animation to be a .gif or an .mp4, but got {suffix!r}.")
    require("matplotlib", "animations")
    from matplotlib.animation import FFMpegWriter

    if suffix == ".mp4" and not FFMpegWriter.isAvailable():
        raise RuntimeError("Expected ffmpeg to be installed for an .mp4, but there is none; write a .gif instead.")


def _checked(poses: Tensor, keypoints_2d: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    joints = skeleton.num_joints
    if poses.dim() != 3 or poses.shape[1:] != (joints, 3) or len(poses) == 0:
        raise ValueError(f"Expected `poses` to be (N, {joints}, 3), but got {tuple(poses.shape)}.")
    if keypoints_2d.dim() != 3 or keypoints_2d.shape[:2] != poses.shape[:2] or keypoints_2d.shape[2] < 2:
        raise ValueError(
            f"Expected `keypoints_2d` to be ({len(poses)}, {joints}, 2 or more), but got {tuple(keypoints_2d.shape)}."
        )
    return poses.detach().float().cpu(), keypoints_2d.detach()[..., :2].float().cpu()


def _shades(errors_mm: Tensor | None, poses: Tensor) -> dict[str, Any]:
    """How a scatter shades joints by their errors: dark for none, bright for the largest but a few."""
    if errors_mm is None:
        return {}
    if tuple(errors_mm.shape) != tuple(poses.shape[:-1]):
        raise ValueError(f"Expected `errors_mm` to be {tuple(poses.shape[:-1])}, but got {tuple(errors_mm.shape)}.")
    known = errors_mm[errors_mm.isfinite()].float()
    return {"cmap": "inferno", "vmin": 0.0, "vmax": float(known.quantile(0.98)) if len(known) else 1.0}


def _stage(
    figure: Figure,
    rows: int,
    row: int,
    poses: Tensor,
    keypoints_2d: Tensor,
    skeleton: Skeleton,
    shades: dict[str, Any],
) -> Callable[[Tensor, Tensor, Tensor | None], None]:
    """Prepare a row of the figure whose axes fit all of these poses and keypoints.

    Returns:
        A function that draws one pose and its keypoints in the row, shaded by errors of the joints where there are any,
        in place of those before.
    """
    flat: Any = figure.add_subplot(rows, 2, 2 * row + 1)
    deep: Any = figure.add_subplot(rows, 2, 2 * row + 2, projection="3d")
    low, high = _bounds(keypoints_2d)
    margin = 0.1 * float((high - low).max().clamp(min=1e-6))
    flat.set_xlim(float(low[0]) - margin, float(high[0]) + margin)
    flat.set_ylim(float(high[1]) + margin, float(low[1]) - margin)  # upside down: y points down in an image
    flat.set_aspect("equal")
    flat.set_xticks([])
    flat.set_yticks([])
    _frame_pose(deep, *_bounds(_upright(poses)))
    lines = []
    for child, _ in skeleton.bones:
        colour = _LEFT if child in skeleton.left else _RIGHT if child in skeleton.right else _CENTRE
        style = {"color": colour, "linewidth": 2.0, "solid_capstyle": "round"}
        lines.append((flat.plot([], [], **style)[0], deep.plot([], [], [], **style)[0]))

    points: list[Any] = []
    if shades:
        scale = figure.colorbar(flat.scatter([], [], c=[], **shades), ax=deep, shrink=0.6)
        scale.set_label("estimated error (mm)", fontsize=8)
        scale.ax.tick_params(labelsize=7)

    def draw(pose: Tensor, keypoints: Tensor, errors: Tensor | None) -> None:
        upright = _upright(pose)
        while points:
            points.pop().remove()
        if errors is not None:
            style = {"c": errors.detach().float().cpu().numpy(), "zorder": 3, **shades}
            points.append(flat.scatter(*keypoints.T.numpy(), s=14, **style))
            points.append(deep.scatter(*upright.T.numpy(), s=14, depthshade=False, **style))
        for (line, deep_line), ends in zip(lines, map(list, skeleton.bones), strict=True):
            line.set_data(*keypoints[ends].T.numpy())
            deep_line.set_data_3d(*upright[ends].T.numpy())

    return draw


def _bounds(points: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest coordinates of the points that are finite; zeros where none is."""
    points = points.flatten(0, -2)
    known = points[points.isfinite().all(dim=-1)]
    if len(known) == 0:
        return points.new_zeros(points.shape[-1]), points.new_zeros(points.shape[-1])
    return known.amin(dim=0), known.amax(dim=0)
