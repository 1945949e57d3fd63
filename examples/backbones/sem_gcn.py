"""SemGCN: graph convolutions with learned edge weights on single frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from examples.backbones.layers import check_keypoints
from examples.backbones.skeletons import H36M_PARENTS, adjacency

__all__ = ["SemGCN", "SemanticGraphConv"]


class SemGCN(nn.Module):
    r"""The semantic graph convolutional network of Zhao et al., 2019: a single frame in, its pose out.

    Graph convolutions over the skeleton with residual connections, optionally with non-local layers after the first
    convolution and after every residual block, in which all joints see all. For these the joints are pooled in pairs,
    as in the paper; which two make a pair follows from the skeleton here (`joint_pairs`), where the authors list them
    for their 16 joints. The paper's loss is `MSE` plus `BoneVectorLoss` of `examples.backbones.losses`.

    267,373 parameters at 17 joints, 434,733 with non-local layers; published: 0.27 M and 0.43 M, for 16 joints.

    Args:
        parents: Parent index per joint, -1 for the root: the skeleton's bones.
        channels: Values per keypoint: 2 for its position, 3 for position and confidence.
        hidden: Number of features per joint.
        blocks: Number of residual blocks of two graph convolutions.
        non_local: Whether there are non-local layers.

    Reference:
        Zhao, Peng, Tian, Kapadia, Metaxas, "Semantic graph convolutional networks for 3D human pose regression", CVPR
        2019, https://arxiv.org/abs/1904.03345.
    """

    def __init__(
        self,
        parents: Sequence[int] = H36M_PARENTS,
        channels: int = 2,
        hidden: int = 128,
        blocks: int = 4,
        non_local: bool = False,
    ) -> None:
        super().__init__()
        self.num_joints, self.channels = len(parents), channels
        layers: list[nn.Module] = [_Layer(channels, hidden, parents)]
        for block in range(blocks + 1):
            layers += [_Block(hidden, parents)] if block else []
            layers += [_NonLocal(hidden, parents)] if non_local else []
        self.layers = nn.Sequential(*layers)
        self.output = SemanticGraphConv(hidden, 3, parents)

    @classmethod
    def tiny(cls, parents: Sequence[int] = H36M_PARENTS, channels: int = 2, non_local: bool = False) -> SemGCN:
        """A size for the CPU: the published one is small enough, 0.27 M parameters."""
        return cls(parents, channels, non_local=non_local)

    def forward(self, keypoints_2d: Tensor) -> Tensor:
        """Lift keypoints (B, J, channels) to poses (B, J, 3)."""
        check_keypoints(keypoints_2d, self.num_joints, self.channels)
        return self.output(self.layers(keypoints_2d))


class SemanticGraphConv(nn.Module):
    r"""A graph convolution whose edges have learned weights.

    .. math:: y_i = \sum_j a_{ij} W_{[i = j]}\, x_j + b, \qquad a_i = \mathrm{softmax}_{j \in N(i) \cup \{i\}}(e_{ij})

    Args:
        inputs: Number of input features per joint.
        outputs: Number of output features per joint.
        parents: Parent index per joint: j is a neighbour of i where a bone joins them.
    """

    def __init__(self, inputs: int, outputs: int, parents: Sequence[int]) -> None:
        super().__init__()
        edges = (adjacency(parents) | torch.eye(len(parents), dtype=torch.bool, device="cpu")).nonzero(as_tuple=True)
        self.register_buffer("row", edges[0], persistent=False)
        self.register_buffer("column", edges[1], persistent=False)
        self.edge_logits = nn.Parameter(torch.ones(len(edges[0])))
        self.own = nn.Parameter(nn.init.xavier_uniform_(torch.empty(inputs, outputs), gain=2**0.5))
        self.others = nn.Parameter(nn.init.xavier_uniform_(torch.empty(inputs, outputs), gain=2**0.5))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-(outputs**-0.5), outputs**-0.5))
        self.num_joints = len(parents)

    def edge_weights(self) -> Tensor:
        """Weights a (J, J); a row sums to 1 over a joint and its neighbours, and is zero elsewhere."""
        logits = self.edge_logits.new_full((self.num_joints, self.num_joints), float("-inf"))
        return logits.index_put((self.row, self.column), self.edge_logits).softmax(dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Convolve features (B, J, inputs) to (B, J, outputs)."""
        weights = self.edge_weights()
        to_itself = weights.diagonal()
        to_others = weights - to_itself.diag()
        return to_itself[:, None] * (features @ self.own) + to_others @ (features @ self.others) + self.bias


def joint_pairs(parents: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of joints that are pooled into one: along chains from their ends, then siblings; a joint left is alone.

    Example:
        >>> joint_pairs([-1, 0, 1, 0, 3])  # two arms of two bones
        [(1, 2), (3, 4), (0, 0)]
    """
    joints = range(len(parents))
    children = {joint: [child for child in joints if parents[child] == joint] for joint in joints}
    pairs, free = [], set(joints)
    for joint in (joint for joint in joints if not children[joint]):
        while (parent := parents[joint]) >= 0:
            if len(children[parent]) == 1 and {joint, parent} <= free:
                pairs.append((parent, joint))
                free -= {joint, parent}
            joint = parent
    for siblings in children.values():
        left = [joint for joint in siblings if joint in free]
        for pair in zip(left[::2], left[1::2], strict=False):
            pairs.append(pair)
            free -= set(pair)
    return pairs + [(joint, joint) for joint in sorted(free)]


class _Layer(nn.Module):
    """A semantic graph convolution, batch norm over all joints, ReLU."""

    def __init__(self, inputs: int, outputs: int, parents: Sequence[int]) -> None:
        super().__init__()
        self.convolution = SemanticGraphConv(inputs, outputs, parents)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Transform features (B, J, inputs) to (B, J, outputs)."""
        return self.norm(self.convolution(features).transpose(1, 2)).transpose(1, 2).relu()


class _Block(nn.Module):
    """Two layers around which the features are carried over."""

    def __init__(self, hidden: int, parents: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.Sequential(_Layer(hidden, hidden, parents), _Layer(hidden, hidden, parents))

    def forward(self, features: Tensor) -> Tensor:
        """Transform features (B, J, hidden)."""
        return features + self.layers(features)


class _NonLocal(nn.Module):
    """Every joint sees every pair of joints (Wang et al., "Non-local neural networks", 2018; concatenation form)."""

    def __init__(self, hidden: int, parents: Sequence[int]) -> None:
        super().__init__()
        inner = hidden // 2
        self.register_buffer("pairs", torch.tensor(joint_pairs(parents)), persistent=False)
        self.query, self.key, self.value = (nn.Linear(hidden, inner) for _ in range(3))
        self.query_score, self.key_score = (nn.Linear(inner, 1, bias=False) for _ in range(2))
        self.output = nn.Linear(inner, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        nn.init.zeros_(self.norm.weight)  # the layer starts as the identity

    def forward(self, features: Tensor) -> Tensor:
        """Transform features (B, J, hidden)."""
        key = self.key(features)[:, self.pairs].amax(dim=2)
        value = self.value(features)[:, self.pairs].amax(dim=2)
        score = self.query_score(self.query(features)) + self.key_score(key).transpose(1, 2)
        seen = score.relu() @ value / len(self.pairs)
        return features + self.norm(self.output(seen).transpose(1, 2)).transpose(1, 2)
