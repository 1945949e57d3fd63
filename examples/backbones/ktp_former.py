"""KTPFormer: attention that starts from the skeleton's bones and the joints' trajectories."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from examples.backbones.layers import TransformerBlock, check_keypoints
from examples.backbones.skeletons import H36M_PARENTS, adjacency

__all__ = ["KTPFormer", "PriorGraphConv"]


class KTPFormer(nn.Module):
    r"""The transformer of Peng et al., 2024: a window of frames in, the pose of every frame out.

    Before the first spatial attention, graph convolutions on the skeleton make the tokens (kinematics prior); before
    the first temporal attention, graph convolutions along each joint's path do (trajectory prior). Both graphs are
    the known one plus a learned one. Alternating spatial and temporal blocks follow, as in MixSTE; all spatial blocks
    share one closing layer norm, and so do all temporal ones. The paper trains it with the loss terms of MixSTE.

    34,765,014 parameters at 17 joints and 27 frames; published: about 34.8 M (at 27 frames; here 35.2 M at 243).

    Args:
        parents: Parent index per joint, -1 for the root: the skeleton's bones.
        channels: Values per keypoint: 2 for its position, 3 for position and confidence.
        frames: Number of frames T of a window.
        dim: Width of a token.
        depth: Number of pairs of a spatial and a temporal block behind the first pair, which has the priors.
        heads: Number of attention heads.
        drop_path: Probability of stochastic depth in the last pair of blocks; it grows from 0 in the first.
        position_std: Standard deviation of the initial values of the learned positions. The authors start at zero, from
            which a network trained for a few thousand steps is slow to tell joints apart.

    Reference:
        Peng, Zhou, Mok, "KTPFormer: Kinematics and trajectory prior knowledge-enhanced transformer for 3D human pose
        estimation", CVPR 2024, https://arxiv.org/abs/2404.00658.
    """

    def __init__(
        self,
        parents: Sequence[int] = H36M_PARENTS,
        channels: int = 2,
        frames: int = 27,
        dim: int = 512,
        depth: int = 7,
        heads: int = 8,
        drop_path: float = 0.1,
        position_std: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_joints, self.channels, self.frames = len(parents), channels, frames
        path = range(-1, frames - 1)
        self.kinematics = _PriorLayer(channels, dim, parents)
        self.trajectory = nn.Sequential(_PriorLayer(dim, dim, path), _PriorLayer(dim, dim, path))
        self.joint_position = nn.Parameter(torch.randn(len(parents), dim) * position_std)
        self.frame_position = nn.Parameter(torch.randn(frames, dim) * position_std)
        rates = [drop_path * pair / max(depth, 1) for pair in range(depth + 1)]
        self.space = nn.ModuleList(TransformerBlock(dim, heads, drop_path=rate) for rate in rates)
        self.time = nn.ModuleList(TransformerBlock(dim, heads, drop_path=rate) for rate in rates)
        self.space_norm = nn.LayerNorm(dim, eps=1e-6)
        self.time_norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 3))

    @classmethod
    def tiny(cls, parents: Sequence[int] = H36M_PARENTS, channels: int = 2, frames: int = 27) -> KTPFormer:
        """A size for the CPU: 0.23 M parameters at 27 frames."""
        return cls(parents, channels, frames, dim=64, depth=2, heads=4, drop_path=0.0, position_std=0.5)

    def forward(self, keypoints_2d: Tensor) -> Tensor:
        """Lift windows (B, frames, J, channels) to the poses of all their frames (B, frames, J, 3)."""
        check_keypoints(keypoints_2d, self.frames, self.num_joints, self.channels)
        tokens = self.kinematics(keypoints_2d) + self.joint_position
        for pair, (space, time) in enumerate(zip(self.space, self.time, strict=True)):
            tokens = self.space_norm(space(tokens)).transpose(1, 2)
            if pair == 0:
                tokens = tokens + self.trajectory(tokens) + self.frame_position
            tokens = self.time_norm(time(tokens)).transpose(1, 2)
        return self.head(tokens)


class PriorGraphConv(nn.Module):
    r"""A graph convolution over a known graph plus a learned one.

    .. math:: y_i = \sum_j \tilde A_{ij}\, m_j \odot W_{[i = j]}\, x_j + b

    A tilde is the symmetric part of the known graph, with rows that sum to 1 and 1 on the diagonal, plus a learned
    matrix that starts near zero.

    Args:
        inputs: Number of input features per node.
        outputs: Number of output features per node.
        parents: Parent index per node, -1 for the root: the edges of the known graph.
    """

    def __init__(self, inputs: int, outputs: int, parents: Sequence[int]) -> None:
        super().__init__()
        neighbours = adjacency(parents).float()
        known = neighbours / neighbours.sum(dim=1, keepdim=True).clamp(min=1)
        self.register_buffer("known", known + torch.eye(len(parents), device="cpu"), persistent=False)
        self.learned = nn.Parameter(torch.full((len(parents), len(parents)), 1e-6))
        self.modulation = nn.Parameter(torch.ones(len(parents), outputs))
        self.own = nn.Parameter(nn.init.xavier_uniform_(torch.empty(inputs, outputs), gain=2**0.5))
        self.others = nn.Parameter(nn.init.xavier_uniform_(torch.empty(inputs, outputs), gain=2**0.5))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-(outputs**-0.5), outputs**-0.5))

    def forward(self, features: Tensor) -> Tensor:
        """Convolve features (..., N, inputs) to (..., N, outputs)."""
        edges = self.known + self.learned
        edges = (edges + edges.T) / 2
        to_itself = edges.diagonal()
        to_others = edges - to_itself.diag()
        own = self.modulation * (features @ self.own)
        others = self.modulation * (features @ self.others)
        return to_itself[:, None] * own + to_others @ others + self.bias


class _PriorLayer(nn.Module):
    """A graph convolution, batch norm over all nodes, ReLU."""

    def __init__(self, inputs: int, outputs: int, parents: Sequence[int]) -> None:
        super().__init__()
        self.convolution = PriorGraphConv(inputs, outputs, parents)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Transform features (..., N, inputs) to (..., N, outputs)."""
        features = self.convolution(features)
        return self.norm(features.flatten(0, -2)).view(features.shape).relu()
