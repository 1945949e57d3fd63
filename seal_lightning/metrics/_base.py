"""What all metrics share: exact sums that stream and sync, and the mean over poses made of them."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities.plot import _AX_TYPE, _PLOT_OUT_TYPE

from seal_lightning.functional._terms import Terms, pose_means
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["PoseMean", "StreamingMetric", "StructureMean", "Unit", "per_millimetre"]

Unit: TypeAlias = Literal["mm", "m"]


def per_millimetre(unit: str) -> float:
    """Return how much a millimetre is in `unit`."""
    if unit not in ("mm", "m"):
        raise ValueError(f"Expected `unit` to be 'mm' or 'm', but got {unit!r}.")
    return 1.0 if unit == "mm" else 0.001


class StreamingMetric(Metric):
    """A metric whose states are sums, so that batches, and ranks, add up in any order."""

    is_differentiable = True
    higher_is_better = False
    full_state_update = False
    plot_lower_bound = 0.0

    def _add_sum(self, name: str, shape: tuple[int, ...] = ()) -> None:
        # Added to a float32 sum of a million errors, one error keeps a single digit. In float64 even a million batches
        # of one pose lose less than one part in a billion.
        self.add_state(name, default=torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def _add_count(self, name: str, shape: tuple[int, ...] = ()) -> None:
        self.add_state(name, default=torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        def move(tensor: Tensor) -> Tensor:
            try:
                moved = fn(tensor)
            except TypeError:
                # Apple's MPS has no float64, and says so by a TypeError: there float32 has to do.
                return fn(tensor.float())
            # A model that is cast to half precision takes its metrics along, but sums in half precision are useless.
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


class PoseMean(StreamingMetric):
    """Mean over poses of a mean over joints or bones; subclasses say what the terms of the latter are."""

    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._add_sum("total")
        self._add_count("count")

    @abstractmethod
    def _terms(self, prediction: Tensor, target: Any, visibility: Tensor | None) -> Terms:
        """Return one error per joint or bone, and which of them count."""

    def update(self, prediction: Tensor, target: Tensor | None = None, visibility: Tensor | None = None) -> None:
        """Add a batch of poses.

        Args:
            prediction: Predicted poses, shape (..., J, 3).
            target: True poses, same shape and unit. Metrics that need no truth ignore it.
            visibility: Mask (..., J), boolean or 0/1.
        """
        self._add(self._terms(prediction, target, visibility))

    def _add(self, terms: Terms) -> None:
        values, any_counted = pose_means(terms)
        self.total = self.total + values.to(self.total.dtype).sum()
        self.count = self.count + any_counted.sum()

    def compute(self) -> Tensor:
        """Return the mean over all poses so far, float32; NaN if there are none."""
        return (self.total / self.count).float()


class StructureMean(PoseMean):
    """Mean over poses of a mean over bones, pairs of bones or limbs of a skeleton."""

    segments: ClassVar[Literal["bones", "paired_bones", "limbs"]] = "bones"
    left_out: Tensor

    def __init__(self, skeleton: str | Skeleton, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.skeleton = get_skeleton(skeleton)
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
