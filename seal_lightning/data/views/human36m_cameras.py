"""Human3.6M's four calibrated cameras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["INTRINSICS", "POSES", "H36MCamera", "human36m_cameras"]


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


INTRINSICS: dict[str, dict[str, Any]] = {
    "54138969": {
        "focal": (1145.0494384765625, 1143.7811279296875),
        "centre": (512.54150390625, 515.4514770507812),
        "radial": (-0.20709891617298126, 0.24777518212795258, -0.0030751503072679043),
        "tangential": (-0.0009756988729350269, -0.00142447161488235),
        "height": 1002,
    },
    "55011271": {
        "focal": (1149.6756591796875, 1147.5916748046875),
        "centre": (508.8486328125, 508.0649108886719),
        "radial": (-0.1942136287689209, 0.2404085397720337, 0.006819975562393665),
        "tangential": (-0.0016190266469493508, -0.0027408944442868233),
        "height": 1000,
    },
    "58860488": {
        "focal": (1149.1407470703125, 1148.7989501953125),
        "centre": (519.8158569335938, 501.40264892578125),
        "radial": (-0.2083381861448288, 0.25548800826072693, -0.0024604974314570427),
        "tangential": (0.0014843869721516967, -0.0007599993259645998),
        "height": 1000,
    },
    "60457274": {
        "focal": (1145.5113525390625, 1144.77392578125),
        "centre": (514.9682006835938, 501.88201904296875),
        "radial": (-0.198384091258049, 0.21832367777824402, -0.008947807364165783),
        "tangential": (-0.0005872055771760643, -0.0018133620033040643),
        "height": 1002,
    },
}

# Of every subject the orientation and the position of each camera, in the order above.
POSES: dict[str, tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]] = {
    "S1": (
        ((0.14070565, -0.15007018, -0.7552408, 0.62232804), (1841.107, 4955.2847, 1563.4454)),
        ((0.6157188, -0.7648363, -0.14833826, 0.11794741), (1761.2786, -5078.007, 1606.265)),
        ((0.14651473, -0.14647852, 0.76530236, -0.60941756), (-1846.7777, 5215.0464, 1491.9724)),
        ((0.58340085, -0.7853162, 0.14548823, -0.14749594), (-1794.7897, -3722.699, 1574.8927)),
    ),
    "S5": (
        ((0.14673772, -0.16237096, -0.7551893, 0.6178939), (2097.3916, 4880.945, 1605.7324)),
        ((0.61597586, -0.7626792, -0.15728192, 0.1189815), (2031.7008, -5167.933, 1612.9231)),
        ((0.14291371, -0.12907842, 0.7678385, -0.6110143), (-1620.5948, 5171.6587, 1496.437)),
        ((0.592048, -0.7814218, 0.12747486, -0.15036418), (-1637.1737, -3867.3174, 1547.0332)),
    ),
    "S6": (
        ((0.13378978, -0.15692396, -0.75710905, 0.61988795), (1935.4518, 4950.2456, 1618.0839)),
        ((0.61471975, -0.7628813, -0.16174768, 0.11819245), (1969.804, -5128.739, 1632.7788)),
        ((0.15299481, -0.13529131, 0.76460963, -0.6112781), (-1769.5964, 5185.3613, 1476.9934)),
        ((0.59161013, -0.7804774, 0.1283227, -0.15615939), (-1721.6687, -3884.1313, 1540.4879)),
    ),
    "S7": (
        ((0.14352418, -0.16313368, -0.75483286, 0.6188825), (1974.513, 4926.3545, 1597.8326)),
        ((0.6141673, -0.76382625, -0.15966456, 0.117792994), (1937.0585, -5119.79, 1631.5665)),
        ((0.1455006, -0.12874816, 0.76605165, -0.61271393), (-1741.8112, 5208.2495, 1464.8246)),
        ((0.5912848, -0.78217643, 0.12445474, -0.15196487), (-1734.7106, -3832.4214, 1548.583)),
    ),
    "S8": (
        ((0.14110588, -0.15589868, -0.75619173, 0.61964405), (2150.6519, 4896.161, 1611.9047)),
        ((0.61696017, -0.7647668, -0.1484635, 0.11158158), (2219.9656, -5148.453, 1613.0441)),
        ((0.1471444, -0.1337712, 0.76701283, -0.61003697), (-1571.2216, 5137.0186, 1498.1761)),
        ((0.59278244, -0.78258705, 0.12147816, -0.14631996), (-1476.9133, -3896.7412, 1547.9722)),
    ),
    "S9": (
        ((0.15540588, -0.15548216, -0.75320953, 0.6199595), (2044.4585, 4935.117, 1481.2275)),
        ((0.6187845, -0.7634735, -0.14132239, 0.11933968), (1990.9597, -5123.8105, 1568.8048)),
        ((0.13357827, -0.13671005, 0.76894546, -0.61007386), (-1670.9922, 5211.986, 1528.388)),
        ((0.5879399, -0.7823407, 0.14276144, -0.1479487), (-1696.0435, -3827.0999, 1591.4127)),
    ),
    "S11": (
        ((0.15232472, -0.1544232, -0.75475633, 0.619107), (2098.4402, 4926.5547, 1500.2786)),
        ((0.61894494, -0.7600917, -0.15300633, 0.12552583), (2083.1824, -4912.173, 1561.0786)),
        ((0.14943229, -0.15650228, 0.7681234, -0.60263044), (-1609.8153, 5177.336, 1537.8967)),
        ((0.58942515, -0.7818877, 0.13991211, -0.14715362), (-1590.738, -3854.169, 1578.0176)),
    ),
}
