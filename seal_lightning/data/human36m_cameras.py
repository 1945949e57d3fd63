"""Human3.6M's four calibrated cameras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seal_lightning.data._human36m_cameras import INTRINSICS, POSES

__all__ = ["H36MCamera", "human36m_cameras"]

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class H36MCamera:
    r"""A camera with radial and tangential lens distortion.

    A point in the camera's frame is seen at :math:`x = (X/Z, Y/Z)`; with :math:`r = |x|`, radial coefficients k and
    tangential ones p its pixel is

    .. math:: f \odot (x\,(1 + k_1 r^2 + k_2 r^4 + k_3 r^6 + p \cdot x) + p\,r^2) + c

    which is what the projected keypoints of the public files are made with. (A lens model with
    :math:`2\,p \cdot x` in its place is 1.3 pixels off these in the corners of the picture.)

    Args:
        name: Serial number of the camera.
        rotation: World-to-camera rotation, shape (3, 3).
        position: Where the camera stands, in millimetres, shape (3,).
        focal: Focal lengths in pixels.
        centre: Principal point in pixels.
        radial: The three radial coefficients.
        tangential: The two tangential coefficients, that of x first.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
    """

    name: str
    rotation: npt.NDArray[np.float64]
    position: npt.NDArray[np.float64]
    focal: tuple[float, float]
    centre: tuple[float, float]
    radial: tuple[float, float, float]
    tangential: tuple[float, float]
    width: int
    height: int

    def to_camera(self, world: Floats) -> npt.NDArray[np.float64]:
        """Points (..., 3) of the world in the camera's frame: x right, y down, z away; millimetres."""
        seen: npt.NDArray[np.float64] = (world - self.position) @ self.rotation.T
        return seen

    def project(self, points: Floats) -> npt.NDArray[np.float64]:
        """Pixels (..., 2) of points (..., 3) in the camera's frame."""
        flat = points[..., :2] / points[..., 2:]
        r2 = (flat**2).sum(axis=-1, keepdims=True)
        k1, k2, k3 = self.radial
        tangential = np.asarray(self.tangential)
        factor = 1.0 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + (tangential * flat).sum(axis=-1, keepdims=True)
        pixels: npt.NDArray[np.float64] = np.asarray(self.focal) * (flat * factor + tangential * r2) + self.centre
        return pixels


def human36m_cameras(subject: str) -> tuple[H36MCamera, ...]:
    """The four cameras as they stood for a subject, in the order of the public files.

    Args:
        subject: ``"S1"``, ``"S5"``, ``"S6"``, ``"S7"``, ``"S8"``, ``"S9"`` or ``"S11"``.

    Raises:
        ValueError: If there is no calibration for that subject.

    Example:
        >>> [(camera.name, camera.height) for camera in human36m_cameras("S9")]
        [('54138969', 1002), ('55011271', 1000), ('58860488', 1000), ('60457274', 1002)]

    Reference:
        Ionescu et al., Human3.6M, 2014, https://doi.org/10.1109/TPAMI.2013.248
    """
    if subject not in POSES:
        raise ValueError(f"Expected `subject` to be one of {list(POSES)}, but got {subject!r}.")
    cameras = []
    for (name, lens), (orientation, position) in zip(INTRINSICS.items(), POSES[subject], strict=True):
        to_world = _rotation(np.array(orientation))
        cameras.append(H36MCamera(name, to_world.T, np.array(position), width=1000, **lens))
    return tuple(cameras)


def _rotation(quaternion: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Matrix of a quaternion (w, x, y, z)."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
