"""Hand-written losses that state outright what the structure of a predicted pose should be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from seal_lightning.functional.checks import as_pair, as_visible
from seal_lightning.functional.poses import Poses, bone_ends, both_ends
from seal_lightning.functional.terms import Terms, body_segment_terms, pose_means, symmetry_terms
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = [
    "BoneDirectionConstraint",
    "BoneLengthConstraint",
    "Constraint",
    "PairwiseDistanceConstraint",
    "SymmetryConstraint",
    "TemporalVarianceConstraint",
]

# Share of the true length. The gradient of a direction grows without bound as a bone shrinks to nothing, so the
# direction of a bone that is shorter than this fades out.
_SHORTEST = 1e-3


@dataclass(frozen=True)
class Constraint(ABC):
    """Base class of a loss on the structure of predicted poses: one value per pose, in their unit or its square.

    In a training step that you write yourself, it is one more term of the loss::

        loss = mpjpe(prediction, target) + 0.1 * BoneLengthConstraint("h36m17")(prediction, target).mean()

    A model that you do not want to edit gets it from `constrain`. To write a constraint of your own, implement `terms`.

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
        """Return the loss of every pose: the mean of those of its terms that count, or 0 where none counts.

        Args:
            prediction: Predicted poses, shape (..., J, 3).
            target: True poses, same shape and unit.
            visibility: Mask (..., J) of the visible joints, boolean or 0/1. A term that involves an invisible joint
                does not count.

        Returns:
            Losses (...), in float32 or a wider type.

        Raises:
            TypeError: If a pose is not a floating-point tensor.
            ValueError: If the shapes do not fit each other or the skeleton.
        """
        skeleton = get_skeleton(self.skeleton)
        prediction, target = as_pair(prediction, target, skeleton.num_joints)
        visible = as_visible(visibility, prediction)
        if visibility is not None:
            # An invisible joint may hold anything, NaN included. Masking the errors would not do: the gradient of a NaN
            # is NaN even where its factor is 0. So the joint itself is replaced.
            prediction, target = (torch.where(visible[..., None], pose, 0.0) for pose in (prediction, target))
        errors, counted = self.terms(prediction, target, visible, skeleton)
        return pose_means(Terms(errors, counted, counted))[0]

    @abstractmethod
    def terms(self, prediction: Tensor, target: Tensor, visible: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
        """Return the errors (..., n) of poses (..., J, 3), and a boolean mask (..., n) of those that count.

        The shapes are already checked, `visible` (..., J) is boolean, and invisible joints lie at the origin.
        """


@dataclass(frozen=True)
class BoneLengthConstraint(Constraint):
    r"""Asks for bones as long as the true ones: the mean over bones of :math:`|l - l^*|`, where * marks the truth.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`.

    Example:
        A bone of length 10 instead of 5:

        >>> target = torch.tensor([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0]])
        >>> BoneLengthConstraint(Skeleton.from_parents([-1, 0]))(2 * target, target)
        tensor(5.)
    """

    def terms(self, prediction: Tensor, target: Tensor, visible: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
        """Return one error per bone, which counts if both ends of the bone are visible."""
        errors, counted, _ = body_segment_terms(Poses(prediction, target, visible), skeleton, False)
        return errors, counted


@dataclass(frozen=True)
class SymmetryConstraint(Constraint):
    r"""Asks for left bones as long as right ones: the mean over pairs of :math:`|l_L - l_R|`. It ignores the truth.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`.

    Raises:
        ValueError: If the skeleton has no paired bones.

    Example:
        A left arm of length 3 and a right arm of length 1:

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
        """Return one error per pair of bones, which counts if all joints of the pair are visible."""
        errors, counted, _ = symmetry_terms(Poses(prediction, None, visible), skeleton, False)
        return errors, counted


@dataclass(frozen=True)
class BoneDirectionConstraint(Constraint):
    r"""Asks for bones that point where the true ones do: mean over bones of :math:`l^{*2} \lVert u - u^* \rVert^2`.

    Here u is the unit vector along a bone, and l its length; * marks the truth. A wrong direction displaces the far end
    of a long bone further than that of a short one, and the factor of the squared true length makes it count for as
    much. To keep gradients bounded, the vector u of a bone that is shorter than a thousandth of the true one is shorter
    than 1, and 0 at length zero.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`.

    Example:
        A true bone of length 2, predicted at a right angle: 4 * 2 = 8, whatever the predicted length:

        >>> target = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
        >>> prediction = torch.tensor([[0.0, 0.0, 0.0], [0.0, 7.0, 0.0]])
        >>> BoneDirectionConstraint(Skeleton.from_parents([-1, 0]))(prediction, target)
        tensor(8.)
    """

    def terms(self, prediction: Tensor, target: Tensor, visible: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
        """Return one error per bone, which counts if both ends of the bone are visible."""
        child, parent = bone_ends(skeleton, prediction.device)
        bone, true_bone = (
            pose.index_select(-2, child) - pose.index_select(-2, parent) for pose in (prediction, target)
        )
        true_length = torch.linalg.vector_norm(true_bone, dim=-1, keepdim=True)
        length = torch.maximum(torch.linalg.vector_norm(bone, dim=-1, keepdim=True), _SHORTEST * true_length)
        # The divisor is zero only where both bones have no length. The bone vector is then zero too, and so is the
        # error.
        scaled = true_length * bone / torch.where(length == 0, 1.0, length)
        errors = (scaled - true_bone).square().sum(-1)
        return errors, both_ends(visible, skeleton)


@dataclass(frozen=True)
class PairwiseDistanceConstraint(Constraint):
    r"""Asks for joints as far apart as the true ones: mean over all pairs of joints of :math:`|d_{ij} - d^*_{ij}|`.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`. Only its number of joints matters.

    Example:
        Distances of 3, 4 and 5 where all joints should coincide:

        >>> prediction = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
        >>> PairwiseDistanceConstraint(Skeleton.from_parents([-1, 0, 0]))(prediction, torch.zeros(3, 3))
        tensor(4.)
    """

    def terms(self, prediction: Tensor, target: Tensor, visible: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
        """Return one error per pair of joints, which counts if both are visible."""
        one, other = torch.triu_indices(skeleton.num_joints, skeleton.num_joints, 1, device=prediction.device)
        distance, true_distance = (
            torch.linalg.vector_norm(pose.index_select(-2, one) - pose.index_select(-2, other), dim=-1)
            for pose in (prediction, target)
        )
        return (distance - true_distance).abs(), visible.index_select(-1, one) & visible.index_select(-1, other)


@dataclass(frozen=True)
class TemporalVarianceConstraint(Constraint):
    r"""Asks for bones that keep their length over a clip: mean over bones of :math:`(l_t - \bar l)^2` in every frame t.

    Its mean over the frames is the variance of the length, averaged over the bones. It ignores the truth. The mean
    length of a bone, :math:`\bar l`, is over the frames that show both its ends.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`.

    Example:
        A bone of length 1, then 3: each is at a distance of 1 from the mean.

        >>> clip = torch.tensor([[[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 3.0, 0.0]]]])
        >>> TemporalVarianceConstraint(Skeleton.from_parents([-1, 0]))(clip, clip)
        tensor([[1., 1.]])
    """

    def terms(self, prediction: Tensor, target: Tensor, visible: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
        """Return one error per frame and bone, which counts if its ends are visible in this frame and in another.

        Raises:
            ValueError: If the poses are not clips (B, T, J, 3) of two frames or more.
        """
        if prediction.ndim != 4 or prediction.shape[1] < 2:
            raise ValueError(
                f"Expected `prediction` to have shape (B, T, {skeleton.num_joints}, 3) with at least 2 frames, "
                f"but got {tuple(prediction.shape)}."
            )
        child, parent = bone_ends(skeleton, prediction.device)
        bones = prediction.index_select(-2, child) - prediction.index_select(-2, parent)
        lengths = torch.linalg.vector_norm(bones, dim=-1)
        present = both_ends(visible, skeleton)
        frames = present.sum(dim=1, keepdim=True)
        mean = torch.where(present, lengths, 0.0).sum(dim=1, keepdim=True) / frames.clamp(min=1)
        return (lengths - mean).square(), present & (frames > 1)
