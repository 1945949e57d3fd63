"""Explicit losses on the structure of predicted poses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from seal_lightning.functional._checks import as_pair, as_visible, index_on
from seal_lightning.functional._terms import Terms, body_segment_terms, pose_means, symmetry_terms
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = [
    "BoneDirectionConstraint",
    "BoneLengthConstraint",
    "Constraint",
    "PairwiseDistanceConstraint",
    "SymmetryConstraint",
    "TemporalVarianceConstraint",
]

_SHORTEST = 1e-3  # of the true length: below it a bone's direction fades, so that its gradient stays bounded


@dataclass(frozen=True)
class Constraint(ABC):
    """A loss on the structure of predicted poses, one value per pose, in the unit of the poses or its square.

    In a training step of one's own it is one more term::

        loss = mpjpe(prediction, target) + 0.1 * BoneLengthConstraint("h36m17")(prediction, target).mean()

    and a model that is not to be edited gets it from `constrain`. A constraint of one's own implements `terms`.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`.

    Example:
        >>> class FlatConstraint(Constraint):
        ...     def terms(self, prediction, target, visible, skeleton):
        ...         return prediction[..., 2].abs(), visible
        >>> FlatConstraint(Skeleton.from_parents([-1, 0]))(torch.full((1, 2, 3), 4.0), torch.zeros(1, 2, 3))
        tensor([4.])
    """

    skeleton: str | Skeleton

    def __post_init__(self) -> None:
        object.__setattr__(self, "skeleton", get_skeleton(self.skeleton))

    def __call__(self, prediction: Tensor, target: Tensor, visibility: Tensor | None = None) -> Tensor:
        """Return the loss of every pose: the mean of its terms that count, 0 where none does.

        Args:
            prediction: Predicted poses, shape (..., J, 3).
            target: True poses, same shape and unit.
            visibility: Mask (..., J), boolean or 0/1. What an invisible joint takes part in does not count.

        Returns:
            Losses (...), float32 at least.

        Raises:
            TypeError: If a pose is not a floating-point tensor.
            ValueError: If shapes do not fit.
        """
        skeleton = get_skeleton(self.skeleton)
        prediction, target = as_pair(prediction, target, skeleton.num_joints)
        visible = as_visible(visibility, prediction)
        if visibility is not None:  # whatever stands there, its NaN included, reaches neither value nor gradient
            prediction, target = (torch.where(visible[..., None], pose, 0.0) for pose in (prediction, target))
        errors, counted = self.terms(prediction, target, visible, skeleton)
        return pose_means(Terms(errors, counted, counted))[0]

    @abstractmethod
    def terms(self, prediction: Tensor, target: Tensor, visible: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
        """Return errors (..., n) of poses (..., J, 3) and, as a boolean mask (..., n), which of them count.

        The shapes have been checked, `visible` (..., J) is boolean, and invisible joints lie in the origin.
        """


@dataclass(frozen=True)
class BoneLengthConstraint(Constraint):
    r"""Bones as long as the true ones: the mean over bones of :math:`|l - l^*|`.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`.

    Example:
        >>> target = torch.tensor([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0]])
        >>> BoneLengthConstraint(Skeleton.from_parents([-1, 0]))(2 * target, target)
        tensor(5.)
    """

    def terms(self, prediction: Tensor, target: Tensor, visible: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
        """Return one error per bone; it counts if both its ends are visible."""
        errors, counted, _ = body_segment_terms(prediction, target, skeleton, False, visible)
        return errors, counted


@dataclass(frozen=True)
class SymmetryConstraint(Constraint):
    r"""Left bones as long as right ones: the mean over pairs of :math:`|l_L - l_R|`; the truth is not looked at.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`.

    Raises:
        ValueError: If the skeleton has no paired bones.

    Example:
        >>> arms = Skeleton(("neck", "l", "r"), (-1, 0, 0), left=(1,), right=(2,))
        >>> pose = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> SymmetryConstraint(arms)(pose, pose)
        tensor(2.)
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not get_skeleton(self.skeleton).paired_bones:
            raise ValueError("Expected `skeleton` to have paired bones on the left and right, but got none.")

    def terms(self, prediction: Tensor, target: Tensor, visible: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
        """Return one error per pair; it counts if all its joints are visible."""
        errors, counted, _ = symmetry_terms(prediction, skeleton, False, visible)
        return errors, counted


@dataclass(frozen=True)
class BoneDirectionConstraint(Constraint):
    r"""Bones that point where the true ones do: the mean over bones of :math:`l^{*2} \lVert u - u^* \rVert^2`.

    `u` are unit vectors; the square of the true length makes an error of a long bone count as far as it reaches. A bone
    shorter than a thousandth of the true one has a direction shorter than 1, down to none at length zero.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`.

    Example:
        A bone of length 2 turned by a right angle, 4 * 2 = 8, whatever its predicted length:

        >>> target = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
        >>> prediction = torch.tensor([[0.0, 0.0, 0.0], [0.0, 7.0, 0.0]])
        >>> BoneDirectionConstraint(Skeleton.from_parents([-1, 0]))(prediction, target)
        tensor(8.)
    """

    def terms(self, prediction: Tensor, target: Tensor, visible: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
        """Return one error per bone; it counts if both its ends are visible."""
        child, parent = _ends(skeleton, prediction.device)
        bone, true_bone = (
            pose.index_select(-2, child) - pose.index_select(-2, parent) for pose in (prediction, target)
        )
        true_length = torch.linalg.vector_norm(true_bone, dim=-1, keepdim=True)
        length = torch.maximum(torch.linalg.vector_norm(bone, dim=-1, keepdim=True), _SHORTEST * true_length)
        # Where both are zero so is the error: the true bone has neither length nor direction.
        scaled = true_length * bone / torch.where(length == 0, 1.0, length)
        errors = (scaled - true_bone).square().sum(-1)
        return errors, visible.index_select(-1, child) & visible.index_select(-1, parent)


@dataclass(frozen=True)
class PairwiseDistanceConstraint(Constraint):
    r"""Joints as far apart as the true ones: the mean over all pairs of joints of :math:`|d_{ij} - d^*_{ij}|`.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`; only its number of joints matters.

    Example:
        Distances 3, 4, 5 against 0, 0, 0:

        >>> prediction = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
        >>> PairwiseDistanceConstraint(Skeleton.from_parents([-1, 0, 0]))(prediction, torch.zeros(3, 3))
        tensor(4.)
    """

    def terms(self, prediction: Tensor, target: Tensor, visible: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
        """Return one error per pair of joints; it counts if both are visible."""
        one, other = torch.triu_indices(skeleton.num_joints, skeleton.num_joints, 1, device=prediction.device)
        distance, true_distance = (
            torch.linalg.vector_norm(pose.index_select(-2, one) - pose.index_select(-2, other), dim=-1)
            for pose in (prediction, target)
        )
        return (distance - true_distance).abs(), visible.index_select(-1, one) & visible.index_select(-1, other)


@dataclass(frozen=True)
class TemporalVarianceConstraint(Constraint):
    r"""Bones of a clip that keep their length: the mean over bones of :math:`(l_t - \bar l)^2` in every frame.

    Its mean over the frames is the variance of the length; the truth is not looked at. A bone's mean length
    :math:`\bar l` runs over the frames that show both its ends.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`.

    Example:
        A bone of lengths 1 and 3, a distance of 1 from their mean:

        >>> clip = torch.tensor([[[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 3.0, 0.0]]]])
        >>> TemporalVarianceConstraint(Skeleton.from_parents([-1, 0]))(clip, clip)
        tensor([[1., 1.]])
    """

    def terms(self, prediction: Tensor, target: Tensor, visible: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
        """Return one error per frame and bone; it counts if its ends are visible here and in another frame.

        Raises:
            ValueError: If the poses are not clips (B, T, J, 3) of two frames or more.
        """
        if prediction.ndim != 4 or prediction.shape[1] < 2:
            raise ValueError(
                f"Expected `prediction` to have shape (B, T, {skeleton.num_joints}, 3) with at least 2 frames, "
                f"but got {tuple(prediction.shape)}."
            )
        child, parent = _ends(skeleton, prediction.device)
        bones = prediction.index_select(-2, child) - prediction.index_select(-2, parent)
        lengths = torch.linalg.vector_norm(bones, dim=-1)
        present = visible.index_select(-1, child) & visible.index_select(-1, parent)
        frames = present.sum(dim=1, keepdim=True)
        mean = torch.where(present, lengths, 0.0).sum(dim=1, keepdim=True) / frames.clamp(min=1)
        return (lengths - mean).square(), present & (frames > 1)


def _ends(skeleton: Skeleton, device: torch.device) -> tuple[Tensor, Tensor]:
    children, parents = tuple(child for child, _ in skeleton.bones), tuple(parent for _, parent in skeleton.bones)
    return index_on(children, device), index_on(parents, device)
