"""Views that are damaged in many ways, some of them not at all: what an error critic learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seal_lightning._values import is_number
from seal_lightning.data.views.draws import Draws
from seal_lightning.data.views.noise import autoregress
from seal_lightning.data.views.robustness import OCCLUSION, KeypointCorruption, Level
from seal_lightning.skeleton import Skeleton

__all__ = ["ViewDamage"]

_CORRELATION = 0.8  # of the errors in neighbouring frames
_LEAST_NOISE = 0.002  # share of the person's size


@dataclass(frozen=True)
class ViewDamage:
    """A mixture of undamaged views, `KeypointCorruption` of several levels, and noise with drop-out of any joints.

    A critic that learns from views like those of the training alone does not know how wrong predictions get, and ranks
    damaged views worse. Which view is damaged in which way is drawn for each sample.

    Args:
        undamaged: Share of the views that stay as they are.
        levels: Levels of `KeypointCorruption`, each for lost limbs, noise and left-right swaps alike, for half of the
            others. None of them means that all others have noise and drop-out.
        noise: Largest standard deviation of the noise of the rest, as a share of the person's size; each view has its
            own, spread evenly over the orders of magnitude from 0.002 on.
        dropout: Largest share of joints that drop out; each view has its own from 0 on. Such joints have confidence 0,
            and lie somewhere in the box around the person or, in every second view, at (0, 0), where
            `KeypointFileDataModule` puts joints that a detector has missed.

    Raises:
        ValueError: If a number is out of its range or a level is unknown.

    Example:
        >>> from seal_lightning.skeleton import get_skeleton
        >>> keypoints = torch.rand(1000, 1, 17, 3, generator=torch.Generator().manual_seed(0))
        >>> seen = ViewDamage(undamaged=0.4)(keypoints, get_skeleton("h36m17"), Draws(0, torch.arange(1000)))
        >>> round((seen == keypoints).flatten(1).all(dim=1).float().mean().item(), 1)
        0.4
    """

    undamaged: float = 0.4
    levels: Sequence[Level] = ("mild", "moderate", "severe")
    noise: float = 0.05
    dropout: float = 0.3

    def __post_init__(self) -> None:
        if not is_number(self.undamaged) or not 0.0 <= self.undamaged <= 1.0:
            raise ValueError(f"Expected `undamaged` to be from 0 to 1, but got {self.undamaged!r}.")
        if not is_number(self.noise) or not _LEAST_NOISE <= self.noise < float("inf"):
            raise ValueError(f"Expected `noise` to be {_LEAST_NOISE} or more, but got {self.noise!r}.")
        if not is_number(self.dropout) or not 0.0 <= self.dropout <= 1.0:
            raise ValueError(f"Expected `dropout` to be from 0 to 1, but got {self.dropout!r}.")
        if isinstance(self.levels, str) or not set(self.levels) <= {*OCCLUSION}:
            raise ValueError(f"Expected `levels` to be some of {[*OCCLUSION]}, but got {self.levels!r}.")

    def __call__(self, keypoints_2d: Tensor, skeleton: Skeleton, draws: Draws) -> Tensor:
        """Damage windows of keypoints.

        Args:
            keypoints_2d: 2D keypoints and confidences, shape (B, T, J, 3); T is 1 for single frames.
            skeleton: The joints, for their limbs and partners; kinds of damage that need what it lacks are left out.
            draws: Random numbers of B rows; the same draws give the same damage.

        Returns:
            Keypoints and confidences, shape (B, T, J, 3).
        """
        share, rows = draws.uniform("kind", 1)[:, 0], (-1, 1, 1, 1)
        damaged = torch.where((share < self.undamaged).view(rows), keypoints_2d, _noisy(self, keypoints_2d, draws))
        step = 0.5 * (1.0 - self.undamaged) / max(1, len(self.levels))
        for number, level in enumerate(self.levels):
            chosen = (share >= self.undamaged + number * step) & (share < self.undamaged + (number + 1) * step)
            swap: Level = level if skeleton.left and skeleton.limbs else "none"
            corruption = KeypointCorruption(level if skeleton.limbs else "none", level, swap)
            damaged = torch.where(chosen.view(rows), corruption(keypoints_2d, skeleton, draws), damaged)
        return damaged


def _noisy(damage: ViewDamage, keypoints_2d: Tensor, draws: Draws) -> Tensor:
    """Gaussian noise of a strength that each view has of its own, and joints that drop out."""
    place, confidence = keypoints_2d[..., :2], keypoints_2d[..., 2:]
    frames, joints = place.shape[1:3]
    low, high = place.amin(dim=2, keepdim=True), place.amax(dim=2, keepdim=True)
    size = (high - low).amax(dim=-1, keepdim=True)
    strength = _LEAST_NOISE * (damage.noise / _LEAST_NOISE) ** draws.uniform("strength", 1, 1, 1)
    moved = place + strength * size * autoregress(draws.normal("noisy", frames, joints, 2), _CORRELATION)
    share = damage.dropout * draws.uniform("share of drop-outs", 1, 1)
    lost = (draws.uniform("dropped", frames, joints) < share)[..., None]
    anywhere = low + (high - low) * draws.uniform("anywhere", frames, joints, 2)
    anywhere = torch.where(draws.uniform("at zero", 1, 1, 1) < 0.5, 0.0, anywhere)
    return torch.cat((torch.where(lost, anywhere, moved), torch.where(lost, 0.0, confidence)), dim=-1)
