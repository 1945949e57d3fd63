"""Metrics of joint positions."""

from __future__ import annotations

from typing import Any

from seal_lightning.functional.checks import Root, check_count
from seal_lightning.functional.poses import Poses
from seal_lightning.functional.terms import (
    Terms,
    mpjpe_terms,
    n_mpjpe_terms,
    p_mpjpe_terms,
    pck_auc_terms,
    pck_terms,
)
from seal_lightning.metrics.base import PoseMean, Unit, threshold_in

__all__ = ["MPJPE", "NMPJPE", "PCK", "PCKAUC", "PMPJPE"]


class MPJPE(PoseMean):
    """Mean per-joint position error, see `seal_lightning.functional.mpjpe`, in the unit of the input.

    Args:
        root: Joint, or several whose mean, both poses are aligned to first. None aligns nothing.
        kwargs: Options of every torchmetrics metric, e.g. ``dist_sync_on_step``.

    Example:
        >>> import torch
        >>> metric = MPJPE()
        >>> metric.update(torch.tensor([[[3.0, 4.0, 0.0]]]), torch.zeros(1, 1, 3))
        >>> metric.update(torch.tensor([[[1.0, 0.0, 0.0]]]), torch.zeros(1, 1, 3))
        >>> metric.compute()
        tensor(3.)
    """

    def __init__(self, root: Root = None, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)
        self.root = root

    def _terms(self, poses: Poses) -> Terms:
        return mpjpe_terms(poses, self.root)


class PMPJPE(PoseMean):
    """MPJPE after a similarity alignment without reflection, see `seal_lightning.functional.p_mpjpe`.

    Args:
        kwargs: Options of every torchmetrics metric, e.g. ``dist_sync_on_step``.

    Example:
        >>> import torch
        >>> metric, pose = PMPJPE(), torch.tensor([[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]])
        >>> metric(3 * pose + 1, pose).round(decimals=4)
        tensor(0.)
    """

    def _terms(self, poses: Poses) -> Terms:
        return p_mpjpe_terms(poses)


class NMPJPE(PoseMean):
    """MPJPE after the best scale, see `seal_lightning.functional.n_mpjpe`.

    Args:
        root: Joint, or several whose mean, both poses are aligned to first. None aligns nothing.
        kwargs: Options of every torchmetrics metric, e.g. ``dist_sync_on_step``.

    Example:
        >>> import torch
        >>> metric, pose = NMPJPE(), torch.tensor([[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]])
        >>> metric(3 * pose, pose)
        tensor(0.)
    """

    def __init__(self, root: Root = None, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)
        self.root = root

    def _terms(self, poses: Poses) -> Terms:
        return n_mpjpe_terms(poses, self.root)


class PCK(PoseMean):
    """Percentage of joints nearer to the truth than a threshold, see `seal_lightning.functional.pck`.

    Args:
        threshold: Distance that a correct joint stays below, in the unit of the poses. None is 150 mm in that unit.
        unit: Unit of the poses, "mm" or "m".
        root: Joint, or several whose mean, both poses are aligned to first. None aligns nothing.
        kwargs: Options of every torchmetrics metric, e.g. ``dist_sync_on_step``.

    Raises:
        ValueError: If the unit is another, or the threshold is not from 1 mm to 10 m in that unit.

    Example:
        >>> import torch
        >>> metric = PCK(unit="m")
        >>> metric(torch.tensor([[0.1, 0.0, 0.0], [0.2, 0.0, 0.0]]), torch.zeros(2, 3))
        tensor(50.)
    """

    is_differentiable = False
    higher_is_better = True
    plot_upper_bound = 100.0

    def __init__(self, threshold: float | None = None, *, unit: Unit, root: Root = None, **kwargs: Any) -> None:
        threshold = threshold_in(unit, threshold)
        super().__init__(threshold, root, **kwargs)
        self.threshold = threshold
        self.root = root

    def _terms(self, poses: Poses) -> Terms:
        return pck_terms(poses, self.threshold, self.root)


class PCKAUC(PoseMean):
    """Mean PCK over evenly spaced thresholds, 0 to 150 mm in steps of 5, see `seal_lightning.functional.pck_auc`.

    Args:
        threshold: Largest threshold, in the unit of the poses. None is 150 mm in that unit.
        unit: Unit of the poses, "mm" or "m".
        steps: Number of steps from 0 to the largest threshold.
        root: Joint, or several whose mean, both poses are aligned to first. None aligns nothing.
        kwargs: Options of every torchmetrics metric, e.g. ``dist_sync_on_step``.

    Raises:
        ValueError: If the unit is another, the threshold is not from 1 mm to 10 m in that unit, or the number of steps
            is not above zero.

    Example:
        >>> import torch
        >>> metric = PCKAUC(steps=2, unit="mm")  # below 150, but neither below 75 nor below 0
        >>> metric(torch.tensor([[80.0, 0.0, 0.0]]), torch.zeros(1, 3))
        tensor(33.3333)
    """

    is_differentiable = False
    higher_is_better = True
    plot_upper_bound = 100.0

    def __init__(
        self, threshold: float | None = None, *, unit: Unit, steps: int = 30, root: Root = None, **kwargs: Any
    ) -> None:
        threshold = threshold_in(unit, threshold)
        check_count("steps", steps)
        super().__init__(threshold, steps, root, **kwargs)
        self.threshold = threshold
        self.steps = steps
        self.root = root

    def _terms(self, poses: Poses) -> Terms:
        return pck_auc_terms(poses, self.threshold, self.steps, self.root)
