"""MotionAGFormer: an attention stream and a graph stream side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from examples.backbones.layers import SelfAttention, check_keypoints, mlp
from examples.backbones.skeletons import H36M_PARENTS, adjacency

__all__ = ["MotionAGFormer"]


class MotionAGFormer(nn.Module):
    r"""The network of Mehraban et al., 2024: a window of frames in, the pose of every frame out.

    In every layer one stream attends, first within a frame, then along time, and another convolves on graphs: the
    skeleton within a frame; along time every joint is joined to the frames in which it is most like now. A learned
    weight per token fuses the two. The defaults are the smallest model, XS; the paper's others are S (26 layers, 81
    frames), B (16 layers, width 128, 243 frames) and L (26 layers, width 128, 243 frames). Where the authors' table
    of bones lists the thorax as a neighbour of the shoulders but not the other way round, bones go both ways here.

    2,241,531 parameters for XS at 17 joints, 27 frames and 3 channels; published: 2.24 M.

    Args:
        parents: Parent index per joint, -1 for the root: the skeleton's bones.
        channels: Values per keypoint: 3 for position and confidence, as in the paper, or 2 for its position.
        frames: Number of frames T of a window.
        dim: Width of a token.
        depth: Number of layers.
        heads: Number of attention heads.
        mlp_ratio: Width of the hidden layers of the MLPs, as a multiple of `dim`.
        neighbours: Number of frames that a frame is joined to in the temporal graph.
        representation: Width of the last hidden layer.
        position_std: Standard deviation of the initial values of the learned positions. The authors start at zero, from
            which a network trained for a few thousand steps is slow to tell joints apart.

    Raises:
        ValueError: If there are more `neighbours` than frames.

    Reference:
        Mehraban, Adeli, Taati, "MotionAGFormer: Enhancing 3D human pose estimation with a transformer-GCNFormer
        network", WACV 2024, https://arxiv.org/abs/2310.16288.
    """

    def __init__(
        self,
        parents: Sequence[int] = H36M_PARENTS,
        channels: int = 3,
        frames: int = 27,
        dim: int = 64,
        depth: int = 12,
        heads: int = 8,
        mlp_ratio: float = 4.0,
        neighbours: int = 2,
        representation: int = 512,
        position_std: float = 0.0,
    ) -> None:
        super().__init__()
        if not 1 <= neighbours <= frames:
            raise ValueError(f"Expected `neighbours` to be from 1 to the {frames} frames, but got {neighbours}.")
        self.num_joints, self.channels, self.frames = len(parents), channels, frames
        self.embedding = nn.Linear(channels, dim)
        self.joint_position = nn.Parameter(torch.randn(len(parents), dim) * position_std)
        self.layers = nn.Sequential(*(_Layer(parents, frames, dim, heads, mlp_ratio, neighbours) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Sequential(nn.Linear(dim, representation), nn.Tanh(), nn.Linear(representation, 3))

    @classmethod
    def tiny(cls, parents: Sequence[int] = H36M_PARENTS, channels: int = 3, frames: int = 27) -> MotionAGFormer:
        """A size for the CPU: 0.22 M parameters."""
        return cls(
            parents,
            channels,
            frames,
            dim=48,
            depth=2,
            heads=4,
            neighbours=min(2, frames),
            representation=128,
            position_std=0.5,
        )

    def forward(self, keypoints_2d: Tensor) -> Tensor:
        """Lift windows (B, frames, J, channels) to the poses of all their frames (B, frames, J, 3)."""
        check_keypoints(keypoints_2d, self.frames, self.num_joints, self.channels)
        tokens = self.layers(self.embedding(keypoints_2d) + self.joint_position)
        return self.head(self.norm(tokens))


class _Layer(nn.Module):
    """Both streams, space before time in each, and their fusion."""

    def __init__(
        self, parents: Sequence[int], frames: int, dim: int, heads: int, mlp_ratio: float, neighbours: int
    ) -> None:
        super().__init__()

        def block(mixer: nn.Module) -> _Block:
            return _Block(mixer, dim, mlp_ratio)

        self.attention_space = block(SelfAttention(dim, heads, bias=False))
        self.attention_time = block(SelfAttention(dim, heads, bias=False))
        self.graph_space = block(_SkeletonGraph(parents, dim))
        self.graph_time = block(_SimilarityGraph(frames, neighbours, dim))
        self.fusion = nn.Linear(2 * dim, 2)
        nn.init.zeros_(self.fusion.weight)  # both streams count the same at first
        nn.init.constant_(self.fusion.bias, 0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens (B, T, J, dim)."""
        attention = self.attention_time(self.attention_space(tokens).transpose(1, 2)).transpose(1, 2)
        graph = self.graph_time(self.graph_space(tokens).transpose(1, 2)).transpose(1, 2)
        share = self.fusion(torch.cat((attention, graph), dim=-1)).softmax(dim=-1)
        return attention * share[..., :1] + graph * share[..., 1:]


class _Block(nn.Module):
    """A mixer of tokens, then an MLP, each behind a layer norm; both enter with small learned weights."""

    def __init__(self, mixer: nn.Module, dim: int, mlp_ratio: float) -> None:
        super().__init__()
        self.mixer_norm, self.mixer = nn.LayerNorm(dim), mixer
        self.mlp_norm, self.mlp = nn.LayerNorm(dim), mlp(dim, int(dim * mlp_ratio))
        self.mixer_scale = nn.Parameter(torch.full((dim,), 1e-5))
        self.mlp_scale = nn.Parameter(torch.full((dim,), 1e-5))

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens (..., N, dim); they are mixed over N."""
        tokens = tokens + self.mixer_scale * self.mixer(self.mixer_norm(tokens))
        return tokens + self.mlp_scale * self.mlp(self.mlp_norm(tokens))


class _Graph(nn.Module):
    """A graph convolution with batch norm per node, a residual connection and a ReLU."""

    def __init__(self, nodes: int, dim: int) -> None:
        super().__init__()
        self.own, self.others = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.norm = nn.BatchNorm1d(nodes)
        for linear in (self.own, self.others):
            nn.init.normal_(linear.weight, std=(2 / dim) ** 0.5)

    def edges(self, tokens: Tensor) -> Tensor:
        """Normalised edge weights (..., N, N) between tokens (..., N, dim)."""
        raise NotImplementedError

    def forward(self, tokens: Tensor) -> Tensor:
        """Convolve tokens (..., N, dim)."""
        mixed = self.edges(tokens) @ self.others(tokens) + self.own(tokens)
        return (tokens + self.norm(mixed.flatten(0, -3)).view(tokens.shape)).relu()


class _SkeletonGraph(_Graph):
    """Joints are joined by the skeleton's bones."""

    def __init__(self, parents: Sequence[int], dim: int) -> None:
        super().__init__(len(parents), dim)
        neighbours = adjacency(parents).float()
        scale = neighbours.sum(dim=1).clamp(min=1) ** -0.5
        self.register_buffer("weights", scale[:, None] * neighbours * scale, persistent=False)

    def edges(self, tokens: Tensor) -> Tensor:
        """The skeleton, the same for all."""
        return self.weights


class _SimilarityGraph(_Graph):
    """Frames are joined to those in which the joint's features are most similar, themselves included."""

    def __init__(self, frames: int, neighbours: int, dim: int) -> None:
        super().__init__(frames, dim)
        self.neighbours = neighbours

    def edges(self, tokens: Tensor) -> Tensor:
        """The same weight for each of the nearest frames."""
        similarity = tokens @ tokens.transpose(-1, -2)
        nearest = similarity.topk(self.neighbours, dim=-1).indices
        return torch.zeros_like(similarity).scatter(-1, nearest, 1 / self.neighbours)
