"""Loss-nets at work: scoring poses, ranking truth against negatives, the slope of an energy."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from seal_lightning.frame import FramedPoses
from seal_lightning.loss_nets import LossNet
from seal_lightning.objectives import gradient_penalty
from seal_lightning.shared_pass import SharedPass
from seal_lightning.terms import EnergyTerm

__all__ = ["LossNets"]


class LossNets(nn.ModuleDict):
    """The loss-nets of a criterion by name, run in one precision whatever autocast the host is under.

    Args:
        nets: One loss-net an energy.
        precision: ``"float32"``, or ``"bfloat16"`` for autocast.
    """

    def __init__(self, nets: Mapping[str, LossNet], precision: str) -> None:
        super().__init__(nets)
        self.precision = precision

    def score(self, name: str, keypoints_2d: Tensor, pose: Tensor) -> Tensor:
        """Energies (N,) of poses (N, J, 3).

        Raises:
            ValueError: If the loss-net does not return one energy a pose.
        """
        # Without the cache of cast weights: it would outlive an optimizer step within the host's own autocast.
        bfloat16 = self.precision == "bfloat16"
        with torch.autocast(pose.device.type, torch.bfloat16, enabled=bfloat16, cache_enabled=False):
            energy: Tensor = self[name](keypoints_2d, pose)
        if energy.shape != pose.shape[:1]:
            raise ValueError(
                f"Expected `loss_net` to return one energy a pose, shape {tuple(pose.shape[:1])}, "
                f"but {name!r} returned {tuple(energy.shape)}."
            )
        return energy.float()

    def slope(self, name: str, keypoints_2d: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (N,) of poses and their gradients there (N, J, 3)."""
        pose = pose.detach().requires_grad_()
        with torch.enable_grad():
            energy = self.score(name, keypoints_2d, pose)
        return energy.detach(), torch.autograd.grad(energy.sum(), pose)[0]

    def rank(
        self, name: str, term: EnergyTerm, truth: FramedPoses, negatives: Tensor, shared: SharedPass | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Score truth and negatives in one batch.

        Args:
            name: Which loss-net.
            term: Its energy term.
            truth: N true poses.
            negatives: Negatives (K, N, J, 3).
            shared: Where to keep what the pose-net needs of this pass.

        Returns:
            Energies of the truth (N,) and of the negatives (K, N), and the weighted gradient penalty (N,).
        """
        count, penalty = len(negatives), torch.zeros_like(truth.valid)
        poses = [*negatives] if term.gradient_penalty else [truth.pose, *negatives]
        row = 0 if shared is None else shared.enter(poses, before=len(poses) - count)
        keypoints_2d = truth.keypoints_2d.repeat(len(poses), 1, 1)
        energy = self.score(name, keypoints_2d, torch.cat(poses)).view(len(poses), -1)
        if shared is not None:
            shared.leave(energy, row)
        if not term.gradient_penalty:
            return energy[0], energy[1 : count + 1], penalty
        pose = truth.pose.detach().requires_grad_()
        with sdpa_kernel(SDPBackend.MATH):  # the one attention that can be differentiated twice
            energy_true = self.score(name, truth.keypoints_2d, pose)
        return energy_true, energy[:count], term.gradient_penalty * gradient_penalty(energy_true, pose)
