"""Other bodies in the same motion: bones of random length, before a camera sees them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from seal_lightning._values import is_number
from seal_lightning.data.views.draws import Draws
from seal_lightning.skeleton import Skeleton
from seal_lightning.skeleton.bone_tree import bone_tree

__all__ = ["BoneAugmentation"]


@dataclass(frozen=True)
class BoneAugmentation:
    r"""Gives the person in a window other bone lengths, so that a few recorded people stand for many.

    Every bone keeps its direction, and its length is multiplied by :math:`s\,p`. The factor s is one for the whole
    body, p one for each bone, and the same for the left and the right bone of a pair. The logarithm of a factor is
    uniform between :math:`\pm \log(1 + r)`, where r is the range of that factor, so a body is made larger as often as
    smaller. The lowest joint of the window keeps its height, so that feet stay on the floor, and the root of the tree
    stays above its place. A camera then sees the new body: 2D keypoints and targets fit each other exactly.

    Args:
        proportions: Range of the factor of each bone: 0.1 is from 9 % shorter to 10 % longer.
        size: Range of the factor of the whole body. One picture does not tell size from distance: where people are
            about as tall as those recorded, a range above 0 makes the lifter worse.

    Raises:
        ValueError: If a range is negative or not finite.

    Example:
        >>> import torch
        >>> bone = Skeleton.from_parents([-1, 0])
        >>> window = torch.tensor([[[[0.0, 0.0, 0.0], [0.0, 0.0, 1000.0]]]])
        >>> length = BoneAugmentation()(window, bone, Draws(0, torch.arange(1)))[0, 0, 1, 2]
        >>> bool(1000 / 1.1 < length < 1000 * 1.1)
        True

    References:
        Gong et al., "PoseAug: a differentiable pose augmentation framework for 3D human pose estimation", CVPR 2021,
        https://arxiv.org/abs/2105.02465, learns such factors; here they are drawn blindly.
    """

    proportions: float = 0.1
    size: float = 0.0

    def __post_init__(self) -> None:
        for name in ("proportions", "size"):
            share = getattr(self, name)
            if not is_number(share) or not 0.0 <= share < math.inf:
                raise ValueError(f"Expected `{name}` to be 0 or more, but got {share!r}.")

    def __call__(self, world: Tensor, skeleton: Skeleton, draws: Draws) -> Tensor:
        """Change the bodies of windows.

        Args:
            world: Joint positions with z up, shape (B, T, J, 3).
            skeleton: The joints and bones.
            draws: Random numbers of B rows; the same draws give the same bodies.

        Returns:
            Joint positions, shape (B, T, J, 3).
        """
        tree = bone_tree(skeleton, world)
        uniform = 2.0 * draws.uniform("body", len(skeleton.bones) + 1) - 1.0
        # Both bones of a pair take the draw of the left one.
        source = list(range(len(skeleton.bones)))
        for left, right in skeleton.paired_bones:
            source[right] = left
        log_factor = math.log1p(self.proportions) * uniform[:, source] + math.log1p(self.size) * uniform[:, -1:]
        change = (log_factor.exp() - 1.0)[:, None, :, None] * tree.bones(world)
        moved = world + tree.above @ change
        lowest, lowest_before = (joints[..., 2].amin(dim=(1, 2)) for joints in (moved, world))
        moved[..., 2] += (lowest_before - lowest)[:, None, None]
        return moved
