"""What competes with the critic: free scores, dropout, an ensemble, a likelihood, and models of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from benchmarks.error_estimate.score_net import ScoreNet
from benchmarks.error_estimate.stored import H36M, Arrays
from seal_lightning.evaluation import TrainingPoses, free_scores, joint_free_scores

__all__ = ["Kind", "Learned", "Scores", "errors", "scores"]

Scores: TypeAlias = dict[str, Tensor]
Rows: TypeAlias = Tensor  # (N, F), float64
Kind: TypeAlias = Literal["boosting", "small net"]
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


class Learned(NamedTuple):
    """What is fitted to all scores of a finished host on labelled views: one model of poses, and one of joints."""

    kind: Kind
    whole: Callable[[Rows], Tensor]
    joint: Callable[[Rows], Tensor]

    @classmethod
    def fit(cls, kind: Kind, whole: Scores, joint: Scores, error: Tensor, joint_error: Tensor) -> Learned:
        """Fit to the errors of poses (N,) and joints (N, J); ``boosting`` needs scikit-learn (extra ``benchmarks``)."""
        of_pose = _KINDS[kind](_rows(whole), error)
        # The root has no error relative to itself.
        rows, labels = _joint_rows(kind, joint, whole)[:, 1:].flatten(0, 1), joint_error[:, 1:].flatten()
        chosen = torch.from_numpy(np.random.default_rng(0).permutation(len(rows))[:ROWS])
        return cls(kind, of_pose, _KINDS[kind](rows[chosen], labels[chosen]))

    def estimate(self, whole: Scores, joint: Scores) -> tuple[Tensor, Tensor]:
        """Estimated errors of poses (N,) and joints (N, J), in millimetres."""
        rows = _joint_rows(self.kind, joint, whole)
        return self.whole(_rows(whole)), self.joint(rows.flatten(0, 1)).reshape(rows.shape[:2])


def _boosted(rows: Rows, error: Tensor) -> Callable[[Rows], Tensor]:
    """Boosted trees with the critic's loss."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    trees = HistGradientBoostingRegressor(loss="gamma", max_iter=150, random_state=0)
    trees.fit(rows.numpy(), error.clamp(min=0.1).numpy())
    return lambda rows: torch.from_numpy(trees.predict(rows.numpy()))


_KINDS: dict[Kind, Callable[[Rows, Tensor], Callable[[Rows], Tensor]]] = {"boosting": _boosted, "small net": ScoreNet}


def _rows(values: Scores) -> Rows:
    return torch.stack([value.double().nan_to_num(0.0) for value in values.values()], dim=-1)


def _joint_rows(kind: Kind, joint: Scores, whole: Scores) -> Rows:
    """Features (N, J, F) of joints: their own scores, those of their pose, and which joint it is."""
    own = _rows(joint)
    pose = _rows(whole)[:, None].expand_as(own)
    number = torch.arange(own.shape[1])
    # Trees split a number where they like; a net needs a switch for every joint.
    which = number.double()[:, None] if kind == "boosting" else torch.nn.functional.one_hot(number).double()
    return torch.cat((own, pose, which.expand(len(own), *which.shape)), dim=-1)
