"""A multilayer perceptron as a loss-net."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seal_lightning._values import check_counts
from seal_lightning.loss_nets.base import EnergyHead, LossNet, check_dropout
from seal_lightning.skeleton import Skeleton

__all__ = ["MLPLossNet"]


class MLPLossNet(LossNet):
    r"""A residual multilayer perceptron over the flattened keypoints and pose.

    .. math:: h_0 = W_0 [x, y], \quad h_{s+1} = h_s + W_{s2}\,\phi(W_{s1}\,\phi(h_s)), \quad E = w^\top \mathrm{LN}(h_S)

    where :math:`\phi` is layer normalisation followed by GELU. The residual stage of two linear layers is that of
    Martinez et al. except for the normalisation. With batch normalisation the energy of a pose would depend on the
    other poses of the batch: the statistics of the batch alone could tell truths from negatives, and the gradient at
    one prediction would depend on the others.

    The weights of a joint depend on its name: a net for the same skeleton with its joints in another order loads the
    same ``state_dict`` and returns the same energies. With the default size it has 4.3 million parameters at 17 joints.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`.
        hidden: Width of the residual stages.
        stages: Number of residual stages of two linear layers.
        dropout: Probability of dropping a feature inside the stages.

    Raises:
        ValueError: If a size is not positive or `dropout` is not in [0, 1).

    Example:
        >>> net = MLPLossNet("h36m17", hidden=8, stages=1)
        >>> net(torch.zeros(2, 17, 2), torch.zeros(2, 17, 3)).shape
        torch.Size([2])
        >>> net.embed.in_features  # 17 joints of 2D, confidence and 3D
        102

    Reference:
        Martinez et al., "A simple yet effective baseline for 3d human pose estimation", ICCV 2017.
        https://arxiv.org/abs/1705.03098
    """

    joint_order: Tensor

    def __init__(self, skeleton: str | Skeleton, hidden: int = 1024, stages: int = 2, dropout: float = 0.0) -> None:
        super().__init__(skeleton)
        check_counts(hidden=hidden, stages=stages)
        check_dropout(dropout)
        names = self.skeleton.names
        joint_order = torch.tensor(sorted(range(len(names)), key=names.__getitem__))
        self.register_buffer("joint_order", joint_order, persistent=False)
        self.embed = nn.Linear(6 * len(names), hidden)
        self.stages = nn.ModuleList(_stage(hidden, dropout) for _ in range(stages))
        self.head = EnergyHead(hidden)

    def forward(self, keypoints_2d: Tensor, pose: Tensor) -> Tensor:
        """Return energies ``(...)`` of poses ``(..., J, 3)`` given keypoints ``(..., J, 2)`` or ``(..., J, 3)``."""
        keypoints_2d, pose, leading = self.flatten(keypoints_2d, pose)
        joints = torch.cat([keypoints_2d, pose], dim=-1).index_select(1, self.joint_order)
        features: Tensor = self.embed(joints.flatten(1))
        for stage in self.stages:
            features = features + stage(features)
        energy: Tensor = self.head(features)
        return energy.reshape(leading)


def _stage(hidden: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [nn.LayerNorm(hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, hidden)]
    return nn.Sequential(*layers)
