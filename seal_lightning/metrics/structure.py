"""Metrics of bone lengths."""

from __future__ import annotations

from typing import Any

from seal_lightning.functional.poses import Poses
from seal_lightning.functional.terms import (
    Terms,
    asymmetry_terms,
    body_segment_terms,
    limb_length_terms,
    mpsce_terms,
    symmetry_terms,
)
from seal_lightning.metrics.base import StructureMean
from seal_lightning.skeleton import Skeleton

__all__ = ["MPSCE", "MPSSE", "AsymmetryError", "BodySegmentLengthError", "LimbLengthError", "LimbSymmetryError"]


class LimbSymmetryError(StructureMean):
    """Difference in length of left and right bones, see `seal_lightning.functional.limb_symmetry_error`.

    The state ``left_out`` counts visible pairs that have no relative error because both lengths are zero.

    Args:
        skeleton: Skeleton or name of a built-in one. Without paired bones the metric is NaN, with a warning.
        relative: Percent of the sum of both lengths if true, else the unit of the input.
        kwargs: Options of every torchmetrics metric, e.g. ``dist_sync_on_step``.

    Example:
        >>> import torch
        >>> arms = Skeleton(("neck", "l", "r"), (-1, 0, 0), left=(1,), right=(2,))
        >>> metric = LimbSymmetryError(arms)
        >>> metric(torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
        tensor(50.)
    """

    segments = "paired_bones"

    def __init__(self, skeleton: str | Skeleton, relative: bool = True, **kwargs: Any) -> None:
        super().__init__(skeleton, relative, **kwargs)
        self.relative = relative

    def _terms(self, poses: Poses) -> Terms:
        return symmetry_terms(poses, self.skeleton, self.relative)


class MPSSE(StructureMean):
    """Absolute difference in length of left and right bones, see `seal_lightning.functional.mpsse`.

    Args:
        skeleton: Skeleton or name of a built-in one. Without paired bones the metric is NaN, with a warning.
        kwargs: Options of every torchmetrics metric, e.g. ``dist_sync_on_step``.

    Example:
        >>> import torch
        >>> arms = Skeleton(("neck", "l", "r"), (-1, 0, 0), left=(1,), right=(2,))
        >>> metric = MPSSE(arms)
        >>> metric(torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
        tensor(2.)
    """

    segments = "paired_bones"

    def _terms(self, poses: Poses) -> Terms:
        return symmetry_terms(poses, self.skeleton, False)


class AsymmetryError(StructureMean):
    """Predicted minus true asymmetry, see `seal_lightning.functional.asymmetry_error`, in the unit of the input.

    Args:
        skeleton: Skeleton or name of a built-in one. Without paired bones the metric is NaN, with a warning.
        kwargs: Options of every torchmetrics metric, e.g. ``dist_sync_on_step``.

    Example:
        >>> import torch
        >>> arms = Skeleton(("neck", "l", "r"), (-1, 0, 0), left=(1,), right=(2,))
        >>> metric = AsymmetryError(arms)
        >>> target = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> metric(torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), target)
        tensor(2.)
    """

    segments = "paired_bones"

    def _terms(self, poses: Poses) -> Terms:
        return asymmetry_terms(poses, self.skeleton)


class BodySegmentLengthError(StructureMean):
    """Error of the lengths of all bones, see `seal_lightning.functional.body_segment_length_error`.

    The state ``left_out`` counts visible bones that have no relative error because their true length is zero.

    Args:
        skeleton: Skeleton or name of a built-in one.
        relative: Percent of the true length if true, else the unit of the input.
        kwargs: Options of every torchmetrics metric, e.g. ``dist_sync_on_step``.

    Example:
        >>> import torch
        >>> metric = BodySegmentLengthError(Skeleton.from_parents([-1, 0]))
        >>> target = torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
        >>> metric(1.5 * target, target)
        tensor(50.)
    """

    def __init__(self, skeleton: str | Skeleton, relative: bool = True, **kwargs: Any) -> None:
        super().__init__(skeleton, relative, **kwargs)
        self.relative = relative

    def _terms(self, poses: Poses) -> Terms:
        return body_segment_terms(poses, self.skeleton, self.relative)


class LimbLengthError(StructureMean):
    """Error of the lengths of whole limbs, see `seal_lightning.functional.limb_length_error`.

    The state ``left_out`` counts visible limbs that have no relative error because their true length is zero.

    Args:
        skeleton: Skeleton or name of a built-in one. Without limbs the metric is NaN, with a warning.
        relative: Percent of the true length if true, else the unit of the input.
        kwargs: Options of every torchmetrics metric, e.g. ``dist_sync_on_step``.

    Example:
        >>> import torch
        >>> metric = LimbLengthError(Skeleton.from_parents([-1, 0, 1], limbs=[(0, 1, 2)]))
        >>> target = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [2.0, 2.0, 0.0]])
        >>> metric(torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [3.0, 2.0, 0.0]]), target)
        tensor(25.)
    """

    segments = "limbs"

    def __init__(self, skeleton: str | Skeleton, relative: bool = True, **kwargs: Any) -> None:
        super().__init__(skeleton, relative, **kwargs)
        self.relative = relative

    def _terms(self, poses: Poses) -> Terms:
        return limb_length_terms(poses, self.skeleton, self.relative)


class MPSCE(StructureMean):
    """Standard deviation of bone lengths over a clip (..., T, J, 3), see `seal_lightning.functional.mpsce`.

    The value depends on the length of the clips: compare figures over clips of one length only.

    Args:
        skeleton: Skeleton or name of a built-in one.
        kwargs: Options of every torchmetrics metric, e.g. ``dist_sync_on_step``.

    Example:
        >>> import torch
        >>> metric = MPSCE(Skeleton.from_parents([-1, 0]))
        >>> metric(torch.tensor([[[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 5.0, 0.0]]]))
        tensor(1.)
    """

    def _terms(self, poses: Poses) -> Terms:
        return mpsce_terms(poses, self.skeleton)
