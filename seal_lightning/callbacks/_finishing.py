"""What is done to finished poses before they are written: smoothing over time, and other bone lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from seal_lightning._values import is_number
from seal_lightning.functional import clip_mean_bones, shrink_bones, smooth, symmetrise_bones
from seal_lightning.skeleton import Skeleton

__all__ = ["Finishing", "Rescaling"]

Rescaling: TypeAlias = Literal["mean", "clip_mean", "symmetrise"]


_LEAST_ERROR = 1.0  # millimetre, so that no weight is infinite


@dataclass(frozen=True)
class Finishing:
    """Smooths poses, then sets their bone lengths, which smoothing would change.

    Args:
        rescale: How bones get other lengths; None leaves them.
        lengths: Length per bone for ``"mean"``, in the unit of the poses.
        sigma: Standard deviation of the filter over time, in frames; None filters nothing.
    """

    rescale: Rescaling | None = None
    lengths: Sequence[float] | None = None
    sigma: float | None = None

    def __post_init__(self) -> None:
        if self.rescale not in (None, "mean", "clip_mean", "symmetrise"):
            raise ValueError(
                f"Expected `rescale` to be 'mean', 'clip_mean', 'symmetrise' or None, but got {self.rescale!r}."
            )
        if (self.rescale == "mean") != (self.lengths is not None):
            raise ValueError(
                "Expected `lengths`, the mean length of every bone in the training data, to go with `rescale='mean'` "
                f"and with nothing else, but got `rescale={self.rescale!r}` and `lengths={self.lengths!r}`. "
                "They are `bone_lengths(poses, skeleton).mean(0).tolist()` of true poses (N, J, 3), a function of "
                "`seal_lightning.functional`."
            )
        if self.sigma is not None and not (is_number(self.sigma) and 0 < self.sigma < float("inf")):
            raise ValueError(f"Expected `smooth` to be frames above zero, but got {self.sigma!r}.")

    def check(self, skeleton: Skeleton, fps: float | None) -> None:
        """Raise a `ValueError` where the data do not go with what is wanted of them."""
        if self.sigma is not None and fps is None:
            raise ValueError(
                "Expected the keypoints to be of a video to `smooth` their poses over time, but the data have no `fps`."
            )
        if self.lengths is not None and len(self.lengths) != len(skeleton.bones):
            raise ValueError(
                f"Expected `lengths` of the {len(skeleton.bones)} bones of the skeleton, but got {len(self.lengths)}."
            )

    def __call__(self, poses: Tensor, known: Tensor, skeleton: Skeleton, errors_mm: Tensor | None = None) -> Tensor:
        """Finish the poses of a clip.

        Args:
            poses: Poses (T, J, 3).
            known: Bool (T,); the poses of other frames are left as they are, and no pose is made of them.
            skeleton: The joints.
            errors_mm: Estimated errors of the joints (T, J), by which the filter weighs them; None weighs all alike.

        Returns:
            Poses (T, J, 3).
        """
        if not known.any():
            return poses
        if self.sigma is not None:
            # Frames without a person have weight 0 in the filter rather than being taken out, which would join what
            # lies seconds apart.
            weights = known[:, None].expand(poses.shape[:2]).float()
            if errors_mm is not None:  # the best weights for errors that are independent
                weights = torch.where(weights > 0, errors_mm.clamp(min=_LEAST_ERROR) ** -2, 0.0)
            filtered = smooth(torch.where(known[:, None, None], poses, 0.0), weights, sigma=self.sigma)
            poses = torch.where(known[:, None, None], filtered, poses)
        seen = poses[known]
        if self.rescale == "mean":
            seen = shrink_bones(seen, torch.tensor(self.lengths), skeleton)
        elif self.rescale == "clip_mean":
            seen = clip_mean_bones(seen, skeleton)
        elif self.rescale == "symmetrise":
            seen = symmetrise_bones(seen, skeleton)
        finished = poses.clone()
        finished[known] = seen.to(finished.dtype)
        return finished
