"""What an energy knows: true poses damaged in one way at a time, and whether the energy sees it."""

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
"""The kinds of corruption, each with the severities at which `energy_report` tries it."""

_LARGEST = {"joint_limit": 180.0, "noise": math.inf}  # of all others 1, which is the whole of a length or a share


def corrupt(kind: str, poses: Tensor, skeleton: str | Skeleton, severity: float, generator: torch.Generator) -> Tensor:
    """Damage every pose in one way. The root that poses are aligned to stays where it is.

    ========================  ============================================================  ===========================
    kind                      what happens to a pose                                        severity
    ========================  ============================================================  ===========================
    ``"bone_length"``         one random bone grows or shrinks                              share of its length
    ``"limb_scale"``          all bones of one random limb do, those of its partner do not  share of their length
    ``"joint_limit"``         a random bent knee or elbow bends the wrong way               degrees beyond straight
    ``"left_right_swap"``     random branches (legs, arms) change places with their         share of the branches
                              partners
    ``"depth_flip"``          random bones point towards the camera instead of away, or     share of the bones
                              the other way round: their lengths and, but for perspective,
                              their images stay
    ``"noise"``               normal noise on every coordinate                              mean bone lengths
    ``"global_scale"``        the whole pose grows or shrinks: the control, of which an     share of its size
                              energy that judges structure alone knows nothing
    ========================  ============================================================  ===========================

    The same generator state makes the same choices whatever the severity, so that a pose's damage can be graded.

    Args:
        kind: One of the above.
        poses: Poses in camera coordinates, whose z axis is the depth, shape (N, J, 3), in any unit.
        skeleton: Skeleton or name of a built-in one.
        severity: How much, above 0.
        generator: Source of all random numbers, on the CPU.

    Returns:
        Detached poses (N, J, 3).

    Raises:
        TypeError: If the poses are not a floating-point tensor.
        ValueError: If there is no such kind, the severity is out of range, the shape does not fit, or the skeleton
            lacks what the kind needs: limbs, paired joints, or limbs with a knee or an elbow by name.

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
        severities: How much damage.
        auroc: Per severity the chance that a random damaged pose has a higher energy than a random true one: 1 where
            they are always told apart, 0.5 where they never are.
        monotonicity: Rank correlation (Spearman) of the energy of a pose with its damage, from none at all to the
            largest severity, averaged over the poses. Poses whose energy never moves count as 0.
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
    """Ask an energy about every kind of corruption.

    Args:
        energy: Called with keypoints (N, J, 2 or 3) and poses (N, J, 3), returns energies (N,), e.g.
            ``lambda keypoints_2d, poses: criterion.energy(poses, keypoints_2d)["energy_0"]``.
        keypoints_2d: Keypoints of the true poses, shape (N, J, 2 or 3).
        truths: True poses in camera coordinates, shape (N, J, 3), in the unit that the energy knows.
        skeleton: Skeleton or name of a built-in one.
        kinds: Kinds of corruption, see `corrupt`.
        seed: Seed of all random choices.

    Returns:
        Scores by kind.

    Raises:
        TypeError: If keypoints, truths or energies are no tensors.
        ValueError: If the energies are not one finite number a pose, or as `corrupt`.

    Example:
        An energy that measures the depth of a bone, of which two poses have 1 and 2, knows when it grows:

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
            "Expected `keypoints_2d` and `truths` to be (N, J, 2 or 3) and (N, J, 3) of one N above 0, "
            f"but got {tuple(keypoints_2d.shape)} and {tuple(truths.shape)}."
        )
    true = _energies(energy, keypoints_2d, truths)
    report = {}
    for kind in kinds:
        if kind not in SEVERITIES:
            raise ValueError(f"Expected `kinds` to be from {sorted(SEVERITIES)}, but got {kind!r}.")
        columns = [true]
        for severity in SEVERITIES[kind]:
            damaged = corrupt(kind, truths, skeleton, severity, torch.Generator().manual_seed(seed))
            columns.append(_energies(energy, keypoints_2d, damaged))
        auroc = tuple(_auroc(column, true) for column in columns[1:])
        report[kind] = CorruptionScore(SEVERITIES[kind], auroc, _monotonicity(torch.stack(columns, dim=1)))
    return report


def _energies(energy: Callable[[Tensor, Tensor], Tensor], keypoints_2d: Tensor, poses: Tensor) -> Tensor:
    with torch.no_grad():
        energies = energy(keypoints_2d, poses)
    if not isinstance(energies, Tensor):
        raise TypeError(f"Expected `energy` to return a tensor, but got {kind_of(energies)}.")
    if energies.shape != poses.shape[:1] or not energies.isfinite().all():
        raise ValueError(
            f"Expected `energy` to return one finite number a pose, shape {tuple(poses.shape[:1])}, "
            f"but got {tuple(energies.shape)} with {int((~energies.isfinite()).sum())} that are not finite."
        )
    return energies.double().cpu()


def _auroc(high: Tensor, low: Tensor) -> float:
    """Share of all pairs in which the first is the higher one; a tie counts half. The Mann-Whitney statistic."""
    low = low.sort().values
    below, at_most = (torch.searchsorted(low, high, right=right) for right in (False, True))
    return float((below + at_most).double().mean()) / (2 * len(low))


def _monotonicity(energies: Tensor) -> float:
    """Mean over the rows of Spearman's correlation with the number of the column; ties have their mean rank."""
    one, other = energies.unsqueeze(2), energies.unsqueeze(1)
    ranks = (one > other).double().sum(2) + 0.5 * (one == other).double().sum(2)
    ranks = normalize(ranks - ranks.mean(1, keepdim=True), dim=1)
    columns = torch.arange(energies.shape[1], dtype=torch.float64)
    return float((ranks @ normalize(columns - columns.mean(), dim=0)).mean())
