"""Damage to keypoints: the mixture that hosts and critics are trained with, and a family that none of them sees."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from seal_lightning.data import KeypointCorruption
from seal_lightning.data.views.draws import Draws
from seal_lightning.skeleton import Skeleton

__all__ = ["CLEAN", "MIXED", "UNSEEN", "Mixture", "Truncation", "TurnedLimb"]

Damage: TypeAlias = Callable[[Tensor, Skeleton, Draws], Tensor]


@dataclass(frozen=True)
class Mixture:
    """Damages shares of the samples in different ways; the rest stays as it is.

    Args:
        parts: Pairs of a share and a damage; the shares sum to at most 1.
    """

    parts: tuple[tuple[float, Damage], ...] = ()

    def __call__(self, keypoints_2d: Tensor, skeleton: Skeleton, draws: Draws) -> Tensor:
        """Damage windows (B, T, J, 3)."""
        number = draws.uniform("part", 1, 1, 1)
        result, low = keypoints_2d, 0.0
        for share, damage in self.parts:
            chosen = (number >= low) & (number < low + share)
            result = torch.where(chosen, damage(keypoints_2d, skeleton, draws), result)
            low += share
        return result


@dataclass(frozen=True)
class Truncation:
    """A person who stands across the border of the picture: joints beyond it are found on it, at half the confidence.

    The border lies to the left, to the right, above or below, and cuts off 10 to 40 % of the person.
    """

    def __call__(self, keypoints_2d: Tensor, skeleton: Skeleton, draws: Draws) -> Tensor:
        """Damage windows (B, T, J, 3); the border is the same for all frames."""
        place, confidence = keypoints_2d[..., :2], keypoints_2d[..., 2:]
        low, high = place.amin(dim=(1, 2), keepdim=True), place.amax(dim=(1, 2), keepdim=True)
        cut = (0.1 + 0.3 * draws.uniform("cut", 1, 1, 1)) * (high - low)
        side = (4 * draws.uniform("side", 1, 1, 1)).long()
        axis = torch.arange(2) == side % 2  # of the two coordinates, the one that is cut
        first = axis & (side < 2)
        last = axis & (side >= 2)
        bounded = torch.where(first, place.maximum(low + cut), torch.where(last, place.minimum(high - cut), place))
        beyond = (bounded != place).any(dim=-1, keepdim=True)
        return torch.cat((bounded, torch.where(beyond, 0.5 * confidence, confidence)), dim=-1)


@dataclass(frozen=True)
class TurnedLimb:
    """A limb that is taken for something else nearby: turned in the picture by 45 to 135 degrees, and still certain."""

    def __call__(self, keypoints_2d: Tensor, skeleton: Skeleton, draws: Draws) -> Tensor:
        """Damage windows (B, T, J, 3); the limb and the angle are the same for all frames."""
        chosen = (len(skeleton.limbs) * draws.uniform("limb", 1)).long()[:, 0]
        turn = draws.uniform("turn", 2)
        angle = math.pi * (0.25 + 0.5 * turn[:, 0]) * torch.where(turn[:, 1] < 0.5, -1.0, 1.0)
        cos, sin = angle.cos(), angle.sin()
        rotation = torch.stack((torch.stack((cos, -sin), -1), torch.stack((sin, cos), -1)), -2)
        limbs = torch.tensor(skeleton.limbs)
        pivot = limbs[chosen, 0]
        rows = torch.arange(len(keypoints_2d))
        centre = keypoints_2d[rows, :, pivot, :2][:, :, None]
        turned = torch.einsum("bij,btkj->btki", rotation, keypoints_2d[..., :2] - centre) + centre
        member = torch.tensor([[joint in limb for joint in range(skeleton.num_joints)] for limb in skeleton.limbs])
        place = torch.where(member[chosen][:, None, :, None], turned, keypoints_2d[..., :2])
        return torch.cat((place, keypoints_2d[..., 2:]), dim=-1)


CLEAN = Mixture()
MIXED = Mixture(
    (
        (0.25, KeypointCorruption(occlusion="moderate", noise="moderate", swap="moderate")),
        (0.15, KeypointCorruption(occlusion="severe", noise="severe", swap="severe")),
    )
)
"""60 % undamaged, 25 % moderate, 15 % severe: what hosts are trained with."""
UNSEEN = Mixture(((0.25, Truncation()), (0.25, TurnedLimb())))
"""50 % undamaged; neither hosts nor critics ever see these two kinds of damage in training."""
