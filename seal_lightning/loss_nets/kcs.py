"""The critic of RepNet as a loss-net: it sees the dot products of all bone vectors beside the pose."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seal_lightning._values import check_counts
from seal_lightning.loss_nets.base import EnergyHead, LossNet
from seal_lightning.skeleton import Skeleton

__all__ = ["KCSLossNet"]


class KCSLossNet(LossNet):
    r"""The kinematic-chain critic of RepNet: one path for the pose, one for the Gram matrix of its bones.

    .. math:: \Psi = B^\top B, \quad \Psi_{ij} = b_i \cdot b_j, \quad E = \mathrm{head}(f(x, y), g(\Psi))

    The columns of `B` are the bone vectors :math:`b_i`, so the diagonal of :math:`\Psi` holds the squared lengths and
    the rest the angles between bones; neither changes when the body turns. Each path is a linear layer followed by a
    residual block of two, and one more layer joins the paths. The matrix is symmetric, so one half of it is used.

    Two things differ from RepNet. Its critic scores a pose without an image; here the first path sees the keypoints
    beside the pose, as every loss-net does. And both paths end in the activated residual block. The widths are those of
    its public code. It belongs to the *learned-informed* family. The weights of a joint depend on its name.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`.
        hidden: Width of the path for the Gram matrix.
        pose_hidden: Width of the path for keypoints and pose, and of the layer that joins the paths.

    Raises:
        ValueError: If a size is not positive.

    Example:
        >>> net = KCSLossNet("h36m17", hidden=8, pose_hidden=4)
        >>> net(torch.zeros(2, 17, 2), torch.zeros(2, 17, 3)).shape
        torch.Size([2])
        >>> [path[0].in_features for path in net.paths]  # 6 numbers a joint; 16 * 17 / 2 pairs of bones
        [102, 136]

    Reference:
        Wandt and Rosenhahn, "RepNet: Weakly Supervised Training of an Adversarial Reprojection Network for 3D Human
        Pose Estimation", CVPR 2019. https://arxiv.org/abs/1902.09868
    """

    joints: Tensor
    child: Tensor
    parent: Tensor
    one: Tensor
    other: Tensor

    def __init__(self, skeleton: str | Skeleton, hidden: int = 1000, pose_hidden: int = 100) -> None:
        super().__init__(skeleton)
        check_counts(hidden=hidden, pose_hidden=pose_hidden)
        names = self.skeleton.names
        bones = sorted(self.skeleton.bones, key=lambda bone: names[bone[0]])
        pairs = [(one, other) for one in range(len(bones)) for other in range(one, len(bones))]
        indices = {
            "joints": sorted(range(len(names)), key=names.__getitem__),
            "child": [child for child, _ in bones],
            "parent": [parent for _, parent in bones],
            "one": [one for one, _ in pairs],
            "other": [other for _, other in pairs],
        }
        for name, index in indices.items():
            self.register_buffer(name, torch.tensor(index, dtype=torch.long), persistent=False)
        sizes = [(6 * len(names), pose_hidden), *([(len(pairs), hidden)] if pairs else [])]
        self.paths = nn.ModuleList(_path(inputs, width) for inputs, width in sizes)
        joined = nn.Linear(sum(width for _, width in sizes), pose_hidden)
        self.join = nn.Sequential(joined, _activation())
        self.head = EnergyHead(pose_hidden, norm=False)  # the gradient penalty limits a critic, so it needs no bound

    def forward(self, keypoints_2d: Tensor, pose: Tensor) -> Tensor:
        """Return energies ``(...)`` of poses ``(..., J, 3)`` given keypoints ``(..., J, 2)`` or ``(..., J, 3)``."""
        keypoints_2d, pose, leading = self.flatten(keypoints_2d, pose)
        joints = torch.cat([keypoints_2d, pose], dim=-1).index_select(1, self.joints)
        bones = pose.index_select(1, self.child) - pose.index_select(1, self.parent)
        gram = (bones.index_select(1, self.one) * bones.index_select(1, self.other)).sum(-1)
        # A skeleton of one joint has no bones and no second path.
        features = [path(part) for path, part in zip(self.paths, (joints.flatten(1), gram), strict=False)]
        energy: Tensor = self.head(self.join(torch.cat(features, dim=-1)))
        return energy.reshape(leading)


class _Residual(nn.Module):
    """Two linear layers whose output is added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), _activation(), nn.Linear(width, width))
        self.activation = _activation()

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.activation(features + self.layers(features))
        return result


def _path(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), _activation(), _Residual(width))


def _activation() -> nn.LeakyReLU:
    return nn.LeakyReLU(0.3)
