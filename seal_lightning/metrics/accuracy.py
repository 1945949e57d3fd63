"""Metrics of joint positions."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from seal_lightning.functional._checks import Root, check_count, check_positive
from seal_lightning.functional._terms import (
    Terms,
    mpjpe_terms,
    mpjve_terms,
    n_mpjpe_terms,
    p_mpjpe_terms,
    pck_auc_terms,
    pck_terms,
)
from seal_lightning.metrics._base import PoseMean, Unit, per_millimetre

__all__ = ["MPJPE", "MPJVE", "NMPJPE", "PCK", "PCKAUC", "PMPJPE"]


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
        super().__init__(**kwargs)
        self.root = root

    def _terms(self, prediction: Tensor, target: Any, visibility: Tensor | None) -> Terms:
        return mpjpe_terms(prediction, target, self.root, visibility)


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

    def _terms(self, prediction: Tensor, target: Any, visibility: Tensor | None) -> Terms:
        return p_mpjpe_terms(prediction, target, visibility)


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
        super().__init__(**kwargs)
        self.root = root

    def _terms(self, prediction: Tensor, target: Any, visibility: Tensor | None) -> Terms:
        return n_mpjpe_terms(prediction, target, self.root, visibility)


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
        super().__init__(**kwargs)
        self.root = root

    def _terms(self, prediction: Tensor, target: Any, visibility: Tensor | None) -> Terms:
        return mpjve_terms(prediction, target, self.root, visibility)


class PCK(PoseMean):
    """Percentage of joints within a threshold of the truth, see `seal_lightning.functional.pck`.

    Args:
        threshold: Largest distance of a correct joint, in millimetres whatever the unit of the poses.
        unit: Unit of the poses, "mm" or "m".
        root: Joint, or several whose mean, both poses are aligned to first. None aligns nothing.
        kwargs: Options of every torchmetrics metric, e.g. ``dist_sync_on_step``.

    Raises:
        ValueError: If the threshold is not above zero, or the unit is another.

    Example:
        >>> import torch
        >>> metric = PCK(unit="m")
        >>> metric(torch.tensor([[0.1, 0.0, 0.0], [0.2, 0.0, 0.0]]), torch.zeros(2, 3))
        tensor(50.)
    """

    is_differentiable = False
    higher_is_better = True
    plot_upper_bound = 100.0

    def __init__(self, threshold: float = 150.0, *, unit: Unit, root: Root = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_positive("threshold", threshold)
        self.threshold = threshold * per_millimetre(unit)
        self.root = root

    def _terms(self, prediction: Tensor, target: Any, visibility: Tensor | None) -> Terms:
        return pck_terms(prediction, target, self.threshold, self.root, visibility)


class PCKAUC(PoseMean):
    """Mean PCK over evenly spaced thresholds, 0 to 150 mm in steps of 5, see `seal_lightning.functional.pck_auc`.

    Args:
        threshold: Largest threshold, in millimetres whatever the unit of the poses.
        steps: Number of steps from 0 to the largest threshold.
        unit: Unit of the poses, "mm" or "m".
        root: Joint, or several whose mean, both poses are aligned to first. None aligns nothing.
        kwargs: Options of every torchmetrics metric, e.g. ``dist_sync_on_step``.

    Raises:
        ValueError: If the threshold or the number of steps is not above zero, or the unit is another.

    Example:
        >>> import torch
        >>> metric = PCKAUC(steps=2, unit="mm")  # within 150, but neither within 75 nor 0
        >>> metric(torch.tensor([[80.0, 0.0, 0.0]]), torch.zeros(1, 3))
        tensor(33.3333)
    """

    is_differentiable = False
    higher_is_better = True
    plot_upper_bound = 100.0

    def __init__(
        self, threshold: float = 150.0, *, unit: Unit, steps: int = 30, root: Root = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_positive("threshold", threshold)
        check_count("steps", steps)
        self.threshold = threshold * per_millimetre(unit)
        self.steps = steps
        self.root = root

    def _terms(self, prediction: Tensor, target: Any, visibility: Tensor | None) -> Terms:
        return pck_auc_terms(prediction, target, self.threshold, self.steps, self.root, visibility)
