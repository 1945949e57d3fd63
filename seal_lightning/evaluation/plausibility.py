"""How plausible finished poses are, by networks that come with the package and were trained on real motion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from seal_lightning.error_estimate import ErrorCritic
from seal_lightning.functional import bone_lengths, root_align
from seal_lightning.loss_nets import StructureLossNet
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["MotionEnergy", "body_axes", "shipped_card", "shipped_critic", "shipped_energy"]

_FOLDER = "shipped"  # beside this module; `benchmarks.shipped` makes its files


def body_axes(poses: Tensor, skeleton: str | Skeleton) -> Tensor:
    r"""Turn poses (N, J, 3) to axes of the body, so that neither camera nor axes of the file matter.

    The first axis points from the right hip to the left, the second, at right angles to it, down along the trunk, and
    the third to the back. Where the person stands and looks is lost, and what is mirrored stays mirrored.

    Args:
        poses: Poses relative to anything, in any unit.
        skeleton: Skeleton that has joints named ``RHip`` and ``LHip``, and ``Thorax``.

    Returns:
        Poses relative to the root of the skeleton, of the same shape.

    Raises:
        ValueError: If the skeleton has no such joints.

    Example:
        >>> hips = Skeleton(("Hip", "RHip", "LHip", "Thorax"), (-1, 0, 0, 0), (2,), (1,))
        >>> pose = torch.tensor([[[0.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 5.0]]])
        >>> body_axes(pose, hips)[0].tolist()
        [[0.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, -5.0, 0.0]]
    """
    skeleton = get_skeleton(skeleton)
    if missing := {"RHip", "LHip", "Thorax"} - set(skeleton.names):
        raise ValueError(f"Expected a skeleton with hips and a thorax, but {sorted(missing)} are missing.")
    right, left, top = (skeleton.names.index(name) for name in ("RHip", "LHip", "Thorax"))
    poses = root_align(poses, skeleton.root_joints)
    across = normalize(poses[:, left] - poses[:, right], dim=-1)
    down = (poses[:, left] + poses[:, right]) / 2 - poses[:, top]
    down = normalize(down - (down * across).sum(-1, keepdim=True) * across, dim=-1)
    axes = torch.stack((across, down, torch.linalg.cross(across, down)), dim=-1)
    # Zero stays plus zero, whatever the sign of the axis.
    return poses @ axes + 0.0


class MotionEnergy:
    """An energy of single poses, and how it compares with the energies of real motion.

    Poses are seen in `body_axes` and in units of their clip's mean bone length, so unit, camera and size of the person
    do not matter; keypoints are not used.

    Args:
        net: The network.
        quantiles: Energies of real poses of people who did not train it: their percentiles 0, 1, ..., 100.
    """

    def __init__(self, net: StructureLossNet, quantiles: Tensor) -> None:
        self.net, self.quantiles = net.eval(), quantiles
        self.skeleton = net.skeleton

    @torch.no_grad()
    def energy(self, poses: Tensor) -> Tensor:
        """Energies (N,) of the poses (N, J, 3) of one clip, all finite."""
        energy: Tensor = self.net(poses.new_zeros(*poses.shape[:2], 2), self.frame(poses))
        return energy

    def frame(self, poses: Tensor) -> Tensor:
        """The poses (N, J, 3) of one clip as the network sees them."""
        return body_axes(poses, self.skeleton) / bone_lengths(poses, self.skeleton).mean()

    def percentile(self, energy: Tensor) -> Tensor:
        """Share of real poses, in percent, that have a lower energy; 100 above all of them."""
        positions = torch.searchsorted(self.quantiles, energy.contiguous()).clamp(max=len(self.quantiles) - 1)
        low = self.quantiles[(positions - 1).clamp(min=0)]
        high = self.quantiles[positions]
        within = ((energy - low) / (high - low).clamp(min=1e-12)).clamp(0.0, 1.0)
        return torch.where(positions == 0, 0.0, positions - 1 + within)

    def save(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Write weights, settings and quantiles to an npz of plain arrays."""
        arrays: dict[str, Any] = {name: value.numpy() for name, value in self.net.state_dict().items()}
        quantiles = self.quantiles.numpy()
        np.savez_compressed(path, settings=np.array(json.dumps(dict(settings))), quantiles=quantiles, **arrays)


def shipped_energy() -> MotionEnergy:
    """The energy that comes with the package; `shipped_card` says on what it was trained."""
    with as_file(files("seal_lightning.evaluation") / _FOLDER / "energy.npz") as path, np.load(path) as file:
        arrays = dict(file)
    net = StructureLossNet(**json.loads(str(arrays.pop("settings"))))
    quantiles = torch.from_numpy(arrays.pop("quantiles"))
    net.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return MotionEnergy(net, quantiles)


def shipped_critic() -> ErrorCritic:
    """The error critic that comes with the package; it sees keypoints, confidences and poses, and needs no host."""
    with as_file(files("seal_lightning.evaluation") / _FOLDER / "critic.npz") as path:
        return ErrorCritic.load(path).eval()


def shipped_card() -> str:
    """What the shipped networks were trained on, for which joints, and what they cannot know; Markdown."""
    return (files("seal_lightning.evaluation") / _FOLDER / "CARD.md").read_text(encoding="utf-8")
