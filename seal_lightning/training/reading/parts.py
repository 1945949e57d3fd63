"""Batches of poses that come by in a step, and the tensors that were taken out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seal_lightning.training.reading.operations import ALL_AXES, Selection
from seal_lightning.training.reading.shapes import PoseShapes
from seal_lightning.training.reading.takes import (
    Take,
    joints_taken,
    order_taken,
    other_rows,
    rows_taken,
    same_rows,
)

__all__ = ["Part", "Parts", "Pose", "same_places"]


_PLAIN = frozenset((int, slice, type(None), type(...)))


@dataclass(eq=False, slots=True)
class Pose:
    """A batch of poses, or of keypoints, that came by.

    Args:
        tensor: The tensor.
        bit: The bit of its values; another view or copy of the same values has the same one.
        leading: Leading dimensions where it is a batch of poses; None where it is one of keypoints.
        made: Whether an operation of the step made these values, rather than the batch or a network.
    """

    tensor: Tensor
    bit: int
    leading: tuple[int, ...] | None
    made: bool


@dataclass(eq=False, slots=True)
class Part:
    """A tensor that was taken out of a batch of poses.

    Args:
        tensor: The tensor.
        pose: The batch of poses.
        axes: Which of the axes x, y and z it has.
        row: The one sample that it has; None for all.
        mask: Which joints it has; None for those of all samples alike.
        taken: The selection that made it, with its arguments, and the part that it selects from; None for a whole.
    """

    tensor: Tensor
    pose: Pose
    axes: int
    row: int | None
    mask: Tensor | None = None
    taken: tuple[Any, Sequence[Any], Any, Part] | None = None

    def joints(self, count: int) -> Tensor | None:
        """Which of so many joints it has, (J,); None for all of them, or where that cannot be told."""
        if self.taken is None:
            return None
        func, args, kwargs, source = self.taken
        own, before = joints_taken(func, args, kwargs, self.tensor, count), source.joints(count)
        return before if own is None else own


def same_places(part: Part, other: Part) -> bool:
    """Whether two parts are of the same samples, frames and joints in the same order, as far as that can be told."""
    taken, other_taken = part.taken, other.taken
    if taken is None or other_taken is None:
        return True
    args, other_args = taken[1], other_taken[1]
    index, other_index = args[-1], other_args[-1]
    if type(index) is tuple and type(other_index) is tuple:
        if _PLAIN.issuperset(map(type, index)) and index == other_index:
            return True
        if any(sum(isinstance(item, (Tensor, list)) for item in one) > 1 for one in (index, other_index)):
            return True  # joints of their own for each sample
    if taken[3].taken is not None or other_taken[3].taken is not None or args[0].shape[-1] != 3:
        return True
    mine = rows_taken(*taken[:3], part.tensor, args[0].dim() - 1)
    theirs = rows_taken(*other_taken[:3], other.tensor, args[0].dim() - 1)
    return mine is None or theirs is None or same_rows(mine, theirs) or not other_rows(mine, theirs, args[0].shape)


class Parts:
    """The poses of a step and their parts. Both are held, so that no other tensor takes their identity.

    Args:
        shapes: What is a pose.
    """

    def __init__(self, shapes: PoseShapes) -> None:
        self.shapes = shapes
        self.poses: dict[int, Pose] = {}
        self.takes: list[Take] = []
        self.crops: list[Take] = []  # batches of poses taken out of what has more joints
        self.displacements: set[int] = set()  # between joints or frames of one batch: no poses, though of their shape
        self._found: dict[int, Part] = {}
        self._whole: dict[int, Pose] = {}  # the batch of poses out of which others were taken
        self._alike: dict[int, Take] = {}  # of these by their bits, those that have as many

    def of(self, tensor: Tensor) -> Part | None:
        """Which batch of poses a tensor was taken out of; such a batch is its own whole."""
        key = id(tensor)
        found = self._found.get(key)
        if found is None:
            pose = self.poses.get(key)
            if pose is None or pose.leading is None:
                return None
            found = self._found[key] = Part(tensor, pose, ALL_AXES, None)
        return found

    def add(self, pose: Pose) -> None:
        """Note a batch of poses."""
        key = id(pose.tensor)
        self.poses[key] = pose
        self._found.pop(key, None)

    def select(self, func: Any, args: Sequence[Any], kwargs: Any, out: Tensor, of: Part, how: Selection) -> None:
        """Note a selection from a part.

        Args:
            func: The selecting function.
            args: Its positional arguments.
            kwargs: Its arguments by name.
            out: What came out.
            of: The part that it selects from.
            how: What it leaves.
        """
        known, displaced = self.poses.get(id(out)), id(of.tensor) in self.displacements
        if known is not None and known.leading is not None and not displaced:
            self._take(func, args, kwargs, known, of)
            return
        mask = of.mask
        if how.picks:
            mask = args[1] if len(args) > 1 else None
            if not isinstance(mask, Tensor) or mask.dtype != torch.bool or not self._of_joints(mask, of.tensor):
                return
        row = how.row if of.tensor is of.pose.tensor else of.row
        taken = None if displaced else (func, args, kwargs, of)
        self._found[id(out)] = Part(out, of.pose, how.axes, row, mask, taken)
        if displaced:
            self.displacements.add(id(out))

    def pick(self, func: Any, args: Sequence[Any], kwargs: Any, out: Tensor) -> None:
        """Note poses whose values were picked out of poses by their places."""
        taken, part = self.poses.get(id(out)), self.of(args[0])
        if taken is not None and part is not None:
            self._take(func, args, kwargs, taken, part)

    def _of_joints(self, mask: Tensor, source: Tensor) -> bool:
        """Whether a mask names joints or coordinates: those of poses, or of poses whose joints are in one row."""
        leading, joints = self.shapes.leading(source), self.shapes.joints
        if leading is not None:
            return tuple(mask.shape) in ((*leading, joints), (*leading, joints, 1), tuple(source.shape))
        in_a_row = source.dim() == 2 and source.shape[1] == 3 and source.shape[0] % joints == 0
        return in_a_row and tuple(mask.shape) == tuple(source.shape[:1])

    def crop(self, func: Any, args: Sequence[Any], kwargs: Any, out: Tensor) -> None:
        """Note poses that were taken out of what is none."""
        pose, source = self.poses.get(id(out)), args[0]
        if pose is not None and pose.leading is not None and source.dim() == out.dim() > 2:
            self.crops.append(Take(pose.bit, pose.leading, source, out, func, args, kwargs))

    def displace(self, args: Sequence[Any], out: Tensor) -> None:
        """Note displacements: what is compared with them is compared with the poses themselves."""
        for value in args:
            part = self.of(value) if isinstance(value, Tensor) else None
            if part is not None:
                if out.dim() == value.dim():
                    self._found[id(out)] = Part(out, self.whole(part.pose), ALL_AXES, None)
                    self.displacements.add(id(out))
                return

    def of_one(self, one: Any, other: Any) -> bool:
        """Whether two operands are different parts, of one shape, of one batch of poses."""
        if one is other or not isinstance(one, Tensor) or not isinstance(other, Tensor):
            return False
        part, other_part = self.of(one), self.of(other)
        if part is None or other_part is None or self.whole(part.pose).tensor is not self.whole(other_part.pose).tensor:
            return False
        return one.shape == other.shape

    def only_displacements(self, args: Sequence[Any]) -> bool:
        """Whether all poses among the operands are displacements, and there is one."""
        displacements = self.displacements
        if not displacements or displacements.isdisjoint(map(id, args[:2])):
            return False
        return all(
            id(value) in displacements or not isinstance(value, Tensor) or self.of(value) is None for value in args[:2]
        )

    def in_order(self, one: Pose, other: Pose) -> tuple[Pose, Pose]:
        """Two batches of poses before a step put the joints of both in the same other order, if it did."""
        take, other_take = (self._alike.get(pose.bit) for pose in (one, other))
        if take is None or other_take is None:
            return one, other
        order = order_taken(take, self.shapes.joints)
        if order is None or order != order_taken(other_take, self.shapes.joints):
            return one, other
        return self.poses[id(take.source)], self.poses[id(other_take.source)]

    def whole(self, pose: Pose) -> Pose:
        """The batch out of which poses were taken; such a batch is its own."""
        return self._whole.get(id(pose.tensor), pose)

    def _take(self, func: Any, args: Sequence[Any], kwargs: Any, taken: Pose, of: Part) -> None:
        """Note poses that were taken out of poses."""
        source = self.poses.get(id(of.tensor))
        if source is None and of.row is not None and taken.leading == (1,):  # a sample, as a batch of its own
            row = of.row % len(of.pose.tensor)
            source, func, args, kwargs = of.pose, Tensor.__getitem__, (of.pose.tensor, slice(row, row + 1)), {}
            of = Part(of.pose.tensor, of.pose, ALL_AXES, None)
        if source is None or source.leading is None or taken.leading is None or taken.bit == source.bit:
            return
        self._whole[id(taken.tensor)] = self.whole(source)
        take = Take(taken.bit, taken.leading, of.tensor, taken.tensor, func, args, kwargs)
        self.takes.append(take)
        if taken.leading == source.leading:
            self._alike[taken.bit] = take
