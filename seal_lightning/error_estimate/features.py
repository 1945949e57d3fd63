"""What a small network would be slow to find out about a pose: lengths of bones, and where keypoints disagree."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seal_lightning.skeleton import Skeleton

__all__ = ["BoneFeatures", "reprojection_features"]

_SHORTEST = 1e-2  # in mean bone lengths
_CLOSEST = 1e-3  # in sizes of the person: what the logarithm of a distance does not go below
_LEAST = 1e-6
_FARTHEST = 3.0  # in sizes of the person
_LEAST_TRUST = 1e-3  # of a joint of confidence 0, so that a person of such joints alone has a camera too


class BoneFeatures(nn.Module):
    """Logarithm of the length of the bone that ends at each joint, and how far it is from that of its partner.

    Args:
        skeleton: The joints.
    """

    child: Tensor
    parent: Tensor
    partners: Tensor

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__()
        # Buffers, because indices in lists would be copied to the device in every step.
        for name, place in (("child", 0), ("parent", 1)):
            self.register_buffer(name, torch.tensor([ends[place] for ends in skeleton.bones]), persistent=False)
        self.register_buffer("partners", torch.tensor(skeleton.partners), persistent=False)

    def forward(self, pose: Tensor) -> Tensor:
        """Features (N, J, 2) of poses (N, J, 3) in units of the mean bone length; zero at joints where no bone ends."""
        ends = (pose.index_select(1, joints) for joints in (self.child, self.parent))
        lengths = torch.linalg.vector_norm(next(ends) - next(ends), dim=-1).clamp(min=_SHORTEST).log()
        logs = torch.zeros_like(pose[..., 0]).index_copy(1, self.child, lengths)
        return torch.stack((logs, (logs - logs.index_select(1, self.partners)).abs()), dim=-1)


def reprojection_features(pose: Tensor, keypoints: Tensor, confidence: Tensor | None) -> Tensor:
    """Where a pose, projected by weak perspective, lies beside the keypoints that it was lifted from.

    Scale and shift are those of least squares, as in `reprojection_error`, in which joints count by their confidence.

    Args:
        pose: Poses (N, J, 3), in any unit.
        keypoints: Keypoints (N, J, 2).
        confidence: Their confidences (N, J); None counts all the same.

    Returns:
        Differences (N, J, 3) in units of the person's size: along x, along y, and the logarithm of their length.
    """
    trust = torch.ones_like(keypoints[..., 0]) if confidence is None else confidence.clamp(min=_LEAST_TRUST)
    weight = (trust / trust.sum(1, keepdim=True))[..., None]
    flat, seen = (part - (weight * part).sum(1, keepdim=True) for part in (pose[..., :2], keypoints))
    along, across = ((weight * flat * other).sum((1, 2), keepdim=True) for other in (seen, flat))
    size = (weight * seen * seen).sum((1, 2), keepdim=True).clamp(min=_LEAST).sqrt()
    apart = ((along / across.clamp(min=_LEAST) * flat - seen) / size).clamp(-_FARTHEST, _FARTHEST)
    length = torch.linalg.vector_norm(apart, dim=-1, keepdim=True).clamp(min=_CLOSEST)
    return torch.cat((apart, length.log()), dim=-1)
