"""What competes with the critic: free scores, dropout, an ensemble, a likelihood, and boosted trees on all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.error_estimate.stored import H36M, Arrays
from seal_lightning.evaluation import TrainingPoses, free_scores, joint_free_scores

__all__ = ["Boosting", "Scores", "errors", "scores"]

Scores = dict[str, Tensor]
ROWS = 60_000  # joints that the trees are fitted to


def errors(pose: np.ndarray[Any, Any], arrays: Arrays) -> tuple[Tensor, Tensor]:
    """Errors of poses (N,) and of joints (N, J) in millimetres, relative to the root."""
    difference = torch.from_numpy(pose - pose[:, :1] - arrays["target"] + arrays["target"][:, :1])
    joints = 1e3 * difference.norm(dim=-1)
    return joints.mean(dim=1), joints


def scores(arrays: Arrays, training: TrainingPoses, others: Sequence[Arrays]) -> tuple[Scores, Scores]:
    """The scores of poses (N,) and of joints (N, J) that need no labels, by name.

    Args:
        arrays: What is stored of a host.
        training: The poses of its training.
        others: The same of hosts with other seeds; with them comes the spread of the ensemble.
    """
    single, mirrored = torch.from_numpy(arrays["single"]), torch.from_numpy(arrays["mirrored"])
    pose, keypoints = torch.from_numpy(arrays["pose"]), torch.from_numpy(arrays["keypoints"])
    # The distance of either view from their mean is half that between them; the order is the same.
    given: dict[str, Any] = {"mirrored": pose + mirrored - single, "training": training}
    whole, joint = (find(pose, keypoints, H36M, **given) for find in (free_scores, joint_free_scores))
    spread = torch.from_numpy(arrays["dropout"])
    whole, joint = whole | {"dropout": spread.mean(dim=1)}, joint | {"dropout": spread}
    if others:
        poses = torch.stack([torch.from_numpy(part["pose"]) for part in (arrays, *others)])
        spread = (poses - poses.mean(dim=0)).norm(dim=-1).mean(dim=0)
        whole, joint = whole | {"ensemble": spread.mean(dim=1)}, joint | {"ensemble": spread}
    return whole, joint


class Boosting(NamedTuple):
    """Boosted trees that estimate errors from all scores, with the loss and the kind of labels of the critic."""

    whole: Any
    joint: Any

    @classmethod
    def fit(cls, whole: Scores, joint: Scores, error: Tensor, joint_error: Tensor) -> Boosting:
        """Fit to the errors of poses (N,) and joints (N, J); needs scikit-learn, the extra ``benchmarks``."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        trees = (HistGradientBoostingRegressor(loss="gamma", max_iter=150, random_state=0) for _ in range(2))
        of_pose, of_joint = trees
        of_pose.fit(_rows(whole), error.clamp(min=0.1).numpy())
        # The root has no error relative to itself.
        rows, labels = _joint_rows(joint, whole)[:, 1:].reshape(-1, 2 * len(joint) + 1), joint_error[:, 1:].flatten()
        chosen = np.random.default_rng(0).permutation(len(rows))[:ROWS]
        of_joint.fit(rows[chosen], labels.clamp(min=0.1).numpy()[chosen])
        return cls(of_pose, of_joint)

    def estimate(self, whole: Scores, joint: Scores) -> tuple[Tensor, Tensor]:
        """Estimated errors of poses (N,) and joints (N, J), in millimetres."""
        rows = _joint_rows(joint, whole)
        of_joint = self.joint.predict(rows.reshape(-1, rows.shape[-1])).reshape(rows.shape[:2])
        return torch.from_numpy(self.whole.predict(_rows(whole))), torch.from_numpy(of_joint)


def _rows(values: Scores) -> np.ndarray[Any, Any]:
    return torch.stack([value.double() for value in values.values()], dim=-1).numpy()


def _joint_rows(joint: Scores, whole: Scores) -> np.ndarray[Any, Any]:
    """Features (N, J, F) of joints: their own scores, those of their pose, and which joint it is."""
    own = _rows(joint)
    pose = np.broadcast_to(_rows(whole)[:, None], own.shape)
    number = np.broadcast_to(np.arange(own.shape[1], dtype=float)[:, None], (*own.shape[:2], 1))
    return np.concatenate((own, pose, number), axis=-1)
