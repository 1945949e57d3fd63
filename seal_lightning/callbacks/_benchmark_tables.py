"""The numbers by which each benchmark is reported, and the sums from which they are averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from seal_lightning.functional import mpjpe, p_mpjpe, pck, pck_auc, root_align
from seal_lightning.metrics.base import StreamingMetric

__all__ = ["TABLES", "Column", "ScoreSums", "Table"]

Joints = tuple[int, ...]


@dataclass(frozen=True)
class Column:
    """One number of a table.

    Args:
        score: Function of predicted and true poses (N, J', 3) in millimetres and their visibility (N, J') that returns
            one value per pose (N,).
        parts: Pairs of the joints that are scored and the joints whose mean is moved to the origin first. None stands
            for all joints, or for no alignment. The number is the mean over the pairs.
    """

    score: Callable[..., Tensor]
    parts: tuple[tuple[Joints | None, Joints | None], ...]

    def __call__(self, prediction: Tensor, target: Tensor, visibility: Tensor) -> tuple[Tensor, Tensor]:
        """Values (N,) of poses (N, J, 3) in millimetres, 0 where no joint is visible, and whether one is (N,)."""
        values, counts = [], []
        for joints, root in self.parts:
            seen, poses = visibility, [prediction, target]
            if root is not None:
                poses = [root_align(pose, root, visibility=visibility) for pose in poses]
                seen = seen & seen[:, list(root)].any(dim=-1, keepdim=True)
            if joints is not None:
                seen, poses = seen[:, list(joints)], [pose[:, list(joints)] for pose in poses]
            value, counted = self.score(poses[0], poses[1], visibility=seen, reduction="none"), seen.any(dim=-1)
            values.append(torch.where(counted, value, 0.0))
            counts.append(counted)
        count = torch.stack(counts).sum(dim=0)
        return torch.stack(values).sum(dim=0) / count.clamp(min=1), count > 0


@dataclass(frozen=True)
class Table:
    """How a benchmark is reported.

    Args:
        columns: Its numbers, by name.
        per_action: Whether every action has a row; otherwise all poses share one.
        total: What the last row is the mean over: "actions", each with the same weight, or all "poses".
    """

    columns: dict[str, Column]
    per_action: bool
    total: Literal["actions", "poses"]


class ScoreSums(StreamingMetric):
    """Sums of values by row and column, from which means are exact over any number of batches and processes.

    Args:
        rows: Number of rows.
        columns: The columns.
    """

    total: Tensor
    count: Tensor

    def __init__(self, rows: int, columns: Sequence[Column]) -> None:
        super().__init__()
        self.columns = columns
        self._add_sum("total", (rows, len(columns)))
        self._add_count("count", (rows, len(columns)))

    def update(self, prediction: Tensor, target: Tensor, visibility: Tensor, row: Tensor) -> None:
        """Add poses (N, J, 3) in millimetres with visibility (N, J), each to its row (N,)."""
        scored = [column(prediction, target, visibility) for column in self.columns]
        values, counts = torch.stack([value for value, _ in scored], 1), torch.stack([count for _, count in scored], 1)
        self.total = self.total.index_add(0, row, values.to(self.total.dtype))
        self.count = self.count.index_add(0, row, counts.to(self.count.dtype))

    def compute(self) -> tuple[Tensor, Tensor]:
        """Sums and counts by row and column."""
        return self.total, self.count


def _range(start: int, end: int) -> Joints:
    return tuple(range(start, end))


_HIP, _3DHP_PELVIS, _HIPS, _NOSE = (0,), (14,), (11, 12), (0,)
_LEFT_HAND, _RIGHT_HAND = _range(91, 112), _range(112, 133)
# The official script computes PCK over the first 14 joints, which leaves out pelvis, spine and head.
_3DHP_JOINTS = _range(0, 14)

TABLES = {
    "human36m": Table(
        {"mpjpe": Column(mpjpe, ((None, _HIP),)), "p_mpjpe": Column(p_mpjpe, ((None, None),))},
        per_action=True,
        total="actions",
    ),
    "mpi_inf_3dhp": Table(
        {
            "pck": Column(partial(pck, threshold=150.0), ((_3DHP_JOINTS, _3DHP_PELVIS),)),
            "pck_auc": Column(partial(pck_auc, threshold=150.0), ((_3DHP_JOINTS, _3DHP_PELVIS),)),
            "mpjpe": Column(mpjpe, ((None, _3DHP_PELVIS),)),
        },
        per_action=True,
        total="poses",
    ),
    "h3wb": Table(
        {
            "whole_body": Column(mpjpe, ((None, _HIPS),)),
            "body": Column(mpjpe, ((_range(0, 23), _HIPS),)),
            "face": Column(mpjpe, ((_range(23, 91), _HIPS),)),
            "face_nose_aligned": Column(mpjpe, ((_range(23, 91), _NOSE),)),
            "hands": Column(mpjpe, ((_range(91, 133), _HIPS),)),
            "hands_wrist_aligned": Column(mpjpe, ((_LEFT_HAND, _LEFT_HAND[:1]), (_RIGHT_HAND, _RIGHT_HAND[:1]))),
        },
        per_action=False,
        total="poses",
    ),
}
