"""`TemporalPairs`: a loss on energies that jump from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from seal_lightning._values import is_number
from seal_lightning.loss_nets.frame import FramedPoses

__all__ = ["TemporalPairs"]


@dataclass(frozen=True)
class TemporalPairs:
    r"""Penalises energies of successive frames that differ by more than the poses do.

    .. math:: \mathrm{weight} \cdot \mathrm{relu}\big(|E_t - E_s| - \kappa \, \mathrm{MPJPE}(y_t, y_s)\big)

    for every frame `t` and the frame `s` before it. It is computed for the truths and, if the predictions are among the
    negatives, for these too, and is added to the objective, so that poses which are nearly the same get nearly the same
    energy. If only some frames of a clip are kept (``frames_per_clip``), `s` is the one kept before `t`. Distances are
    in mean bone lengths, like everything that a loss-net sees.

    Args:
        weight: Factor of the term; above 0.
        kappa: Difference in energy per mean bone length that costs nothing.

    Raises:
        ValueError: If ``weight`` is not above 0, or ``kappa`` is negative, or either is not finite.

    Example:
        >>> pose = torch.zeros(2, 1, 3)  # a clip of two frames that does not move
        >>> truth = FramedPoses(pose, pose[..., :2], torch.ones(2, 1), torch.ones(2))
        >>> TemporalPairs(weight=0.5)(torch.tensor([1.0, 4.0]), pose, truth, frames=2)
        tensor([0.0000, 1.5000])

    Reference:
        Kim et al., "SEAL-pose", arXiv 2602.20051, 2026.
    """

    weight: float = 1.0
    kappa: float = 1.0

    def __post_init__(self) -> None:
        if not is_number(self.weight) or not 0 < self.weight < float("inf"):
            raise ValueError(f"Expected `weight` to be finite and above 0, but got {self.weight!r}.")
        if not is_number(self.kappa) or not 0 <= self.kappa < float("inf"):
            raise ValueError(f"Expected `kappa` to be finite and not negative, but got {self.kappa!r}.")

    def __call__(self, energy: Tensor, pose: Tensor, truth: FramedPoses, frames: int) -> Tensor:
        """Return the term for every pose and the one before it; zero for the first pose of a clip.

        Args:
            energy: Energies (N,) of the poses of all clips, clip after clip.
            pose: Their poses (N, J, 3), in mean bone lengths.
            truth: The true poses, whose masks apply.
            frames: Number of frames of a clip, at least 2; divides N.

        Returns:
            Values (N,), with gradients for the energies alone.
        """
        clips, joints = len(energy) // frames, pose.shape[1]
        energy, valid = energy.view(clips, frames), truth.valid.view(clips, frames)
        pose, seen = pose.detach().view(clips, frames, joints, 3), truth.seen.reshape(clips, frames, joints)
        both = seen[:, 1:] * seen[:, :-1]
        distance = torch.linalg.vector_norm(pose[:, 1:] - pose[:, :-1], dim=-1)
        distance = (distance * both).sum(-1) / both.sum(-1).clamp(min=1)
        excess = torch.relu((energy[:, 1:] - energy[:, :-1]).abs() - self.kappa * distance)
        return self.weight * pad(excess * valid[:, 1:] * valid[:, :-1], (1, 0)).flatten()
