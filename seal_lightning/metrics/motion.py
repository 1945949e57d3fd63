"""Metrics of motion."""

from __future__ import annotations

from typing import Any

from seal_lightning.functional.checks import Root, check_positive
from seal_lightning.functional.poses import Poses
from seal_lightning.functional.terms import Terms, acceleration_terms, mpjve_terms
from seal_lightning.metrics.base import PoseMean

__all__ = ["MPJVE", "AccelerationError"]


class MPJVE(PoseMean):
    """Mean per-joint velocity error of clips (..., T, J, 3), see `seal_lightning.functional.mpjve`.

    Args:
        root: Joint, or several whose mean, both poses are aligned to first. None aligns nothing.
        kwargs: Options of every torchmetrics metric, e.g. ``dist_sync_on_step``.

    Example:
        >>> import torch
        >>> metric = MPJVE()
        >>> metric(torch.tensor([[[0.0, 0.0, 0.0]], [[0.0, 2.0, 0.0]]]), torch.zeros(2, 1, 3))
        tensor(2.)
    """

    def __init__(self, root: Root = None, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)
        self.root = root

    def _terms(self, poses: Poses) -> Terms:
        return mpjve_terms(poses, self.root)


class AccelerationError(PoseMean):
    """Distance of the second differences of clips (..., T, J, 3), see `seal_lightning.functional.acceleration_error`.

    Args:
        fps: Frames per second of the clips. With it the error is per second squared, without it per frame squared.
        root: Joint, or several whose mean, both poses are aligned to first. None aligns nothing.
        kwargs: Options of every torchmetrics metric, e.g. ``dist_sync_on_step``.

    Raises:
        ValueError: If `fps` is not above zero.

    Example:
        >>> import torch
        >>> metric = AccelerationError()
        >>> positions = torch.tensor([0.0, 1.0, 4.0, 9.0])  # by 1, 3 and 5 from frame to frame
        >>> metric(positions.reshape(4, 1, 1) * torch.eye(3)[0], torch.zeros(4, 1, 3))
        tensor(2.)
    """

    def __init__(self, fps: float | None = None, *, root: Root = None, **kwargs: Any) -> None:
        if fps is not None:
            check_positive("fps", fps)
        super().__init__(fps, root, **kwargs)
        self.fps = fps
        self.root = root

    def _terms(self, poses: Poses) -> Terms:
        return acceleration_terms(poses, self.fps, self.root)
