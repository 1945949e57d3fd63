"""Which mistakes an energy can see: true poses are damaged in one way at a time, and the energy has to rise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import normalize

from seal_lightning._values import is_number, kind_of
from seal_lightning.evaluation._damage import DAMAGE
from seal_lightning.evaluation.calibration import auroc
from seal_lightning.skeleton import Skeleton, get_skeleton
from seal_lightning.skeleton.bone_tree import bone_tree

__all__ = ["SEVERITIES", "CorruptionScore", "corrupt", "energy_report"]

SEVERITIES = MappingProxyType(
    {
        "bone_length": (0.05, 0.1, 0.2, 0.4),
        "limb_scale": (0.05, 0.1, 0.2, 0.4),
        "joint_limit": (10.0, 20.0, 40.0, 80.0),
        "left_right_swap": (0.5, 1.0),
        "depth_flip": (0.1, 0.25, 0.5, 1.0),
        "noise": (0.02, 0.05, 0.1, 0.2),
        "global_scale": (0.05, 0.1, 0.2, 0.4),
    }
)
"""The kinds of corruption, each with the severities at which `energy_report` tries it; `corrupt` tells their units."""

# The largest severity of a kind. All other kinds take a share, of a length or of a number of things: at most 1.
_LARGEST = {"joint_limit": 180.0, "noise": math.inf}


def corrupt(kind: str, poses: Tensor, skeleton: str | Skeleton, severity: float, generator: torch.Generator) -> Tensor:
    """Damage every pose in one way. The root, to which poses are aligned, stays where it is.

    ========================  ============================================================  ===========================
    kind                      what happens to a pose                                        severity
    ========================  ============================================================  ===========================
    ``"bone_length"``         one random bone grows or shrinks                              share of its length
    ``"limb_scale"``          all bones of one random limb grow or shrink, those of its     share of their length
                              partner on the other side do not
    ``"joint_limit"``         a random bent knee or elbow bends the wrong way               degrees beyond straight
    ``"left_right_swap"``     random pairs of branches (legs, arms) change sides            share of the pairs
    ``"depth_flip"``          random bones point towards the camera instead of away, or     share of the bones
                              the other way round: their lengths stay, and so do their
                              images, except for the effect of perspective
    ``"noise"``               Gaussian noise on every coordinate                            standard deviation, in mean
                                                                                            bone lengths
    ``"global_scale"``        the whole pose grows or shrinks. This is the control: an      share of its size
                              energy that judges structure alone cannot see it
    ========================  ============================================================  ===========================

    From the same state of the generator, every severity damages the same part of a pose, so that damage can be graded.

    Args:
        kind: One of the kinds above.
        poses: Poses in camera coordinates, whose z axis is the depth, shape (N, J, 3), in any unit.
        skeleton: A skeleton, or the name of a built-in one.
        severity: How much damage, above 0, in the unit of the table.
        generator: Source of all random numbers, on the CPU.

    Returns:
        Damaged poses (N, J, 3), without gradient.

    Raises:
        TypeError: If the poses are not a floating-point tensor.
        ValueError: If there is no such kind, the severity is out of range, the shape does not fit, or the skeleton
            lacks what the kind needs: limbs, paired joints, or limbs with a joint that is named a knee or an elbow.

    Example:
        >>> bone = Skeleton.from_parents([-1, 0])
        >>> poses = torch.tensor([[[0.0, 0.0, 0.0], [3.0, 0.0, 4.0]]])
        >>> corrupt("depth_flip", poses, bone, 1.0, torch.Generator()).tolist()
        [[[0.0, 0.0, 0.0], [3.0, 0.0, -4.0]]]
    """
    skeleton = get_skeleton(skeleton)
    if kind not in DAMAGE:
        raise ValueError(f"Expected `kind` to be one of {sorted(DAMAGE)}, but got {kind!r}.")
    if not is_number(severity) or not 0 < severity <= _LARGEST.get(kind, 1.0) or math.isinf(severity):
        most = _LARGEST.get(kind, 1.0)
        raise ValueError(f"Expected `severity` of {kind!r} to be above 0 and at most {most}, but got {severity!r}.")
    if not isinstance(poses, Tensor) or not poses.is_floating_point():
        raise TypeError(f"Expected `poses` to be a floating-point tensor, but got {kind_of(poses)}.")
    if poses.ndim != 3 or poses.shape[1:] != (skeleton.num_joints, 3):
        raise ValueError(f"Expected `poses` to have shape (N, {skeleton.num_joints}, 3), but got {tuple(poses.shape)}.")
    if not skeleton.bones:
        raise ValueError("Expected `skeleton` to have bones, but got none.")
    with torch.no_grad():
        poses = poses.detach()
        return poses + bone_tree(skeleton, poses).hold_root(DAMAGE[kind](poses, skeleton, severity, generator))


@dataclass(frozen=True)
class CorruptionScore:
    """How well an energy tells poses with one kind of damage from true ones.

    Args:
        severities: How much damage was done, in the unit of the kind.
        auroc: For each severity, the probability that a random damaged pose has a higher energy than a random true one
            (the area under the receiver operating characteristic). It is 1 where the energy tells every damaged pose
            from every true one, 0.5 where it does no better than chance, and below 0.5 where it prefers damaged poses.
        monotonicity: Whether more damage means more energy: the rank correlation (Spearman) between the energy of a
            pose and its damage, from none to the largest severity, averaged over the poses. A pose whose energy never
            changes counts as 0.
    """

    severities: tuple[float, ...]
    auroc: tuple[float, ...]
    monotonicity: float


def energy_report(
    energy: Callable[[Tensor, Tensor], Tensor],
    keypoints_2d: Tensor,
    truths: Tensor,
    skeleton: str | Skeleton,
    *,
    kinds: Sequence[str] = tuple(SEVERITIES),
    seed: int = 0,
) -> dict[str, CorruptionScore]:
    """Measure how well an energy sees each kind of corruption.

    Args:
        energy: A function of keypoints (N, J, 2 or 3) and poses (N, J, 3) that returns energies (N,), such as
            ``lambda keypoints_2d, poses: criterion.energy(poses, keypoints_2d)["energy_0"]``.
        keypoints_2d: Keypoints of the true poses, shape (N, J, 2 or 3).
        truths: True poses in camera coordinates, shape (N, J, 3), in the unit of the poses that trained the energy.
        skeleton: A skeleton, or the name of a built-in one.
        kinds: Kinds of corruption, see `corrupt`.
        seed: Seed of all random choices.

    Returns:
        A score for each kind.

    Raises:
        TypeError: If the keypoints, the truths or the energies are not tensors.
        ValueError: If the energy does not return one finite number per pose, or for the reasons of `corrupt`.

    Example:
        The energy below is the negative depth of a bone. A flip turns depths of 1 and 2 into -1 and -2, so every
        damaged pose has a higher energy than every true one:

        >>> poses = torch.zeros(2, 2, 3)
        >>> poses[:, 1, 2] = torch.tensor([1.0, 2.0])
        >>> bone, keypoints_2d = Skeleton.from_parents([-1, 0]), torch.zeros(2, 2, 2)
        >>> report = energy_report(lambda x, y: -y[:, 1, 2], keypoints_2d, poses, bone, kinds=["depth_flip"])
        >>> report["depth_flip"].auroc
        (1.0, 1.0, 1.0, 1.0)
    """
    skeleton = get_skeleton(skeleton)
    for name, given in (("keypoints_2d", keypoints_2d), ("truths", truths)):
        if not isinstance(given, Tensor):
            raise TypeError(f"Expected `{name}` to be a tensor, but got {kind_of(given)}.")
    if not len(truths) or keypoints_2d.shape[:-1] != truths.shape[:-1]:
        raise ValueError(
            "Expected `keypoints_2d` and `truths` to have shapes (N, J, 2 or 3) and (N, J, 3) with the same N above 0, "
            f"but got {tuple(keypoints_2d.shape)} and {tuple(truths.shape)}."
        )
    true = _energies(energy, keypoints_2d, truths)
    report = {}
    for kind in kinds:
        if kind not in SEVERITIES:
            raise ValueError(f"Expected every item of `kinds` to be one of {sorted(SEVERITIES)}, but got {kind!r}.")
        columns = [true]
        for severity in SEVERITIES[kind]:
            # A fresh generator for every severity: the same parts are damaged, only more, as the monotonicity needs.
            damaged = corrupt(kind, truths, skeleton, severity, torch.Generator().manual_seed(seed))
            columns.append(_energies(energy, keypoints_2d, damaged))
        noticed = tuple(auroc(column, true) for column in columns[1:])
        report[kind] = CorruptionScore(SEVERITIES[kind], noticed, _monotonicity(torch.stack(columns, dim=1)))
    return report


def _energies(energy: Callable[[Tensor, Tensor], Tensor], keypoints_2d: Tensor, poses: Tensor) -> Tensor:
    with torch.no_grad():
        energies = energy(keypoints_2d, poses)
    if not isinstance(energies, Tensor):
        raise TypeError(f"Expected `energy` to return a tensor, but got {kind_of(energies)}.")
    if energies.shape != poses.shape[:1] or not energies.isfinite().all():
        raise ValueError(
            f"Expected `energy` to return one finite number per pose, shape {tuple(poses.shape[:1])}, "
            f"but got shape {tuple(energies.shape)}, of which {int((~energies.isfinite()).sum())} are not finite."
        )
    return energies.double().cpu()


def _monotonicity(energies: Tensor) -> float:
    """Mean over the poses (rows) of Spearman's correlation with the column number; ties share their mean rank."""
    one, other = energies.unsqueeze(2), energies.unsqueeze(1)
    ranks = (one > other).double().sum(2) + 0.5 * (one == other).double().sum(2)
    # `normalize` leaves a row of zeros as it is, so an energy that never changes correlates with nothing.
    ranks = normalize(ranks - ranks.mean(1, keepdim=True), dim=1)
    columns = torch.arange(energies.shape[1], dtype=torch.float64)
    return float((ranks @ normalize(columns - columns.mean(), dim=0)).mean())
