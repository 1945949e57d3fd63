"""Pinhole cameras: placing them around a subject, and projecting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seal_lightning._values import check_above_zero, is_number
from seal_lightning.data.views.draws import Draws

__all__ = ["CameraRig", "Cameras", "look_at", "normalize_screen"]


def normalize_screen(pixels: Tensor, width: int, height: int) -> Tensor:
    r"""Map pixels to screen coordinates: x to [-1, 1], y by the same factor: ``pixels / w * 2 - [1, h / w]``.

    Args:
        pixels: Pixel coordinates, shape (..., 2).
        width: Width w of the image in pixels.
        height: Height h of the image in pixels.

    Raises:
        ValueError: If the last axis is not x and y, or the image has no size.

    Example:
        >>> normalize_screen(torch.tensor([[0.0, 0.0], [1000.0, 500.0]]), 1000, 500)
        tensor([[-1.0000, -0.5000],
                [ 1.0000,  0.5000]])

    References:
        Pavllo et al., "3D human pose estimation in video with temporal convolutions and semi-supervised training",
        CVPR 2019, https://arxiv.org/abs/1811.11742
    """
    if pixels.ndim < 1 or pixels.shape[-1] != 2:
        raise ValueError(f"Expected `pixels` to have shape (..., 2), but got {tuple(pixels.shape)}.")
    check_above_zero(width=width, height=height)
    return (pixels / width).mul_(2.0).sub_(pixels.new_tensor((1.0, height / width)))


def look_at(position: Tensor, aim: Tensor) -> Tensor:
    """World-to-camera rotations of upright cameras: x to the right, y down, z towards what is aimed at.

    Args:
        position: Where the cameras stand, shape (..., 3), world z up.
        aim: The points on their optical axes, shape (..., 3), not straight above or below the cameras.

    Returns:
        Rotations with the camera axes as rows, shape (..., 3, 3).

    Example:
        >>> look_at(torch.tensor([0.0, -5.0, 1.0]), torch.tensor([0.0, 0.0, 1.0])) + 0.0
        tensor([[ 1.,  0.,  0.],
                [ 0.,  0., -1.],
                [ 0.,  1.,  0.]])
    """
    forward = torch.nn.functional.normalize(aim - position, dim=-1)
    up = torch.zeros_like(forward)
    up[..., 2] = 1.0
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=-1)
    return torch.stack((right, torch.linalg.cross(forward, right), forward), dim=-2)


@dataclass(frozen=True, eq=False)
class Cameras:
    """A batch of pinhole cameras without distortion, the principal point in the middle of the image.

    Args:
        rotation: World-to-camera rotations, shape (B, 3, 3).
        position: Where the cameras stand, in the unit of the points, shape (B, 3).
        focal: Focal lengths in pixels, shape (B,).
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Example:
        >>> camera = Cameras(torch.eye(3)[None], torch.zeros(1, 3), torch.tensor([1000.0]), 1000, 1000)
        >>> camera.project(torch.tensor([[[1.0, 0.5, 10.0]]]))
        tensor([[[600., 550.]]])
    """

    rotation: Tensor
    position: Tensor
    focal: Tensor
    width: int
    height: int

    def rotate(self, vectors: Tensor) -> Tensor:
        """Turn world vectors, shape (B, N, 3), into the camera frames."""
        return vectors @ self.rotation.transpose(-1, -2)

    def project(self, points: Tensor) -> Tensor:
        """Pixels of camera-frame points in front of the cameras: shape (B, N, 3) to (B, N, 2)."""
        middle = points.new_tensor((self.width / 2, self.height / 2))
        # In place, here and above, since for windows getting memory takes longer than the arithmetic.
        return (self.focal[:, None, None] * points[..., :2]).div_(points[..., 2:]).add_(middle)

    def view(self, world: Tensor) -> Tensor:
        """Normalised screen coordinates of world points: shape (B, N, 3) to (B, N, 2)."""
        pixels = self.project(self.rotate(world - self.position[:, None]))
        return normalize_screen(pixels, self.width, self.height)


@dataclass(frozen=True)
class CameraRig:
    """How cameras are placed around a subject that stays within a disc on the floor.

    The camera stands in a uniformly drawn direction, ``distance`` away from the nearest point of the disc, and farther
    off where a body on the rim of the disc would otherwise leave the picture; it aims at the middle of the disc.
    The default is like Human3.6M: a 1000 x 1000 image and a focal length of about 1145 pixels.

    Args:
        distance: Least and greatest distance to the disc in metres.
        elevation: Least and greatest height of the camera above the floor (z = 0) in metres.
        aim: The aimed point is off the middle of the subject by up to this many metres in x, y and z.
        focal: Least and greatest focal length in pixels.
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Raises:
        ValueError: If a number is out of its range, or a least value is above the greatest.

    Example:
        >>> CameraRig(focal=(1700.0, 1800.0)).distance
        (3.0, 6.0)
    """

    distance: tuple[float, float] = (3.0, 6.0)
    elevation: tuple[float, float] = (0.5, 2.5)
    aim: float = 0.3
    focal: tuple[float, float] = (1100.0, 1190.0)
    width: int = 1000
    height: int = 1000

    def __post_init__(self) -> None:
        for name, least in (("distance", 0.0), ("focal", 0.0), ("elevation", -math.inf)):
            bounds = getattr(self, name)
            pair = isinstance(bounds, Sequence) and len(bounds) == 2 and all(map(is_number, bounds))
            if not pair or not least < bounds[0] <= bounds[1] < math.inf:
                wanted = "finite" if least else "positive"
                raise ValueError(f"Expected `{name}` to be two {wanted} numbers, the least first, but got {bounds!r}.")
        if not 0.0 <= self.aim < math.inf:
            raise ValueError(f"Expected `aim` to be 0 or more, but got {self.aim}.")
        for name in ("width", "height"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected `{name}` to be 1 or more, but got {getattr(self, name)}.")

    def draw(self, centre: Tensor, radius: Tensor, draws: Draws) -> Cameras:
        """Draw one camera for each disc.

        Args:
            centre: Middle of the disc at the height of the root joint, in millimetres, shape (B, 3).
            radius: Radius of the disc in millimetres, shape (B,).
            draws: Random numbers of B rows; the same draws give the same cameras.

        Returns:
            B cameras whose positions are in millimetres.
        """
        uniform = draws.uniform("camera", 7)
        angle = 2.0 * math.pi * uniform[:, 0]
        focal = _between(uniform[:, 1], self.focal)
        half_body = 1000.0
        whole = (radius + half_body) * 2.0 * focal / self.width
        away = torch.maximum(radius + 1000.0 * _between(uniform[:, 2], self.distance), whole)
        height = 1000.0 * _between(uniform[:, 3], self.elevation)
        position = torch.stack(
            (centre[:, 0] + away * angle.cos(), centre[:, 1] + away * angle.sin(), height.expand_as(away)), dim=-1
        )
        aim = centre + 1000.0 * self.aim * (2.0 * uniform[:, 4:] - 1.0)
        return Cameras(look_at(position, aim), position, focal, self.width, self.height)


def _between(uniform: Tensor, bounds: tuple[float, float]) -> Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * uniform
