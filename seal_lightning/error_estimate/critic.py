"""A network that estimates how far off a predicted pose is, in millimetres, of the pose and of every joint."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from seal_lightning._values import check_counts
from seal_lightning.error_estimate.features import BoneFeatures, reprojection_features
from seal_lightning.loss.random import own_random_numbers
from seal_lightning.loss_nets.frame import BodyFrame
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["INPUTS", "ErrorCritic", "Errors", "LogErrors"]

INPUTS = ("keypoints", "confidence", "pose", "flip")

_CHANNELS = {"keypoints": 2, "confidence": 1, "pose": 5, "flip": 4}  # of a joint
_REPROJECTION = 3  # more, where both keypoints and pose are seen
_SHORTEST = 1e-3  # in mean bone lengths: what the logarithm of a length does not go below
# Estimates stay between a thousandth and a thousand bone lengths, so that no exponential overflows.
_FARTHEST = 7.0
_FORMAT = 1


class LogErrors(NamedTuple):
    """Logarithms of expected errors, in units of the mean bone length."""

    pose: Tensor
    """(...), of the mean distance of a pose's joints from the truth."""
    joints: Tensor
    """(..., J), of the distance of every joint."""


class Errors(NamedTuple):
    """Expected errors, in millimetres."""

    pose: Tensor
    """(...), the mean distance of a pose's joints from the truth, aligned at the root."""
    joints: Tensor
    """(..., J), the distance of every joint."""


class ErrorCritic(nn.Module):
    r"""Estimates the error of a predicted pose and of each of its joints from what is known without the truth.

    It sees the pose as loss-nets do, relative to the root and in units of the mean bone length, the keypoints with
    their confidences, and the flip vector: the difference between the prediction and the mirrored prediction of the
    mirrored view. What a small network would be slow to find out, it is shown: the lengths of the bones, how they
    differ from left to right, and where the pose, projected, disagrees with the keypoints. A multilayer perceptron
    gives the logarithm of one expected error a pose and one a joint. The weights of a joint depend on its name, not on
    its position in the skeleton.

    `seal_lightning.callbacks.ErrorEstimate` fits it beside a host.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`.
        inputs: What it sees, out of "keypoints", "confidence", "pose" and "flip".
        hidden: Width of the hidden layers.
        depth: Number of hidden layers.
        seed: Seed of its first weights, which are drawn from a random stream of its own.

    Raises:
        ValueError: If an input is unknown or there is none, or a size is not positive.

    Example:
        >>> critic = ErrorCritic("h36m17", inputs=("keypoints", "pose"), hidden=8, depth=1)
        >>> log_errors = critic(keypoints=torch.zeros(2, 17, 2), pose=torch.zeros(2, 17, 3))
        >>> log_errors.pose.shape, log_errors.joints.shape
        (torch.Size([2]), torch.Size([2, 17]))
    """

    joint_order: Tensor
    millimetres: Tensor
    scale: Tensor
    factor_90: Tensor

    def __init__(
        self,
        skeleton: str | Skeleton,
        inputs: Sequence[str] = INPUTS,
        hidden: int = 256,
        depth: int = 3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_counts(hidden=hidden, depth=depth)
        if not inputs or not set(inputs) <= set(INPUTS) or len(set(inputs)) != len(inputs):
            raise ValueError(f"Expected `inputs` to be one or more of {list(INPUTS)}, but got {list(inputs)}.")
        self.skeleton = get_skeleton(skeleton)
        self.inputs = tuple(name for name in INPUTS if name in inputs)
        self.hidden, self.depth, self.seed = hidden, depth, seed
        self.frame, self.bones = BodyFrame(self.skeleton), BoneFeatures(self.skeleton)
        names = self.skeleton.names
        joint_order = torch.tensor(sorted(range(len(names)), key=names.__getitem__))
        self.register_buffer("joint_order", joint_order, persistent=False)
        self.register_buffer("joint_place", joint_order.argsort(), persistent=False)
        self.register_buffer("millimetres", torch.zeros(()))  # of the unit of the poses; zero before it is fitted
        self.register_buffer("scale", torch.ones(2))  # of pose and joints, so that validation poses have no bias
        self.register_buffer("factor_90", torch.full((2,), torch.nan))  # of pose and joints
        self._reprojects = {"keypoints", "pose"} <= {*self.inputs}
        channels = sum(_CHANNELS[name] for name in self.inputs) + _REPROJECTION * self._reprojects
        features = len(names) * channels
        # The host draws the same random numbers with and without a critic.
        with own_random_numbers(seed, 0, torch.device("cpu")):
            layers: list[nn.Module] = []
            for width in (features, *[hidden] * (depth - 1)):
                layers += [nn.Linear(width, hidden), nn.SiLU()]
            self.layers = nn.Sequential(*layers)
            self.head = nn.Linear(hidden, 1 + len(names))
            nn.init.zeros_(self.head.weight)

    @property
    def fitted(self) -> bool:
        """Whether it has learned from errors in a known unit."""
        return float(self.millimetres) > 0

    def forward(
        self,
        *,
        pose: Tensor,
        keypoints: Tensor | None = None,
        confidence: Tensor | None = None,
        flip: Tensor | None = None,
    ) -> LogErrors:
        """Estimate errors in units of the mean bone length; see `errors` for millimetres.

        Args:
            pose: Predicted poses (..., J, 3), in the unit that the critic was fitted in.
            keypoints: Normalised keypoints (..., J, 2) that they were made from.
            confidence: Confidences of the keypoints (..., J).
            flip: Prediction minus mirrored prediction of the mirrored view (..., J, 3), in the unit of the poses.

        Raises:
            ValueError: If one of the critic's `inputs` is not given, or a shape does not fit.
        """
        leading = pose.shape[:-2]
        given = {"keypoints": keypoints, "confidence": confidence, "pose": pose, "flip": flip}
        self._check(given)
        framed, parts = self.frame(pose, pose.new_zeros(*pose.shape[:-1], 2)), []
        for name in self.inputs:
            value: Any = given[name]
            value = value[..., None] if name == "confidence" else value
            value = value.float().flatten(0, -3)
            if name == "pose":
                value = torch.cat((framed.pose, self.bones(framed.pose)), dim=-1)
            elif name == "flip":
                vector = value / framed.unit
                length = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
                value = torch.cat((vector, length.clamp(min=_SHORTEST).log()), dim=-1)
            parts.append(value)
        if self._reprojects and keypoints is not None:
            trust = None if confidence is None or "confidence" not in self.inputs else confidence.float().flatten(0, -2)
            parts.append(reprojection_features(framed.pose, keypoints.float().flatten(0, -3), trust))
        joints = torch.cat(parts, dim=-1).index_select(1, self.joint_order)
        logs = self.head(self.layers(joints.flatten(1))).clamp(-_FARTHEST, _FARTHEST)
        by_joint = logs[:, 1:].index_select(1, self.joint_place)
        return LogErrors(logs[:, 0].reshape(leading), by_joint.reshape(*leading, self.skeleton.num_joints))

    def errors(self, **inputs: Tensor | None) -> Errors:
        """Estimate errors in millimetres, without a gradient.

        Args:
            **inputs: As `forward`.

        Raises:
            ValueError: If the critic was not fitted, or as `forward`.
        """
        if not self.fitted:
            raise ValueError("Expected a critic that was fitted, but this one was not: its weights are random.")
        with torch.no_grad():
            logs = self(**inputs)
        of_pose, of_joints = self.frame.bone_length * self.millimetres * self.scale
        return Errors(logs.pose.exp() * of_pose, logs.joints.exp() * of_joints)

    def bounds(self, errors: Errors) -> Errors:
        """Bounds in millimetres that nine in ten errors stay below; NaN where they were not calibrated.

        Args:
            errors: What `errors` returned.
        """
        return Errors(errors.pose * self.factor_90[0], errors.joints * self.factor_90[1])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights and settings to an npz of plain arrays.

        Args:
            path: The file.
        """
        skeleton = {
            name: getattr(self.skeleton, name) for name in ("names", "parents", "left", "right", "root", "limbs")
        }
        settings = {"inputs": self.inputs, "hidden": self.hidden, "depth": self.depth, "seed": self.seed}
        header = json.dumps({"format": _FORMAT, "skeleton": skeleton, **settings})
        arrays: dict[str, Any] = {name: tensor.cpu().numpy() for name, tensor in self.state_dict().items()}
        with open(path, "wb") as file:  # an open file, because numpy would add an ending to a path
            np.savez_compressed(file, settings=np.array(header), **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ErrorCritic:
        """Read a critic that `save` wrote; nothing in the file is run.

        Args:
            path: The file.

        Raises:
            ValueError: If it is no such file.

        Example:
            >>> import tempfile
            >>> critic, path = ErrorCritic("coco17", hidden=8), os.path.join(tempfile.mkdtemp(), "critic.npz")
            >>> critic.save(path)
            >>> ErrorCritic.load(path).skeleton == critic.skeleton
            True
        """
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        try:
            settings = json.loads(str(arrays.pop("settings")))
            form = settings.pop("format")
        except (KeyError, ValueError) as error:
            raise ValueError(f"Expected {os.fspath(path)!r} to be a file that `ErrorCritic.save` wrote.") from error
        if form != _FORMAT:
            raise ValueError(f"Expected a critic of format {_FORMAT} in {os.fspath(path)!r}, but got {form!r}.")
        critic = cls(Skeleton(**settings.pop("skeleton")), **settings)
        critic.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        return critic

    def _check(self, given: dict[str, Tensor | None]) -> None:
        joints, leading = self.skeleton.num_joints, (given["pose"],)[0].shape[:-2]  # type: ignore[union-attr]
        shapes = {"keypoints": (joints, 2), "confidence": (joints,), "pose": (joints, 3), "flip": (joints, 3)}
        for name in {*self.inputs, "pose"}:
            value, wanted = given[name], (*leading, *shapes[name])
            if value is None:
                raise ValueError(
                    f"Expected `{name}`, which is among the critic's inputs {list(self.inputs)}, but got none."
                )
            if tuple(value.shape) != wanted:
                raise ValueError(f"Expected `{name}` to have shape {wanted}, but got {tuple(value.shape)}.")
