"""Estimated errors of the frames of a file, as they come batch by batch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seal_lightning.callbacks.error_estimate import Estimated

__all__ = ["SCORE_SCALE", "FrameErrors"]

SCORE_SCALE = 100.0
"""Millimetres at which a score, exp(-error / scale), has fallen to 1 / e."""


class FrameErrors:
    """Errors in millimetres by frame, NaN where there are none.

    Args:
        frames: Number of frames N.
        joints: Number of joints J.
    """

    def __init__(self, frames: int, joints: int) -> None:
        self._pose = torch.full((2, frames), torch.nan)  # estimate and bound
        self._joints = torch.full((2, frames, joints), torch.nan)

    def add(self, estimated: Estimated, frame: Tensor, wanted: Tensor) -> None:
        """Take the wanted poses (N,), bool, of a batch for these frames."""
        for row, errors in enumerate((estimated.errors, estimated.bounds)):
            self._pose[row, frame] = errors.pose.flatten()[wanted].float().cpu()
            self._joints[row, frame] = errors.joints.flatten(0, -2)[wanted].float().cpu()

    @property
    def of_joints(self) -> Tensor:
        """Estimated errors of the joints (N, J)."""
        return self._joints[0]

    def arrays(self, somebody: Tensor) -> dict[str, npt.NDArray[np.float32]]:
        """What is written, by name: errors, bounds and scores; NaN in frames without anybody.

        Args:
            somebody: Whether there is a person in the frame (N,).
        """
        pose, joints = self._pose.where(somebody, torch.nan), self._joints.where(somebody[:, None], torch.nan)
        arrays = {"error_mm": pose[0], "joint_error_mm": joints[0]}
        if self._pose[1].isfinite().any():
            arrays |= {"error_90_mm": pose[1], "joint_error_90_mm": joints[1]}
        scores = {"score": pose[0], "keypoint_scores": joints[0]}
        arrays |= {name: (-errors / SCORE_SCALE).exp() for name, errors in scores.items()}
        return {name: values.numpy() for name, values in arrays.items()}
