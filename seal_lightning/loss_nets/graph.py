"""A graph transformer as a loss-net."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seal_lightning._values import check_counts, is_number
from seal_lightning.loss_nets.base import EnergyHead, LossNet, check_dropout
from seal_lightning.skeleton import Skeleton

__all__ = ["AttentionBias", "GraphLossNet"]

EMBEDDING_DIM = 32


class GraphLossNet(LossNet):
    r"""A graph transformer over the joints, with a graph token that carries the energy.

    Every joint is one token, made of :math:`[x_{2D}, c, y_{3D}, e_j]`: keypoint, confidence, pose and a learned joint
    embedding of 32 numbers. Tokens attend to each other in pre-norm blocks with

    .. math:: A = \mathrm{softmax}\big(Q K^\top / \sqrt{d} + B\big),

    where the bias `B` is learned and depends on how the skeleton relates two joints (see `AttentionBias`). All blocks
    share it. The last block computes the graph token alone, since nothing else reaches the energy.

    The embedding of a joint depends on its name: a net for the same skeleton with its joints in another order loads the
    same ``state_dict`` and returns the same energies. With the default size it has 2.4 million parameters at 17 joints.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`.
        dim: Width of the tokens; a multiple of `heads`.
        depth: Number of transformer blocks.
        heads: Number of attention heads.
        mlp_ratio: Width of the blocks' hidden layer as a multiple of `dim`.
        dropout: Probability of dropping an attention weight or a feature.

    Raises:
        ValueError: If a size is not positive, `dim` is not a multiple of `heads`, or `dropout` is not in [0, 1).

    Example:
        >>> net = GraphLossNet("h36m17", dim=16, depth=2, heads=4)
        >>> net(torch.zeros(2, 17, 2), torch.zeros(2, 17, 3)).shape
        torch.Size([2])
        >>> net(torch.zeros(2, 9, 17, 3), torch.zeros(2, 9, 17, 3)).shape
        torch.Size([2, 9])

    Reference:
        Kim et al., "SEAL-pose: Enhancing 3D Human Pose Estimation via a Learned Loss for Structural Consistency", 2026.
        https://arxiv.org/abs/2602.20051
        Ying et al., "Do Transformers Really Perform Bad for Graph Representation?", NeurIPS 2021.
        https://arxiv.org/abs/2106.05234
    """

    embedding_row: Tensor

    def __init__(
        self,
        skeleton: str | Skeleton,
        dim: int = 256,
        depth: int = 6,
        heads: int = 8,
        mlp_ratio: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(skeleton)
        check_counts(dim=dim, depth=depth, heads=heads)
        check_dropout(dropout)
        if dim % heads:
            raise ValueError(f"Expected `dim` to be a multiple of `heads`, but got {dim} and {heads}.")
        if not is_number(mlp_ratio) or not 0.5 < dim * mlp_ratio < float("inf"):
            raise ValueError(f"Expected `mlp_ratio` times `dim` to be at least 1, but got {mlp_ratio!r} times {dim}.")
        by_name = {name: row for row, name in enumerate(sorted(self.skeleton.names))}
        embedding_row = torch.tensor([by_name[name] for name in self.skeleton.names])
        self.register_buffer("embedding_row", embedding_row, persistent=False)
        self.joint_embedding = nn.Parameter(torch.randn(len(by_name), EMBEDDING_DIM))
        self.graph_token = nn.Parameter(torch.randn(dim))
        self.embed = nn.Linear(6 + EMBEDDING_DIM, dim)
        self.attention_bias = AttentionBias(self.skeleton, heads, graph_only=depth == 1)
        self.blocks = nn.ModuleList(_Block(dim, heads, round(dim * mlp_ratio), dropout) for _ in range(depth))
        self.head = EnergyHead(dim)

    def forward(self, keypoints_2d: Tensor, pose: Tensor) -> Tensor:
        """Return energies ``(...)`` of poses ``(..., J, 3)`` given keypoints ``(..., J, 2)`` or ``(..., J, 3)``."""
        keypoints_2d, pose, leading = self.flatten(keypoints_2d, pose)
        embedding = self.joint_embedding.index_select(0, self.embedding_row).expand(len(pose), -1, -1)
        joints = self.embed(torch.cat([keypoints_2d, pose, embedding], dim=-1))
        tokens = torch.cat([self.graph_token.expand(len(pose), 1, -1), joints], dim=1)
        bias = self.attention_bias()
        *inner, last = self.blocks
        for block in inner:
            tokens = block(tokens, bias)
        graph_token = last(tokens, bias[:, :1])
        energy: Tensor = self.head(graph_token.squeeze(1))
        return energy.reshape(leading)


class AttentionBias(nn.Module):
    r"""A learned attention bias per head: a linear combination of fixed relations between the tokens.

    With the graph token first and joints after it, the bias from query `i` to key `j` is

    .. math:: B_{ij} = -\gamma\,\mathrm{hops}(i, j) + \nu\,[\mathrm{hops}(i, j) > 1] + \delta\,\mathrm{degree}(j)
        + \epsilon_{\mathrm{type}(i, j)}

    between joints, where the type of a bone is its side (left, right or middle) and whether it leads to the parent or
    to the child; and one coefficient each from the graph token to joints, from joints to the graph token, and from the
    graph token to itself. The degree is that of the key: that of the query would be constant along a row, and softmax
    ignores such a constant. Relations that do not occur in a skeleton are left out, so every coefficient has an effect.

    Args:
        skeleton: Skeleton of the poses.
        heads: Number of attention heads H.
        graph_only: Leave out the relations in which the graph token is not the query.

    Example:
        In ``h36m17`` a thigh joins hip and knee, which has two bones; :math:`-0.8 \cdot 1 + 0.2 \cdot 2 = -0.4`:

        >>> from seal_lightning.skeleton import get_skeleton
        >>> skeleton = get_skeleton("h36m17")
        >>> hip, knee = 1 + skeleton.left[0], 1 + skeleton.left[1]
        >>> round(AttentionBias(skeleton, heads=8)()[0, hip, knee].tolist(), 4)
        -0.4
    """

    relations: Tensor

    def __init__(self, skeleton: Skeleton, heads: int, graph_only: bool = False) -> None:
        super().__init__()
        queries = 1 if graph_only else None
        with torch.device("cpu"):  # whatever the default device is, for the values of these are read below
            terms = {name: (start, relation[:queries]) for name, (start, relation) in _relations(skeleton).items()}
        present = {name: term for name, term in terms.items() if term[1].any()}
        self.names = tuple(present)
        self.coefficients = nn.Parameter(torch.tensor([[start] * heads for start, _ in present.values()]))
        relations = torch.stack([relation for _, relation in present.values()])
        self.register_buffer("relations", relations.to(self.coefficients.device), persistent=False)

    def forward(self) -> Tensor:
        """Return the bias, shape ``(H, J + 1, J + 1)``."""
        return torch.einsum("rh,rij->hij", self.coefficients, self.relations)


def _relations(skeleton: Skeleton) -> dict[str, tuple[float, Tensor]]:
    """For each relation its initial coefficient and its values, float (J + 1, J + 1)."""
    hops, count = skeleton.hops, skeleton.num_joints
    sides = dict.fromkeys(skeleton.left, "left") | dict.fromkeys(skeleton.right, "right")
    between = {
        "hops": (0.8, -hops),
        "not_neighbours": (-2.0, hops > 1),
        "degree": (0.2, (hops == 1).sum(0).expand(count, count)),
    }
    for side in ("left", "right", "middle"):
        to_parent = torch.zeros(count, count)
        for child, parent in skeleton.bones:
            to_parent[child, parent] = sides.get(child, "middle") == side
        between |= {f"{side}_to_parent": (0.0, to_parent), f"{side}_to_child": (0.0, to_parent.T)}
    relations = {name: (start, F.pad(values.float(), (1, 0, 1, 0))) for name, (start, values) in between.items()}
    is_graph = torch.zeros(count + 1)
    is_graph[0] = 1
    relations["graph_to_joints"] = 0.0, torch.outer(is_graph, 1 - is_graph)
    relations["joints_to_graph"] = 0.0, torch.outer(1 - is_graph, is_graph)
    relations["graph_to_graph"] = 0.0, torch.outer(is_graph, is_graph)
    return relations


class _Block(nn.Module):
    """A pre-norm transformer block that updates as many leading tokens as the attention bias has rows."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm = nn.LayerNorm(dim)
        # No bias: that of the keys would be constant along a row of the attention and get no gradient through softmax.
        self.query_key_value = nn.Linear(dim, 3 * dim, bias=False)
        self.project = nn.Sequential(nn.Linear(dim, dim), nn.Dropout(dropout))
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dim),
            nn.Dropout(dropout),
        )

    def forward(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """Update tokens (N, L, dim) with a bias (H, L or 1, L)."""
        queries = bias.shape[-2]
        attended = self._attend(self.attention_norm(tokens), bias)
        tokens = tokens[:, :queries] + self.project(attended)
        updated: Tensor = tokens + self.mlp(tokens)
        return updated

    def _attend(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """Attention (N, queries, dim), as explicit operations.

        The fused kernels have no gradient for a bias on the CPU, and none of them can be differentiated twice.
        """
        (_, length, dim), (heads, queries, _) = tokens.shape, bias.shape
        weight = self.query_key_value.weight
        if queries == length:
            query, key, value = _by_head(self.query_key_value(tokens), 3, heads)
        else:
            (query,) = _by_head(F.linear(tokens[:, :queries], weight[:dim]), 1, heads)
            key, value = _by_head(F.linear(tokens, weight[dim:]), 2, heads)
        logits = torch.bmm(query, key.transpose(1, 2)).view(-1, heads, queries, length)
        logits = torch.add(bias.to(logits), logits, alpha=(dim // heads) ** -0.5)
        # Softmax in half precision would be less exact and, on a CPU, slower.
        exact = torch.promote_types(logits.dtype, torch.float32)
        attention = F.dropout(logits.softmax(-1, dtype=exact), self.dropout, self.training).to(value)
        attended = torch.bmm(attention.flatten(0, 1), value).view(-1, heads, queries, dim // heads)
        return attended.transpose(1, 2).flatten(2)


def _by_head(projected: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """Split (N, L, parts * dim) into contiguous parts (N * H, L, dim / H)."""
    batch, length, width = projected.shape
    by_part = projected.view(batch, length, parts, heads, width // (parts * heads)).permute(2, 0, 3, 1, 4)
    return by_part.flatten(1, 2).unbind(0)
