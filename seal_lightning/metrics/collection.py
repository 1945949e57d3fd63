"""All metrics of a pose at once."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torchmetrics import Metric, MetricCollection

from seal_lightning.functional.poses import Poses
from seal_lightning.metrics.accuracy import MPJPE, NMPJPE, PCK, PCKAUC, PMPJPE
from seal_lightning.metrics.base import Unit
from seal_lightning.metrics.motion import MPJVE, AccelerationError
from seal_lightning.metrics.structure import (
    MPSCE,
    MPSSE,
    AsymmetryError,
    BodySegmentLengthError,
    LimbLengthError,
    LimbSymmetryError,
)
from seal_lightning.metrics.tail import PERCENTILES, TAIL, ErrorCVaR, ErrorPercentile
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["PoseMetrics"]


class PoseMetrics(MetricCollection):
    """Accuracy and structure of predicted poses as one `torchmetrics.MetricCollection`.

    ``metrics.update(prediction, target, visibility=None)`` takes poses (..., J, 3). The results are ``mpjpe``,
    ``p_mpjpe``, ``n_mpjpe``, ``pck``, ``pck_auc``, ``limb_symmetry_error`` (percent), ``asymmetry_error``,
    ``body_segment_length_error`` and ``limb_length_error`` (percent), ``mpsse``, the percentiles of the error per pose
    ``mpjpe_p50``, ``mpjpe_p90``, ``mpjpe_p95`` and ``mpjpe_p99``, and ``mpjpe_cvar95``, the mean of its worst 5 %. PCK
    and AUC are percentages too; all other values are in the unit of the poses.

    Each is a single value, so that ``self.log_dict(metrics)`` works in a LightningModule, and `MetricTracker` as well;
    before torchmetrics 1.7 the latter needs ``maximize=None`` to know which of them are better when lower.

    Where the position of a pose matters, both poses are first aligned at the root of the skeleton: a model is scored
    by protocol 1 even if its poses carry an offset.

    Args:
        skeleton: Skeleton or name of a built-in one. What it cannot measure (no paired bones, no limbs) is NaN, with
            a warning.
        unit: Unit of the poses, "mm" or "m".
        temporal: Add ``mpjve``, ``acceleration_error`` (per frame squared) and ``mpsce``; poses must then be clips
            (..., T, J, 3) of at least 3 frames.
        prefix: What the names of the results begin with, e.g. ``"val/"``.
        postfix: What they end with.
        kwargs: Options of every torchmetrics metric, e.g. ``dist_sync_on_step``.

    Raises:
        ValueError: If the skeleton or the unit is unknown.

    Example:
        >>> import torch
        >>> metrics = PoseMetrics("h36m17", unit="mm")
        >>> pose = torch.arange(51.0).reshape(1, 17, 3) ** 2
        >>> metrics.update(pose + 1000, pose)
        >>> metrics.compute()["mpjpe"], metrics.compute()["pck"]
        (tensor(0.), tensor(100.))
    """

    def __init__(
        self,
        skeleton: str | Skeleton,
        *,
        unit: Unit,
        temporal: bool = False,
        prefix: str | None = None,
        postfix: str | None = None,
        **kwargs: Any,
    ) -> None:
        skeleton = get_skeleton(skeleton)
        root = skeleton.root_joints
        metrics: dict[str, Metric | MetricCollection] = {
            "mpjpe": MPJPE(root, **kwargs),
            "p_mpjpe": PMPJPE(**kwargs),
            "n_mpjpe": NMPJPE(root, **kwargs),
            "pck": PCK(unit=unit, root=root, **kwargs),
            "pck_auc": PCKAUC(unit=unit, root=root, **kwargs),
            "limb_symmetry_error": LimbSymmetryError(skeleton, **kwargs),
            "asymmetry_error": AsymmetryError(skeleton, **kwargs),
            "body_segment_length_error": BodySegmentLengthError(skeleton, **kwargs),
            "limb_length_error": LimbLengthError(skeleton, **kwargs),
            "mpsse": MPSSE(skeleton, **kwargs),
            f"mpjpe_cvar{TAIL}": ErrorCVaR(TAIL, unit=unit, root=root, **kwargs),
        }
        for percent in PERCENTILES:
            metrics[f"mpjpe_p{percent}"] = ErrorPercentile(percent, unit=unit, root=root, **kwargs)
        if temporal:
            metrics |= {
                "mpjve": MPJVE(root, **kwargs),
                "acceleration_error": AccelerationError(root=root, **kwargs),
                "mpsce": MPSCE(skeleton, **kwargs),
            }
        # Nothing is left for compute groups to share: `update` measures every batch once for all metrics.
        super().__init__(metrics, prefix=prefix, postfix=postfix, compute_groups=False)

    def update(  # type: ignore[override]  # of a collection of modules, not of metrics
        self, prediction: Tensor, target: Tensor, visibility: Tensor | None = None
    ) -> None:
        """Add a batch of poses to every metric; what several of them need is computed once.

        Args:
            prediction: Predicted poses, shape (..., J, 3).
            target: True poses, same shape and unit.
            visibility: Mask (..., J), boolean or 0/1.
        """
        # Of keywords, a collection hands every metric those that its `update` knows.
        poses = Poses(prediction, target, visibility)
        super().update(prediction, target, visibility=visibility, poses=poses)

    def forward(self, prediction: Tensor, target: Tensor, visibility: Tensor | None = None) -> dict[str, Any]:
        """Add a batch of poses to every metric and return the values of this batch.

        Args:
            prediction: Predicted poses, shape (..., J, 3).
            target: True poses, same shape and unit.
            visibility: Mask (..., J), boolean or 0/1.
        """
        poses = Poses(prediction, target, visibility)
        values: dict[str, Any] = super().forward(prediction, target, visibility=visibility, poses=poses)
        return values
