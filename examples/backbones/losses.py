"""The loss terms of the papers, as modules that add up in a YAML file.

All take the visibility of the joints, bool (..., J), as an optional third argument. A term that needs an invisible
joint is left out of the mean, so that not even a NaN at that joint reaches a value or a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from examples.backbones.skeletons import H36M_PARENTS

__all__ = [
    "MPJPE",
    "MSE",
    "NMPJPE",
    "BoneVectorLoss",
    "Smoothness",
    "VelocityLoss",
    "WeightedMPJPE",
    "WeightedSum",
]

# MixSTE's weights for h36m17: the farther a joint is from the trunk, the more it counts.
_H36M_WEIGHTS = (1.0, 1.0, 2.5, 2.5, 1.0, 2.5, 2.5, 1.0, 1.0, 1.0, 1.5, 1.5, 4.0, 4.0, 1.5, 4.0, 4.0)


def _check(prediction: Tensor, target: Tensor, *, clips: bool = False) -> None:
    if prediction.shape != target.shape:
        raise ValueError(
            "Expected `prediction` and `target` to have the same shape, but got "
            f"{tuple(prediction.shape)} and {tuple(target.shape)}."
        )
    if clips and (prediction.dim() != 4 or prediction.shape[1] < 2):
        raise ValueError(f"Expected clips (B, T, J, 3) of at least two frames, but got {tuple(prediction.shape)}.")


def _mean(terms: Tensor, counted: Tensor | None) -> Tensor:
    """Mean of terms (..., n) or (..., n, 3), over those that `counted`, bool (..., n), marks if it is given."""
    if counted is None:
        return terms.mean()
    counted = counted if counted.dim() == terms.dim() else counted[..., None].expand_as(terms)
    return torch.where(counted, terms, 0.0).sum() / counted.sum().clamp(min=1)


def _error(prediction: Tensor, target: Tensor, visibility: Tensor | None) -> Tensor:
    """Prediction minus target, zero where a joint is invisible."""
    error = prediction - target
    return error if visibility is None else torch.where(visibility[..., None], error, 0.0)


def _both_frames(visibility: Tensor | None) -> Tensor | None:
    return None if visibility is None else visibility[:, 1:] & visibility[:, :-1]


class MPJPE(nn.Module):
    """Mean distance between predicted and true joints (..., J, 3): VideoPose3D, PoseFormerV2, P-STMO.

    Example:
        >>> MPJPE()(torch.zeros(1, 1, 3), torch.tensor([[[3.0, 4.0, 0.0]]])).item()
        5.0
    """

    def forward(self, prediction: Tensor, target: Tensor, visibility: Tensor | None = None) -> Tensor:
        """Return the mean as a scalar."""
        _check(prediction, target)
        return _mean(_error(prediction, target, visibility).norm(dim=-1), visibility)


class MSE(nn.Module):
    """Mean squared difference of the coordinates (..., J, 3): SimpleBaseline, SemGCN."""

    def forward(self, prediction: Tensor, target: Tensor, visibility: Tensor | None = None) -> Tensor:
        """Return the mean as a scalar."""
        _check(prediction, target)
        return _mean(_error(prediction, target, visibility).square(), visibility)


class WeightedMPJPE(nn.Module):
    """Mean joint distance with one weight per joint: MixSTE, KTPFormer.

    Args:
        weights: One weight per joint. The default is MixSTE's for the joints of Human3.6M.

    Example:
        >>> WeightedMPJPE([1.0, 3.0])(torch.zeros(1, 2, 3), torch.eye(3)[None, :2]).item()
        2.0
    """

    def __init__(self, weights: Sequence[float] = _H36M_WEIGHTS) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights), persistent=False)

    def forward(self, prediction: Tensor, target: Tensor, visibility: Tensor | None = None) -> Tensor:
        """Return the weighted mean as a scalar; weights are not normalised."""
        _check(prediction, target)
        return _mean(self.weights * _error(prediction, target, visibility).norm(dim=-1), visibility)


class NMPJPE(nn.Module):
    """Mean joint distance after each predicted pose (..., J, 3) got its best scale: MotionAGFormer."""

    def forward(self, prediction: Tensor, target: Tensor, visibility: Tensor | None = None) -> Tensor:
        """Return the mean as a scalar."""
        _check(prediction, target)
        if visibility is not None:
            prediction, target = (torch.where(visibility[..., None], pose, 0.0) for pose in (prediction, target))
        square = prediction.square().sum(dim=(-2, -1), keepdim=True)
        scale = (prediction * target).sum(dim=(-2, -1), keepdim=True) / square.clamp(min=1e-12)
        return _mean((scale * prediction - target).norm(dim=-1), visibility)


class VelocityLoss(nn.Module):
    """Mean distance of the joints' velocities, per frame, in clips (B, T, J, 3): MixSTE, KTPFormer, MotionAGFormer.

    Example:
        >>> still = torch.zeros(1, 3, 1, 3)
        >>> moving = torch.tensor([0.0, 1.0, 2.0]).view(1, 3, 1, 1) * torch.tensor([3.0, 4.0, 0.0])
        >>> VelocityLoss()(still, moving).item()
        5.0
    """

    def forward(self, prediction: Tensor, target: Tensor, visibility: Tensor | None = None) -> Tensor:
        """Return the mean as a scalar."""
        _check(prediction, target, clips=True)
        if visibility is not None:
            prediction, target = (torch.where(visibility[..., None], pose, 0.0) for pose in (prediction, target))
        return _mean((prediction.diff(dim=1) - target.diff(dim=1)).norm(dim=-1), _both_frames(visibility))


class Smoothness(nn.Module):
    """Mean squared step of the predicted coordinates from frame to frame, clips (B, T, J, 3): MixSTE, KTPFormer.

    Args:
        weights: One weight per joint. The default is MixSTE's for the joints of Human3.6M.
    """

    def __init__(self, weights: Sequence[float] = _H36M_WEIGHTS) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights), persistent=False)

    def forward(self, prediction: Tensor, target: Tensor, visibility: Tensor | None = None) -> Tensor:
        """Return the weighted mean as a scalar; the target's values play no part."""
        _check(prediction, target, clips=True)
        return _mean(self.weights[:, None] * prediction.diff(dim=1).square(), _both_frames(visibility))


class BoneVectorLoss(nn.Module):
    """Mean squared difference of the bone vectors (..., bones, 3): SemGCN.

    Args:
        parents: Parent index per joint, -1 for the root.
    """

    def __init__(self, parents: Sequence[int] = H36M_PARENTS) -> None:
        super().__init__()
        bones = [(joint, parent) for joint, parent in enumerate(parents) if parent >= 0]
        self.register_buffer("child", torch.tensor([child for child, _ in bones]), persistent=False)
        self.register_buffer("parent", torch.tensor([parent for _, parent in bones]), persistent=False)

    def forward(self, prediction: Tensor, target: Tensor, visibility: Tensor | None = None) -> Tensor:
        """Return the mean as a scalar."""
        _check(prediction, target)
        error = _error(prediction, target, visibility)
        seen = None if visibility is None else visibility[..., self.child] & visibility[..., self.parent]
        return _mean((error[..., self.child, :] - error[..., self.parent, :]).square(), seen)


class WeightedSum(nn.Module):
    """A weighted sum of losses.

    Args:
        losses: The terms.
        weights: Their weights.

    Raises:
        ValueError: If there are not as many weights as terms.

    Example:
        >>> loss = WeightedSum([MPJPE(), MSE()], [1.0, 6.0])
        >>> loss(torch.zeros(1, 1, 3), torch.tensor([[[2.0, 0.0, 0.0]]])).item()  # 2 + 6 * 4 / 3
        10.0
    """

    def __init__(self, losses: list[nn.Module], weights: list[float]) -> None:
        super().__init__()
        if len(losses) != len(weights):
            raise ValueError(f"Expected one weight per loss, but got {len(weights)} for {len(losses)}.")
        self.losses, self.weights = nn.ModuleList(losses), weights

    def forward(self, prediction: Tensor, target: Tensor, visibility: Tensor | None = None) -> Tensor:
        """Return the sum as a scalar."""
        terms = zip(self.weights, self.losses, strict=True)
        masks = [] if visibility is None else [visibility]
        return torch.stack([weight * loss(prediction, target, *masks) for weight, loss in terms]).sum()
