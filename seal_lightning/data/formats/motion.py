"""A recorded motion, and the conversion of its positions to millimetres with z up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from seal_lightning._values import is_number
from seal_lightning.data.formats.checks import frame_rate
from seal_lightning.skeleton import Skeleton

__all__ = ["MILLIMETRES", "Motion", "Unit", "UpAxis", "rotations", "to_world", "whole_rate"]

Unit = Literal["mm", "cm", "m", "inch", "cmu"]
UpAxis = Literal["y", "z", "-y"]

MILLIMETRES: dict[str, float] = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4, "cmu": 25.4 / 0.45}
"""Millimetres in a unit; ``cmu`` is that of the CMU Graphics Lab Motion Capture Database, 1/0.45 inch."""
_KILOMETRE = 1e6  # in millimetres: nobody measures people in larger units, whose numbers would overflow


@dataclass(frozen=True, eq=False)
class Motion:
    """Joint positions of one recording.

    Args:
        positions: Joint positions in millimetres, z up, shape (T, J, 3), float32.
        skeleton: The joints.
        fps: Frames per second.
        carrier: The joint that moves the body, where that is not the root: some rigs hang it from a root that stands
            in the world, and the way from there to the carrier is no bone.

    Raises:
        ValueError: If the positions do not fit the skeleton, or ``fps`` is not positive.

    Example:
        >>> Motion(np.zeros((4, 2, 3), np.float32), Skeleton.from_parents([-1, 0]), 25.0).positions.shape
        (4, 2, 3)
    """

    positions: npt.NDArray[np.float32]
    skeleton: Skeleton
    fps: float
    carrier: int | None = None

    def __post_init__(self) -> None:
        shape = np.shape(self.positions)
        if len(shape) != 3 or shape[1:] != (self.skeleton.num_joints, 3) or shape[0] < 1:
            raise ValueError(f"Expected `positions` of shape (T, {self.skeleton.num_joints}, 3), but got {shape}.")
        frame_rate(self.fps)


def to_world(positions: npt.NDArray[np.floating], unit: Unit | float, up: UpAxis) -> npt.NDArray[np.float32]:
    """Bring positions to millimetres and a frame with z up, by a rotation.

    With y up (x, y, z) becomes (x, -z, y); with -y up, as in the frames of cameras, (x, z, -y).

    Args:
        positions: Shape (..., 3).
        unit: The unit that they are in, by name or as millimetres.
        up: Their axis that points up.

    Raises:
        ValueError: If the unit is neither known nor a positive number up to a kilometre, or the axis is none of ``y``,
            ``z`` and ``-y``.

    Example:
        >>> to_world(np.array([1.0, 2.0, 3.0]), "cm", "y")
        array([ 10., -30.,  20.], dtype=float32)
    """
    scale: Any = MILLIMETRES.get(unit) if isinstance(unit, str) else unit
    if not is_number(scale) or not 0 < scale <= _KILOMETRE:
        raise ValueError(
            f"Expected `unit` to be one of {sorted(MILLIMETRES)} or how many millimetres it is, but got {unit!r}."
        )
    if up not in get_args(UpAxis):
        raise ValueError(f"Expected `up` to be 'y', 'z' or '-y', but got {up!r}.")
    if up != "z":
        x, y, z = np.moveaxis(positions, -1, 0)
        positions = np.stack([x, 0.0 - z, y] if up == "y" else [x, z, 0.0 - y], axis=-1)
    world: npt.NDArray[np.float32] = (positions * scale).astype(np.float32)
    return world


def rotations(axes: str, angles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rotation matrices of successive rotations, the first axis leftmost: ``R = R_1 R_2 ... R_k``.

    The rotations are intrinsic: each turns about an axis that the earlier ones have turned already. Read from right to
    left they are extrinsic: each turns about a fixed axis.

    Args:
        axes: Letters x, y, z.
        angles: Radians, shape (..., k) for k letters.

    Returns:
        Shape (..., 3, 3).

    Example:
        >>> (rotations("zx", np.radians([90.0, 90.0])) @ [0.0, 1.0, 0.0]).round(6) + 0.0
        array([0., 0., 1.])
    """
    result = np.broadcast_to(np.eye(3), (*angles.shape[:-1], 3, 3))
    for place, axis in enumerate(axes):
        first = "xyz".index(axis)
        second, third = (first + 1) % 3, (first + 2) % 3
        turn = np.zeros_like(result)
        turn[..., first, first] = 1.0
        turn[..., second, second] = turn[..., third, third] = np.cos(angles[..., place])
        turn[..., third, second] = np.sin(angles[..., place])
        turn[..., second, third] = -turn[..., third, second]
        result = result @ turn
    return result


def whole_rate(frame_time: float) -> float:
    """Frames per second of a frame time; a rate within 0.01 % of a whole number is that number.

    Files round the frame time: 0.008333 seconds stands for 120 frames per second.

    Example:
        >>> whole_rate(0.008333), round(whole_rate(1.001 / 30), 2)
        (120.0, 29.97)
    """
    rate = 1.0 / frame_time
    return float(round(rate)) if abs(rate - round(rate)) < 1e-4 * rate else rate
