"""Whether what meets the truth is the prediction itself, or was mixed with that truth before."""

from __future__ import annotations

import torch
from torch import Tensor

from seal_lightning.training.reading.bits import NETWORK
from seal_lightning.training.reading.meeting import Meeting
from seal_lightning.training.reading.watch import Watch

__all__ = ["mixed_from", "why_mixed"]

_ROUNDING = 1e-3  # of a share, or of the size of a body
_SHARE = 0.01  # a smaller one is rounding, too


def mixed_from(watch: Watch, meeting: Meeting) -> Tensor | None:
    """The prediction to which the step did something with the truth before the two met; None where it did not.

    Often it is right: poses are moved to the true root, or scaled to the true size. Values tell what was done.
    """
    if not meeting.made_of & meeting.bits[1]:
        return None
    leading = watch.shapes.leading(meeting.prediction)
    for pose in reversed(watch.poses.values()):
        made_of = watch.made_of(pose.tensor)
        behind = pose.leading == leading and meeting.made_of & pose.bit and pose.tensor is not meeting.prediction
        if behind and made_of & NETWORK and not made_of & meeting.bits[1] and pose.tensor.requires_grad:
            return pose.tensor
    return None


def why_mixed(mixed: Tensor, prediction: Tensor, truth: Tensor, visibility: Tensor | None) -> str | None:
    """What is odd about what meets the truth, as a clause; None where it is a pose of its own.

    Args:
        mixed: What meets the truth, ``(..., J, 3)``.
        prediction: The prediction that it was made from.
        truth: The truth.
        visibility: Joints ``(..., J)`` that count, if not all do. The others may be anything.
    """
    # On the CPU, since not every device has double precision or least squares.
    mixed, prediction, truth = (pose.detach().cpu().double() for pose in (mixed, prediction, truth))
    apart = (prediction - truth).abs() > _ROUNDING * (prediction - truth).abs().mean()
    shares = ((mixed - truth) / (prediction - truth))[apart]  # of the prediction
    if shares.numel() == 0 or not bool(shares.isfinite().all()):
        return None
    between = bool(((shares > -_ROUNDING) & (shares < 1 + _ROUNDING)).all())
    if between and bool(((shares > _SHARE) & (shares < 1 - _SHARE)).any()):
        return "lies between the prediction of the network and that truth"
    if between:
        picked = (mixed == truth) & (mixed != prediction)
        return _why_picked(picked if visibility is None else picked & visibility.cpu()[..., None])
    if _weighed(mixed, prediction, truth):
        return "is a sum of the prediction of the network and that truth, each times a number"
    return None


def _why_picked(picked: Tensor) -> str | None:
    """Of coordinates that were taken from the truth: whether chance or values chose them, rather than the joint."""
    flat = picked.flatten(0, -3)
    return None if bool((flat == flat[:1]).all()) else "is the truth itself in some coordinates of some samples"


def _weighed(mixed: Tensor, prediction: Tensor, truth: Tensor) -> bool:
    """Whether each sample is a weighed sum of both, wherever it stands; a plain sum refines the truth."""
    rows, goal = (
        torch.stack([pose.flatten(0, -3) - pose.flatten(0, -3).mean(-2, keepdim=True) for pose in poses], -1).flatten(
            1, 2
        )
        for poses in ((prediction, truth), (mixed,))
    )
    weights = torch.linalg.lstsq(rows, goal).solution
    off = (rows @ weights - goal).norm() / goal.norm().clamp_min(1e-12)
    shares = weights.abs().flatten(1)
    plain = bool(((weights - 1).abs() < _ROUNDING).all())
    return bool(off < _ROUNDING) and bool((shares > _SHARE).all()) and not plain
