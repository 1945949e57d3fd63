"""What all metrics share: sums that stream over batches and sync over processes, and the mean over poses."""

from __future__ import annotations

import hashlib
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities.plot import _AX_TYPE, _PLOT_OUT_TYPE

from seal_lightning.functional.checks import check_positive
from seal_lightning.functional.poses import Poses
from seal_lightning.functional.terms import Terms, pose_means
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["PoseMean", "StreamingMetric", "StructureMean", "Unit", "per_millimetre", "state_name", "threshold_in"]

Unit: TypeAlias = Literal["mm", "m"]


def per_millimetre(unit: str) -> float:
    """Return the length of a millimetre in `unit`."""
    if unit not in ("mm", "m"):
        raise ValueError(f"Expected `unit` to be 'mm' or 'm', but got {unit!r}.")
    return 1.0 if unit == "mm" else 0.001


def threshold_in(unit: str, threshold: float | None) -> float:
    """Return a threshold in `unit`, 150 mm by default, and refuse one that looks as if it were in another unit."""
    millimetre = per_millimetre(unit)
    if threshold is None:
        return 150.0 * millimetre
    check_positive("threshold", threshold)
    low, high = 1.0 * millimetre, 10_000.0 * millimetre
    if not low <= threshold < high:
        meant = threshold / 1000 if threshold >= high else threshold * 1000  # what it is in the other unit
        hint = f" Did you mean {meant:g}?" if low <= meant < high else ""
        raise ValueError(
            f"Expected `threshold` to be in {unit} like the poses, at least {low:g} and below {high:g}, but got "
            f"{threshold!r}.{hint}"
        )
    return threshold


class StreamingMetric(Metric):
    """A metric whose states are sums, so that batches, and processes, add up in any order."""

    is_differentiable = True
    higher_is_better = False
    full_state_update = False
    plot_lower_bound = 0.0

    def _add_sum(self, name: str, shape: tuple[int, ...] = ()) -> None:
        # A float32 sum of a million errors rounds the next error to a single digit. In float64 even a million batches
        # of one pose lose less than one part in a billion.
        self.add_state(name, default=torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def _add_count(self, name: str, shape: tuple[int, ...] = ()) -> None:
        self.add_state(name, default=torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        def move(tensor: Tensor) -> Tensor:
            try:
                moved = fn(tensor)
            except TypeError:
                # Apple's MPS has no float64 and raises a TypeError; sums are kept in float32 there.
                return fn(tensor.float())
            # Casting a model to half precision casts its metrics too, but sums in half precision are useless.
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, exclude_state)

    def plot(self, val: Any = None, ax: _AX_TYPE | None = None) -> _PLOT_OUT_TYPE:
        """Plot one value, or several against the step.

        Args:
            val: Result of ``forward`` or ``compute``, or a list of them. Defaults to the current ``compute()``.
            ax: Axes to draw on; a new figure by default.

        Returns:
            Figure and axes.
        """
        return self._plot(val, ax)


def state_name(name: str, *options: object) -> str:
    """Return a name for a state that metrics with other options do not have.

    A `MetricCollection` looks for metrics whose states have equal names and, after the first batch, equal values, and
    updates only one of them from then on. Equal values alone prove nothing: PCK may be 0 at every threshold at first.
    """
    return f"{name}_{hashlib.blake2s(repr(options).encode(), digest_size=6).hexdigest()}"


class PoseMean(StreamingMetric):
    """Mean over poses of a mean over joints or bones. A subclass implements `_terms`, the errors of these.

    Args:
        options: What the terms depend on besides the class: metrics that differ in them never share a state.
        kwargs: Options of every torchmetrics metric.
    """

    count: Tensor

    def __init__(self, *options: object, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._total = state_name("total", type(self).__module__, type(self).__qualname__, *options)
        self._add_sum(self._total)
        self._add_count("count")

    @property
    def total(self) -> Tensor:
        """Sum over all poses so far."""
        total: Tensor = getattr(self, self._total)
        return total

    @abstractmethod
    def _terms(self, poses: Poses) -> Terms:
        """Return one error per joint or bone, and which of them count."""

    def update(
        self,
        prediction: Tensor,
        target: Tensor | None = None,
        visibility: Tensor | None = None,
        *,
        poses: Poses | None = None,
    ) -> None:
        """Add a batch of poses.

        Args:
            prediction: Predicted poses, shape (..., J, 3).
            target: True poses, same shape and unit. Metrics that need no truth ignore it.
            visibility: Mask (..., J), boolean or 0/1.
            poses: The three together, from a `PoseMetrics` whose metrics share what is computed of them.
        """
        self._add(self._terms(poses or Poses(prediction, target, visibility)))

    def _add(self, terms: Terms) -> None:
        values, any_counted = pose_means(terms)
        setattr(self, self._total, self.total + values.to(self.total.dtype).sum())
        self.count = self.count + any_counted.sum()

    def compute(self) -> Tensor:
        """Return the mean over all poses so far, float32; NaN if there are none."""
        return (self.total / self.count).float()


class StructureMean(PoseMean):
    """Mean over poses of a mean over bones, pairs of bones or limbs of a skeleton."""

    segments: ClassVar[Literal["bones", "paired_bones", "limbs"]] = "bones"
    left_out: Tensor

    def __init__(self, skeleton: str | Skeleton, *options: object, **kwargs: Any) -> None:
        skeleton = get_skeleton(skeleton)
        super().__init__(skeleton, *options, **kwargs)
        self.skeleton = skeleton
        self._add_count("left_out")
        if not getattr(self.skeleton, self.segments):
            warnings.warn(
                f"The skeleton has no {self.segments.replace('_', ' ')}: {type(self).__name__} will be NaN.",
                UserWarning,
                stacklevel=3,
            )

    def _add(self, terms: Terms) -> None:
        super()._add(terms)
        self.left_out = self.left_out + (terms.visible & ~terms.counted).sum()
