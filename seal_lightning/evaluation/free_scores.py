"""Scores of how much a predicted pose can be trusted that need no training: the rivals of an error estimate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seal_lightning.functional import bone_lengths, root_align
from seal_lightning.functional.checks import as_pose
from seal_lightning.functional.label_free import joint_reprojection
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["TrainingPoses", "free_scores", "joint_free_scores"]

_RIDGE = 1e-3  # of the mean variance: joints at the root do not move at all


@dataclass(frozen=True, eq=False)
class TrainingPoses:
    """What poses and bodies of the training look like: mean and covariance of the joints, mean length of every bone.

    Args:
        skeleton: The joints.
        mean: Mean pose relative to the root, shape (J, 3).
        covariance: Covariance of its numbers, shape (3 J, 3 J).
        lengths: Mean bone lengths, shape (J - 1,).

    Example:
        >>> arm = Skeleton(("neck", "l", "r"), (-1, 0, 0), left=(1,), right=(2,))
        >>> poses = torch.tensor([[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]]).repeat(4, 1, 1)
        >>> TrainingPoses.of(poses, arm).lengths
        tensor([2., 1.], dtype=torch.float64)
    """

    skeleton: Skeleton
    mean: Tensor
    covariance: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, poses: Tensor, skeleton: str | Skeleton) -> TrainingPoses:
        """Measure true poses (N, J, 3) of the training, in the frame and the unit of the predictions.

        Raises:
            ValueError: If there are fewer than two poses, or their shape does not fit the skeleton.
        """
        skeleton = get_skeleton(skeleton)
        poses = root_align(as_pose(poses, "poses", skeleton.num_joints).double(), skeleton.root_joints)
        if poses.ndim != 3 or len(poses) < 2:
            raise ValueError(f"Expected `poses` to have shape (N, J, 3) with N above 1, but got {tuple(poses.shape)}.")
        lengths = bone_lengths(poses, skeleton).mean(dim=0)
        return cls(skeleton, poses.mean(dim=0), torch.cov(poses.flatten(1).T), lengths)

    def distance(self, poses: Tensor) -> Tensor:
        """Mahalanobis distance (N,) of poses (N, J, 3) from the mean, over the root of the number of coordinates."""
        return _mahalanobis(self._centred(poses).flatten(1), self.covariance)

    def joint_distance(self, poses: Tensor) -> Tensor:
        """Mahalanobis distance (N, J) of every joint of poses (N, J, 3) by itself."""
        centred = self._centred(poses)
        blocks = self.covariance.reshape(len(self.mean), 3, -1, 3).diagonal(dim1=0, dim2=2).movedim(-1, 0)
        return torch.stack([_mahalanobis(x, block) for x, block in zip(centred.unbind(1), blocks, strict=True)], dim=1)

    def _centred(self, poses: Tensor) -> Tensor:
        aligned = root_align(poses.double(), self.skeleton.root_joints)
        return aligned - self.mean.to(aligned.device)


def free_scores(
    prediction: Tensor,
    keypoints_2d: Tensor,
    skeleton: str | Skeleton,
    *,
    mirrored: Tensor | None = None,
    training: TrainingPoses | None = None,
) -> dict[str, Tensor]:
    """Scores of poses that need no training, each higher where there is more to mistrust.

    ``flip``: how far apart the pose and the one that is lifted in the mirror are, in the unit of the poses.
    ``reprojection``: see `reprojection_error`, in percent. ``asymmetry``: see `limb_symmetry_error`, in percent.
    ``bone deviation``: how far bones are from their mean lengths in the training, in percent. ``confidence``: what the
    detector's confidence lacks of 1. ``Mahalanobis``: distance of the pose from those of the training. Each is the mean
    over the joints of `joint_free_scores`, but for the last, which sees the joints together.

    Args:
        prediction: Predicted poses, shape (N, J, 3), in the frame of the camera.
        keypoints_2d: What they were lifted from, shape (N, J, 2 or 3).
        skeleton: Skeleton or name of a built-in one.
        mirrored: What is predicted from the mirrored keypoints, mirrored back by `mirror_poses`, shape (N, J, 3). None
            leaves out ``flip``.
        training: Poses of the training. None leaves out the two scores that know them.

    Returns:
        Scores (N,) by name; ``confidence`` only where there are confidences.

    Raises:
        ValueError: If shapes do not fit.

    Example:
        >>> arm = Skeleton(("neck", "l", "r"), (-1, 0, 0), left=(1,), right=(2,))
        >>> pose = torch.tensor([[[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]])
        >>> seen = torch.tensor([[[0.0, 0.0, 0.9], [0.3, 0.0, 0.8], [-0.1, 0.0, 0.7]]])
        >>> {name: round(value.item(), 3) for name, value in free_scores(pose, seen, arm).items()}
        {'reprojection': 0.0, 'asymmetry': 50.0, 'confidence': 0.2}
    """
    skeleton = get_skeleton(skeleton)
    scores = _of_joints(prediction, keypoints_2d, skeleton, mirrored, training)
    child = [joint for joint, _ in skeleton.bones]
    paired = [joint for joint in child if skeleton.partners[joint] != joint]
    where = {"asymmetry": paired, "bone deviation": child}
    means = {
        name: values[:, where.get(name, list(range(skeleton.num_joints)))].nanmean(dim=1)
        for name, values in scores.items()
    }
    return means if training is None else means | {"Mahalanobis": training.distance(prediction)}


def joint_free_scores(
    prediction: Tensor,
    keypoints_2d: Tensor,
    skeleton: str | Skeleton,
    *,
    mirrored: Tensor | None = None,
    training: TrainingPoses | None = None,
) -> dict[str, Tensor]:
    """The scores of `free_scores` for every joint by itself, shape (N, J).

    Asymmetry and bone deviation of a joint are those of the bone that ends there, and 0 where there is none.
    ``Mahalanobis`` is that of the joint's own three coordinates. Arguments and errors are those of `free_scores`.
    """
    skeleton = get_skeleton(skeleton)
    scores = _of_joints(prediction, keypoints_2d, skeleton, mirrored, training)
    return scores if training is None else scores | {"Mahalanobis": training.joint_distance(prediction)}


def _of_joints(
    prediction: Tensor,
    keypoints_2d: Tensor,
    skeleton: Skeleton,
    mirrored: Tensor | None,
    training: TrainingPoses | None,
) -> dict[str, Tensor]:
    prediction = as_pose(prediction, joints=skeleton.num_joints)
    scores: dict[str, Tensor] = {}
    if mirrored is not None:
        scores["flip"] = torch.linalg.vector_norm(prediction - mirrored, dim=-1)
    scores["reprojection"] = joint_reprojection(prediction, keypoints_2d)
    lengths = bone_lengths(prediction, skeleton)
    index = {child: bone for bone, (child, _) in enumerate(skeleton.bones)}
    asymmetry, deviation = torch.zeros(2, *prediction.shape[:-1], dtype=lengths.dtype, device=lengths.device).unbind()
    for child, bone in index.items():
        other = lengths[:, index.get(skeleton.partners[child], bone)]
        asymmetry[:, child] = 100.0 * (lengths[:, bone] - other).abs() / (lengths[:, bone] + other)
        if training is not None:
            usual = float(training.lengths[bone])
            deviation[:, child] = 100.0 * (lengths[:, bone] / usual - 1.0).abs()
    scores["asymmetry"] = asymmetry
    if training is not None:
        scores["bone deviation"] = deviation
    if keypoints_2d.shape[-1] == 3:
        scores["confidence"] = 1.0 - keypoints_2d[..., 2]
    return scores


def _mahalanobis(centred: Tensor, covariance: Tensor) -> Tensor:
    """Distances (N,) of rows (N, D), over the root of D."""
    covariance = covariance.to(centred)
    size = len(covariance)
    scale = covariance.diagonal().mean()
    if not bool(scale > 0):  # the root, which never moves
        return centred.new_zeros(len(centred))
    ridge = _RIDGE * scale * torch.eye(size).to(covariance)
    factor = torch.linalg.cholesky(covariance + ridge)
    white = torch.linalg.solve_triangular(factor, centred.T, upper=False)
    distance: Tensor = torch.linalg.vector_norm(white, dim=0) / math.sqrt(size)
    return distance
