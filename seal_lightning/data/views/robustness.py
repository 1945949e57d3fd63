"""2D keypoints as a bad view gives them: lost limbs, unsure joints, left taken for right, at named levels."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from seal_lightning.data.views.draws import Draws
from seal_lightning.data.views.noise import autoregress
from seal_lightning.skeleton import Skeleton

__all__ = ["NOISE", "OCCLUSION", "SWAP", "KeypointCorruption", "Level"]

Level: TypeAlias = Literal["none", "mild", "moderate", "severe"]

OCCLUSION: dict[str, tuple[float, float]] = {"mild": (0.05, 5.0), "moderate": (0.15, 12.0), "severe": (0.3, 25.0)}
"""Share of the frames in which a limb is lost, and mean length of a run of such frames."""

NOISE: dict[str, float] = {"mild": 0.004, "moderate": 0.01, "severe": 0.02}
"""Standard deviation, along x and along y, of the error of a joint of confidence 1, as a share of the person's size."""

SWAP: dict[str, tuple[float, float, float]] = {
    "mild": (0.01, 0.02, 3.0),
    "moderate": (0.03, 0.06, 6.0),
    "severe": (0.08, 0.15, 12.0),
}
"""Share of the frames in which the whole body is swapped, in which a pair of limbs is, and mean length of a run."""

_UNSURE = 4.0
_CORRELATION = 0.8


@dataclass(frozen=True)
class KeypointCorruption:
    r"""Damages keypoints in ways that a detector's everyday errors do not show, on top of `DetectorNoise`.

    In this order:

    - *noise*: errors that are larger where the confidence c is low, Gaussian with a standard deviation of
      :math:`s\,(1 + 4 (1 - c))` times the person's size (the larger side of the box around the keypoints), with a
      correlation of 0.8 between neighbouring frames. The confidence stays what it was.
    - *swap*: left and right joints change places, with their confidences, over the whole body or between the two
      limbs of a pair; where both happen, that pair is right again.
    - *occlusion*: all joints of a limb are lost together. Their confidence is 0, their position the mean of the joints
      of that frame that are still seen, or of all joints where none is.

    Swaps and occlusions come in runs of frames: whether a frame begins or ends one depends on the frame before alone
    (a two-state Markov chain), so that the shares below hold in every frame, single frames included.

    ==========  =====================================  =========  ================================================
    level       occlusion of each limb                 noise s    swap
    ==========  =====================================  =========  ================================================
    none        never                                  0          never
    mild        5 % of frames, runs of 5 on average    0.4 %      body 1 %, each pair 2 % of frames, runs of 3
    moderate    15 %, runs of 12                       1 %        body 3 %, each pair 6 %, runs of 6
    severe      30 %, runs of 25                       2 %        body 8 %, each pair 15 %, runs of 12
    ==========  =====================================  =========  ================================================

    The levels are chosen to span a range; they are not fitted to recordings.

    Args:
        occlusion: Level of lost limbs.
        noise: Level of noise that depends on the confidence.
        swap: Level of left-right swaps.

    Raises:
        ValueError: If a level is unknown.

    Example:
        >>> from seal_lightning.skeleton import get_skeleton
        >>> keypoints = torch.rand(1000, 1, 17, 3, generator=torch.Generator().manual_seed(0))
        >>> damage, draws = KeypointCorruption(occlusion="severe"), Draws(0, torch.arange(1000))
        >>> seen = damage(keypoints, get_skeleton("h36m17"), draws)
        >>> lost = seen[:, 0, :, 2] == 0
        >>> bool((lost[:, 11] == lost[:, 13]).all()), round(lost[:, 11].float().mean().item(), 1)
        (True, 0.3)
    """

    occlusion: Level = "none"
    noise: Level = "none"
    swap: Level = "none"

    def __post_init__(self) -> None:
        for field in fields(self):
            if (level := getattr(self, field.name)) not in ("none", *OCCLUSION):
                raise ValueError(f"Expected `{field.name}` to be one of {['none', *OCCLUSION]}, but got {level!r}.")

    def __call__(self, keypoints_2d: Tensor, skeleton: Skeleton, draws: Draws) -> Tensor:
        """Damage windows of keypoints.

        Args:
            keypoints_2d: 2D keypoints and confidences, shape (B, T, J, 3); T is 1 for single frames.
            skeleton: The joints, for their limbs and partners.
            draws: Random numbers of B rows; the same draws give the same damage.

        Returns:
            Keypoints and confidences in [0, 1], shape (B, T, J, 3).

        Raises:
            ValueError: If the keypoints have another shape, or the skeleton lacks what a level needs.
        """
        if keypoints_2d.ndim != 4 or keypoints_2d.shape[2:] != (skeleton.num_joints, 3):
            expected = f"(B, T, {skeleton.num_joints}, 3)"
            raise ValueError(f"Expected `keypoints_2d` to have shape {expected}, but got {tuple(keypoints_2d.shape)}.")
        if self.occlusion != "none" and not skeleton.limbs:
            raise ValueError("Expected a skeleton with `limbs` to occlude, but it has none.")
        if self.swap != "none" and not skeleton.left:
            raise ValueError("Expected a skeleton with `left` and `right` joints to swap, but it has none.")
        if self.noise != "none":
            keypoints_2d = _disturb(keypoints_2d, NOISE[self.noise], draws)
        if self.swap != "none":
            keypoints_2d = _swap(keypoints_2d, skeleton, *SWAP[self.swap], draws)
        if self.occlusion != "none":
            keypoints_2d = _occlude(keypoints_2d, skeleton, *OCCLUSION[self.occlusion], draws)
        return keypoints_2d


def _disturb(keypoints_2d: Tensor, scale: float, draws: Draws) -> Tensor:
    place, confidence = keypoints_2d[..., :2], keypoints_2d[..., 2:]
    size = (place.amax(dim=2) - place.amin(dim=2)).amax(dim=-1)[..., None, None]
    error = autoregress(draws.normal("unsure", *place.shape[1:]), _CORRELATION)
    moved = place + scale * (1.0 + _UNSURE * (1.0 - confidence)) * size * error
    return torch.cat((moved, confidence), dim=-1)


def _swap(keypoints_2d: Tensor, skeleton: Skeleton, body: float, pair: float, run: float, draws: Draws) -> Tensor:
    partners = skeleton.partners
    pairs = sorted({tuple(sorted({*limb, *(partners[joint] for joint in limb)})) for limb in skeleton.limbs})
    frames = keypoints_2d.shape[1]
    swapped = _runs(draws, "swap body", frames, 1, body, run)
    # A joint on the middle line is its own partner, and stays where it is.
    swapped = swapped ^ _members(_runs(draws, "swap pair", frames, len(pairs), pair, run), pairs, skeleton.num_joints)
    return torch.where(swapped[..., None], keypoints_2d[:, :, list(partners)], keypoints_2d)


def _occlude(keypoints_2d: Tensor, skeleton: Skeleton, share: float, run: float, draws: Draws) -> Tensor:
    limbs = skeleton.limbs
    hidden = _runs(draws, "occlusion", keypoints_2d.shape[1], len(limbs), share, run)
    lost = _members(hidden, limbs, skeleton.num_joints)[..., None]
    place = keypoints_2d[..., :2]
    kept = torch.where(lost.all(dim=2, keepdim=True), True, ~lost)
    middle = torch.where(kept, place, 0.0).sum(dim=2, keepdim=True) / kept.sum(dim=2, keepdim=True)
    confidence = torch.where(lost, 0.0, keypoints_2d[..., 2:])
    return torch.cat((torch.where(lost, middle, place), confidence), dim=-1)


def _members(state: Tensor, groups: list[tuple[int, ...]] | tuple[tuple[int, ...], ...], joints: int) -> Tensor:
    """Which joints (B, T, J) belong to a group that is on, of states (B, T, K) of K groups."""
    return torch.stack(
        [state[..., [joint in group for group in groups]].any(dim=-1) for joint in range(joints)], dim=-1
    )


def _runs(draws: Draws, stream: str, frames: int, count: int, share: float, run: float) -> Tensor:
    """Chains that are on for ``share`` of the frames, in runs of ``run`` frames on average, shape (B, T, count)."""
    uniform = draws.uniform(stream, frames, count)
    begin, end = share / (run * (1.0 - share)), 1.0 / run
    states = [uniform[:, 0] < share]
    for number in uniform[:, 1:].unbind(1):
        states.append(torch.where(states[-1], number >= end, number < begin))
    return torch.stack(states, dim=1)
