"""2D keypoints as a detector gives them: with errors, confidences and drop-outs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from seal_lightning._values import is_number
from seal_lightning.data.views.draws import Draws
from seal_lightning.skeleton import Skeleton

__all__ = ["DetectorNoise", "autoregress"]

# An error of this share of the person's size halves the confidence; a drop-out counts as four times that at least.
_HALF_CONFIDENCE = 0.05
_CONFIDENCE_SPREAD = 0.5


def _default_joint_scales() -> dict[str, float]:
    return {"hip": 0.7, "shoulder": 0.8, "knee": 1.0, "elbow": 1.2, "ankle": 1.4, "wrist": 1.6}


@dataclass(frozen=True)
class DetectorNoise:
    r"""Errors of a 2D detector: heavy-tailed, joint-dependent, correlated in time, and seen in the confidence.

    The error of a joint is ``scale * joint scale * person size * e`` with e from a bivariate Student t distribution of
    ``tail`` degrees of freedom. Over the frames of a window e follows a first-order autoregression through a Gaussian
    copula: with z a 2D Gaussian AR(1) process, ``e = z / |z| * sqrt(tail * (exp(|z|^2 / tail) - 1))``, which has
    exactly that t distribution in every frame. The person's size is the larger side of the box around the keypoints,
    and no error is larger than it.

    The confidence is ``1 / (1 + error / (0.05 * size) * exp(n / 2))`` with n standard normal: it falls with the true
    error and is itself uncertain. A joint that drops out lands on another joint of the same person, one for the whole
    window, for runs of frames when ``correlation`` is high, and its confidence is that of an error of at least 0.2
    times the person's size.

    The defaults are chosen to look like a good detector; they are not fitted to one. `sensor` is fitted.

    Args:
        scale: Typical error as a share of the person's size: 0.01 is 4 pixels for a person 400 pixels tall.
        tail: Degrees of freedom: 1 has wild outliers, 3 is heavy-tailed, above 30 is nearly Gaussian.
        correlation: Correlation of neighbouring frames of a window, from 0 to below 1.
        dropout: Share of joints that drop out, from 0 to below 1.
        joint_scales: Factor on ``scale`` by what a joint's name ends in, whatever its case; other joints have 1.

    Raises:
        TypeError: If ``joint_scales`` is no mapping.
        ValueError: If an argument is out of its range.

    Example:
        >>> clean = DetectorNoise(scale=0.0, dropout=0.0)
        >>> from seal_lightning.skeleton import get_skeleton
        >>> keypoints = torch.rand(2, 1, 17, 2, generator=torch.Generator().manual_seed(0))
        >>> noisy = clean(keypoints, get_skeleton("h36m17"), Draws(0, torch.arange(2)))
        >>> torch.equal(noisy[..., :2], keypoints), noisy[..., 2].unique().tolist()
        (True, [1.0])
    """

    scale: float = 0.006
    tail: float = 3.0
    correlation: float = 0.8
    dropout: float = 0.01
    joint_scales: dict[str, float] = field(default_factory=_default_joint_scales)

    def __post_init__(self) -> None:
        if not is_number(self.scale) or not 0.0 <= self.scale < math.inf:
            raise ValueError(f"Expected `scale` to be 0 or more, but got {self.scale!r}.")
        if not is_number(self.tail) or not 1.0 <= self.tail < math.inf:
            raise ValueError(f"Expected `tail` to be 1 or more, but got {self.tail!r}.")
        for name in ("correlation", "dropout"):
            share = getattr(self, name)
            if not is_number(share) or not 0.0 <= share < 1.0:
                raise ValueError(f"Expected `{name}` to be from 0 to below 1, but got {share!r}.")
        if not isinstance(self.joint_scales, Mapping):
            raise TypeError(f"Expected `joint_scales` to be factors by name, but got {self.joint_scales!r}.")
        if any(not is_number(factor) or not 0.0 <= factor < math.inf for factor in self.joint_scales.values()):
            raise ValueError(f"Expected `joint_scales` to hold factors of 0 or more, but got {self.joint_scales}.")

    @classmethod
    def sensor(cls) -> DetectorNoise:
        """The errors of a depth sensor's body tracker, a Kinect v2, fitted to recordings of eight people at 30 Hz.

        Twice as large as the defaults, equal for all joints, slower, and without drop-outs. docs/data.md says how they
        were measured, and what about the sensor they leave out.

        Example:
            >>> DetectorNoise.sensor()
            DetectorNoise(scale=0.0125, tail=3.0, correlation=0.97, dropout=0.0, joint_scales={})
        """
        return cls(scale=0.0125, tail=3.0, correlation=0.97, dropout=0.0, joint_scales={})

    def __call__(self, keypoints_2d: Tensor, skeleton: Skeleton, draws: Draws) -> Tensor:
        """Disturb windows of keypoints.

        Args:
            keypoints_2d: True 2D keypoints, shape (B, T, J, 2); T is 1 for single frames.
            skeleton: The joints, for their names.
            draws: Random numbers of B rows; the same draws give the same errors.

        Returns:
            Keypoints and confidences in (0, 1], shape (B, T, J, 3).

        Raises:
            ValueError: If the keypoints have another shape.
        """
        if keypoints_2d.ndim != 4 or keypoints_2d.shape[2:] != (skeleton.num_joints, 2):
            expected = f"(B, T, {skeleton.num_joints}, 2)"
            raise ValueError(f"Expected `keypoints_2d` to have shape {expected}, but got {tuple(keypoints_2d.shape)}.")
        frames, joints = keypoints_2d.shape[1:3]
        latent = autoregress(draws.normal("noise", frames, joints, 4), self.correlation)
        size = (keypoints_2d.amax(dim=2) - keypoints_2d.amin(dim=2)).amax(dim=-1)[..., None]

        length = latent[..., :2].norm(dim=-1)
        # Clamped where float32 would overflow: the error is cut to the person's size anyway.
        heavy = (self.tail * torch.expm1((length.square() / self.tail).clamp_max(80.0))).sqrt()
        error = torch.minimum(self.scale * self._joint_factors(skeleton) * size * heavy, size)
        moved = keypoints_2d + latent[..., :2] / length[..., None] * error[..., None]

        dropped = latent[..., 3] < torch.special.ndtri(torch.tensor(self.dropout))
        shift = 1 + (draws.uniform("landing", joints) * (joints - 1)).long()
        other = (torch.arange(joints) + shift) % joints
        landing = moved.gather(2, other[:, None, :, None].expand(-1, frames, -1, 2))
        seen = torch.where(dropped[..., None], landing, moved)

        distance = (seen - keypoints_2d).norm(dim=-1) / size.clamp_min(torch.finfo(size.dtype).tiny)
        distance = torch.where(dropped, distance.clamp_min(4 * _HALF_CONFIDENCE), distance)
        confidence = 1.0 / (1.0 + distance / _HALF_CONFIDENCE * (_CONFIDENCE_SPREAD * latent[..., 2]).exp())
        return torch.cat((seen, confidence[..., None]), dim=-1)

    def _joint_factors(self, skeleton: Skeleton) -> Tensor:
        endings = {ending.lower(): factor for ending, factor in self.joint_scales.items()}
        names = [name.lower() for name in skeleton.names]
        return torch.tensor([next((f for e, f in endings.items() if name.endswith(e)), 1.0) for name in names])


def autoregress(noise: Tensor, correlation: float) -> Tensor:
    """Stationary AR(1) process of unit variance along axis 1, from white noise of unit variance."""
    if noise.shape[1] == 1 or correlation == 0.0:
        return noise
    states = noise * math.sqrt(1.0 - correlation**2)
    states[:, 0] = noise[:, 0]
    for before, state in pairwise(states.unbind(1)):
        state += correlation * before
    return states
