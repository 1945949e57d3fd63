"""A small loss-net whose input describes the structure of a pose."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seal_lightning._values import check_counts
from seal_lightning.loss_nets.base import EnergyHead, LossNet
from seal_lightning.skeleton import Skeleton

__all__ = ["StructureFeatures", "StructureLossNet"]

_SHORTEST = 1e-3  # in mean bone lengths: a shorter bone counts as this long, for the logarithm of zero is not finite
# The lengths of human bones spread by about a third around their mean, and left and right differ by a few percent.
# Scaled by these factors, both vary by about one.
_LENGTH_SCALE, _RATIO_SCALE = 3.0, 10.0


class StructureLossNet(LossNet):
    r"""A multilayer perceptron whose input describes bones rather than positions of joints.

    Its input is, per pose, every bone's vector :math:`b_i` and log length :math:`\log |b_i|`, every left/right pair's
    log ratio :math:`\log |b_l| - \log |b_r|`, the cosine of the angle between every bone and the one it hangs from, and
    the keypoints with their confidences. It learns from data what these should be; no true length and no rule is given.

    It belongs to the *learned-informed* family: the paper's loss-nets (`GraphLossNet`, `MLPLossNet`) see raw joints.
    The weights of a joint depend on its name, not on its position in the skeleton.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`.
        hidden: Width of the hidden layers.
        depth: Number of hidden layers.

    Raises:
        ValueError: If a size is not positive.

    Example:
        >>> net = StructureLossNet("h36m17", hidden=8, depth=2)
        >>> net(torch.zeros(2, 17, 2), torch.zeros(2, 17, 3)).shape
        torch.Size([2])
        >>> net.layers[0].in_features  # 16 vectors and lengths, 6 ratios, 13 angles, 17 keypoints
        134
    """

    def __init__(self, skeleton: str | Skeleton, hidden: int = 128, depth: int = 3) -> None:
        super().__init__(skeleton)
        check_counts(hidden=hidden, depth=depth)
        self.features = StructureFeatures(self.skeleton)
        layers: list[nn.Module] = []
        for width in (self.features.size, *[hidden] * (depth - 1)):
            layers += [nn.Linear(width, hidden), nn.SiLU()]
        self.layers = nn.Sequential(*layers)
        self.head = EnergyHead(hidden, norm=False)  # a bounded energy is flat where a pose is far from true

    def forward(self, keypoints_2d: Tensor, pose: Tensor) -> Tensor:
        """Return energies ``(...)`` of poses ``(..., J, 3)`` given keypoints ``(..., J, 2)`` or ``(..., J, 3)``."""
        keypoints_2d, pose, leading = self.flatten(keypoints_2d, pose)
        features, _, _ = self.features(keypoints_2d, pose)
        energy: Tensor = self.head(self.layers(features))
        return energy.reshape(leading)


class StructureFeatures(nn.Module):
    """The input of `StructureLossNet`; it has no parameters.

    Args:
        skeleton: Skeleton of the poses.
    """

    joints: Tensor
    ends: Tensor
    pairs: Tensor
    hinges: Tensor
    joints_columns: Tensor
    ends_columns: Tensor
    hinges_columns: Tensor
    compared: Tensor

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__()
        names = skeleton.names
        bones = sorted(skeleton.bones, key=lambda bone: names[bone[0]])
        place = {child: i for i, (child, _) in enumerate(bones)}
        ends = [skeleton.bones[left][0] for left, _ in skeleton.paired_bones]
        ends.sort(key=names.__getitem__)
        joined = [(place[child], place[parent]) for child, parent in bones if parent in place]
        # The first halves of `ends`, `pairs` and `hinges` and the second ones belong together, so that one operation
        # gathers both.
        indices = {
            "joints": sorted(range(len(names)), key=names.__getitem__),
            "ends": [child for child, _ in bones] + [parent for _, parent in bones],
            "pairs": [place[end] for end in ends] + [place[skeleton.partners[end]] for end in ends],
            "hinges": [lower for lower, _ in joined] + [upper for _, upper in joined],
        }
        # What is gathered of poses are columns of numbers, which is faster than rows of three.
        indices |= {f"{name}_columns": _columns(indices[name]) for name in ("joints", "ends", "hinges")}
        indices["compared"] = indices["pairs"] + indices["hinges"]
        self.sizes = len(ends), len(ends), len(joined), len(joined)
        for name, index in indices.items():
            self.register_buffer(name, torch.tensor(index, dtype=torch.long), persistent=False)
        self.size = 4 * len(bones) + len(ends) + len(joined) + 3 * len(names)

    def forward(self, keypoints_2d: Tensor, pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features (N, size), bone vectors (N, K, 3) and the logs of their squared lengths (N, K).

        Args:
            keypoints_2d: Keypoints with confidences (N, J, 3).
            pose: Poses (N, J, 3).
        """
        # Written for cheap derivatives, of which a gradient penalty takes two: there is no square root (which has no
        # second one at zero, either), a threshold in place of a clamp, and no vector that is divided by its length.
        children, parents = pose.flatten(1).index_select(1, self.ends_columns).chunk(2, dim=1)
        bones = children - parents
        logs = F.threshold(_sums(bones.square()), _SHORTEST**2, _SHORTEST**2).log()  # each twice that of the length
        left, right, lower, upper = logs.index_select(1, self.compared).split_with_sizes(self.sizes, dim=1)
        one, other = bones.index_select(1, self.hinges_columns).chunk(2, dim=1)
        ratios, cosines = left - right, _sums(one * other) * (-0.5 * (lower + upper)).exp()
        keypoints = keypoints_2d.flatten(1).index_select(1, self.joints_columns)
        parts = bones, _LENGTH_SCALE / 2 * logs, _RATIO_SCALE / 2 * ratios, cosines, keypoints
        return torch.cat(parts, dim=-1), bones.view(*logs.shape, 3), logs

    def known(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Which features (N, size) and bones (N, K) are known, as 1 and 0, where joints are seen (N, J)."""
        bones = _both(seen.index_select(1, self.ends))
        ratios, cosines = (_both(bones.index_select(1, index)) for index in (self.pairs, self.hinges))
        joints = seen.index_select(1, self.joints)
        parts = bones.repeat_interleave(3, 1), bones, ratios, cosines, joints.repeat_interleave(3, 1)
        return torch.cat(parts, dim=-1), bones


def _both(halves: Tensor) -> Tensor:
    """The product of two halves (N, 2 K), (N, K)."""
    one, other = halves.chunk(2, dim=1)
    return one * other


def _columns(vectors: list[int]) -> list[int]:
    """Columns of the three numbers of every vector, where vectors lie side by side in a row."""
    return [3 * vector + axis for vector in vectors for axis in range(3)]


def _sums(rows: Tensor) -> Tensor:
    """Sum over the three numbers of every vector in rows (N, 3 * K), (N, K)."""
    return rows.view(len(rows), rows.shape[1] // 3, 3).sum(-1)
