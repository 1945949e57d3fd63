"""All metrics of a pose at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities.plot import _AX_TYPE, _PLOT_OUT_TYPE

from seal_lightning.functional._sharing import sharing
from seal_lightning.metrics._base import Unit
from seal_lightning.metrics.accuracy import MPJPE, MPJVE, NMPJPE, PCK, PCKAUC, PMPJPE
from seal_lightning.metrics.structure import (
    MPSCE,
    MPSSE,
    AsymmetryError,
    BodySegmentLengthError,
    LimbLengthError,
    LimbSymmetryError,
)
from seal_lightning.metrics.tail import ErrorTail
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["PoseMetrics"]


class _MPJPETail(ErrorTail):
    """The error tail under names that say what it is the tail of."""

    def compute(self) -> dict[str, Tensor]:
        return {f"mpjpe_{name}": value for name, value in super().compute().items()}


class PoseMetrics(MetricCollection):
    """Accuracy and structure of predicted poses as one `torchmetrics.MetricCollection`.

    ``metrics.update(prediction, target, visibility=None)`` takes poses (..., J, 3). The results are ``mpjpe``,
    ``p_mpjpe``, ``n_mpjpe``, ``pck``, ``pck_auc``, ``limb_symmetry_error`` (percent), ``asymmetry_error``,
    ``body_segment_length_error`` and ``limb_length_error`` (percent), ``mpsse``, and the tail of the error per pose:
    ``mpjpe_p50``, ``mpjpe_p90``, ``mpjpe_p95``, ``mpjpe_p99``, ``mpjpe_cvar95``. Whatever is neither in percent nor a
    PCK has the unit of the poses.

    Where the position of a pose matters, both poses are first aligned at the root of the skeleton: a model is scored
    by protocol 1 even if its poses carry an offset.

    Args:
        skeleton: Skeleton or name of a built-in one. What it cannot measure (no paired bones, no limbs) is NaN, with
            a warning.
        unit: Unit of the poses, "mm" or "m".
        temporal: Add ``mpjve`` and ``mpsce``; poses must then be clips (..., T, J, 3).
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

    def __init__(self, skeleton: str | Skeleton, *, unit: Unit, temporal: bool = False, **kwargs: Any) -> None:
        skeleton = get_skeleton(skeleton)
        root = skeleton.root_joints
        metrics: dict[str, Metric | MetricCollection] = {
            "mpjpe": MPJPE(root, **kwargs),
            "p_mpjpe": PMPJPE(**kwargs),
            "n_mpjpe": NMPJPE(root, **kwargs),
            "pck": PCK(unit=unit, root=root, **kwargs),
            "pck_auc": PCKAUC(unit=unit, root=root, **kwargs),
            "error_tail": _MPJPETail(unit=unit, root=root, **kwargs),
            "limb_symmetry_error": LimbSymmetryError(skeleton, **kwargs),
            "asymmetry_error": AsymmetryError(skeleton, **kwargs),
            "body_segment_length_error": BodySegmentLengthError(skeleton, **kwargs),
            "limb_length_error": LimbLengthError(skeleton, **kwargs),
            "mpsse": MPSSE(skeleton, **kwargs),
        }
        if temporal:
            metrics |= {"mpjve": MPJVE(root, **kwargs), "mpsce": MPSCE(skeleton, **kwargs)}
        # Compute groups merge metrics whose states agree after the first batch, and on a perfect one all errors do.
        super().__init__(metrics, compute_groups=False)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch of poses to every metric; what several of them need is computed once."""
        with sharing():
            super().update(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Add a batch of poses to every metric and return the values of this batch."""
        with sharing():
            results: dict[str, Any] = super().forward(*args, **kwargs)
        return results

    def plot(
        self,
        val: dict[str, Tensor] | Sequence[dict[str, Tensor]] | None = None,
        ax: _AX_TYPE | Sequence[_AX_TYPE] | None = None,
        together: bool = False,
    ) -> Sequence[_PLOT_OUT_TYPE]:
        """Plot every metric.

        Args:
            val: Result of ``forward`` or ``compute``, or a list of them. Defaults to the current ``compute()``.
            ax: Axes to draw on, one per metric, or a single one with ``together``; new figures by default.
            together: Draw all values into one figure.

        Returns:
            Figure and axes per metric, or one figure and axes with ``together``.
        """
        val = self.compute() if val is None else val
        if not together:
            val = self._with_tail(val) if isinstance(val, dict) else [self._with_tail(step) for step in val]
        return super().plot(val, ax, together)

    def _with_tail(self, values: dict[str, Tensor]) -> dict[str, Any]:
        """Add the entry that torchmetrics looks for: the values of the tail under the name of its metric."""
        start, end = self.prefix or "", self.postfix or ""
        tail = {name: value for name, value in values.items() if name.startswith(f"{start}mpjpe_")}
        return {**values, f"{start}error_tail{end}": tail}
