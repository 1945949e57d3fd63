"""What the host weighs, picks or fills its errors or poses with, so that it can be told which of them count."""

from __future__ import annotations

import functools
import operator
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from seal_lightning.training.reading.bits import BATCH, MOVED, NETWORK, RANDOM
from seal_lightning.training.reading.counted import Weighing
from seal_lightning.training.reading.operands import CHOICES, operands, summed
from seal_lightning.training.reading.spread import spreads

__all__ = ["Weighings"]

_GROUPS = frozenset(("scatter_add", "index_add", "scatter_reduce", "bincount"))  # sums by groups leave nothing out


class Weighings:
    """The weighings of a step; no value of a weight is read on the host.

    Args:
        watch: The watch of the step.
    """

    def __init__(self, watch: Any) -> None:
        self._watch: Callable[[], Any] = weakref.ref(watch)  # no circle: what a step holds is freed when it ends
        self.found: list[Weighing] = []
        self.bits = 0

    def weigh(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], made_of: int) -> int:
        """Look at an operation that may weigh errors or poses.

        Args:
            name: Its name.
            args: Its positional arguments.
            kwargs: Its arguments by name.
            made_of: Bits of all that went in.

        Returns:
            Bits of what comes out.
        """
        found = None
        for one in operands(name, args, kwargs):
            if self._weighs(one[0], one[1]):
                if found is not None:
                    found = None  # of two errors the one here, and the other there
                    break
                found = one
                if name not in CHOICES:
                    break
        bit, weighed = 0, None
        if found is not None:
            bit, weighed = self._of_operands(*found), found[0]
        elif name == "__setitem__":
            bit, weighed = self._overwritten(args), args[0]
        plain: int = self._watch().meetings.plain
        if not made_of & plain or not (bit or made_of & self.bits):
            return made_of | bit
        return made_of & ~plain | bit | self._left_plain(name, args, weighed if bit else None)

    def _left_plain(self, name: str, args: Sequence[Any], weighed: Tensor | None) -> int:
        """Of the bits of plain errors, those that come out of an operation unweighed."""
        watch = self._watch()
        bits, plain = watch.meetings.bits, watch.meetings.plain
        added, products = summed(name, args)
        left: int = watch.all_of(added) & plain
        for factors in products:
            if weighed is not None and any(factor is weighed for factor in factors):
                continue
            made_of = [watch.made_of(factor) for factor in factors if isinstance(factor, Tensor)]
            errors = [one & plain for one in made_of if one & bits]
            left |= functools.reduce(operator.and_, errors) if errors else 0
        return left

    def _of_operands(
        self, weighed: Tensor, weight: Tensor, left_out: bool, aligned: Callable[[], Tensor | None] | None
    ) -> int:
        spread = weight if aligned is None else aligned()
        if spread is None:
            return self._add(weighed, weight, weight, told=False)
        chosen = not self._watch().made_of(weight) & BATCH and self._of_joints(weight, weighed)
        if weighed._base is not None and self._in_place(weighed) and spreads(spread, tuple(weighed.shape)):
            counted = ((spread != 0) != left_out).expand(weighed.shape)
            return self._of_places(weighed, _numbers(weighed, [weight]), counted, said=weight, chosen=chosen)
        return self._add(weighed, weight, spread, left_out=left_out, chosen=chosen)

    def merge(self, name: str, args: Sequence[Any]) -> int:
        """Look at an operation of errors and numbers of the batch of which it cannot be told what it leaves out."""
        values = [value for arg in args for value in (arg if isinstance(arg, (tuple, list)) else (arg,))]
        tensors = [value for value in values if isinstance(value, Tensor)]
        for errors in [one for one in tensors if self._errors(one)][: name not in _GROUPS]:
            for weight in tensors:
                if self._watch().made_of(weight) & BATCH and self._weighs(errors, weight):
                    return self._add(errors, weight, weight, told=False)
        return 0

    def take(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], number: int = 0) -> int:
        """Look at errors that are taken out of others, by their places or by a mask; return the weighing's bit.

        Args:
            func: The selecting function.
            args: Its positional arguments, the errors first.
            kwargs: Its arguments by name.
            number: Which of its outputs.
        """
        watch, errors = self._watch(), args[0]
        by = watch.all_of((*args[1:], *kwargs.values()))
        if by & NETWORK:
            return 0  # by the errors themselves, as where the largest are taken
        if not self._in_place(errors):
            return 0
        taken = func(_numbers(errors, args[1:]), *args[1:], **kwargs)
        return self._of_places(errors, taken if isinstance(taken, Tensor) else taken[number], chosen=not by & BATCH)

    def pick(self, bit: int, mask: Tensor) -> int:
        """Note a mask of joints by which what is compared was picked; return the weighing's bit.

        Args:
            bit: The bit of the meeting.
            mask: The mask.
        """
        return self._note(Weighing(0, bit, tuple(mask.shape), mask))

    def by_argument(self, weight: Tensor, shape: tuple[int, ...], made_of: int) -> int:
        """Note the weight that a loss function was given; return the bits of what comes out.

        Args:
            weight: The weight.
            shape: Of what is compared.
            made_of: Bits of the meeting.
        """
        if not self._watch().made_of(weight) & BATCH:
            return made_of
        plain: int = self._watch().meetings.plain
        return made_of & ~plain | self._note(Weighing(0, made_of, shape, weight))

    def _overwritten(self, args: Sequence[Any]) -> int:
        """Look at errors of which the step overwrites some with a number."""
        errors, index, value = args
        if isinstance(value, Tensor) or not self._errors(errors) or not self._in_place(errors):
            return 0
        return self._of_places(errors, _numbers(errors, [index])[index], chosen=True, left_out=True)

    def _in_place(self, errors: Tensor) -> bool:
        """Whether errors, or what they are a view of, have the axes of the poses that they are errors of."""
        whole = errors if errors._base is None else errors._base
        bits = self._watch().made_of(whole)
        return bool(bits & self._watch().meetings.bits) and not bits & MOVED

    def _of_places(
        self, errors: Tensor, places: Tensor, counted: Tensor | None = None, said: Tensor | None = None, **options: Any
    ) -> int:
        """Note that errors count at some places of what they are a view of; return the weighing's bit."""
        whole = errors if errors._base is None else errors._base
        mask = torch.zeros(whole.numel(), dtype=torch.bool, device=places.device)
        mask[places.reshape(-1)] = True if counted is None else counted.reshape(-1)
        mask = mask.as_strided(whole.shape, whole.stride())
        return self._add(errors, said, mask, shape=tuple(whole.shape), **options)

    def _add(self, weighed: Tensor, said: Tensor | None, weight: Tensor, **options: Any) -> int:
        """Note a weighing; return its bit.

        Args:
            weighed: What is weighed.
            said: The tensor of the step by which it is.
            weight: The same, as it spreads over what is weighed.
            **options: Of the weighing.
        """
        watch = self._watch()
        options = {"shape": tuple(weighed.shape), "of_pose": 0, **options}
        if said is not None and said.is_floating_point() and watch.shapes.leading(said) is not None:
            options["of_pose"] = watch.made_of(said)
        return self._note(Weighing(0, watch.made_of(weighed), weight=weight, **options))

    def _note(self, weighing: Weighing) -> int:
        bit: int = self._watch().new_bit()
        self.bits |= bit
        self.found.append(weighing._replace(bit=bit))
        return bit

    def _errors(self, tensor: Tensor) -> bool:
        watch = self._watch()
        return bool(watch.made_of(tensor) & watch.meetings.bits)

    def _of_joints(self, weight: Tensor, weighed: Tensor) -> bool:
        """Whether a weight has one number for each joint, the same for all samples."""
        joints = self._watch().shapes.joints
        return weight.numel() == joints in weight.shape and weighed.dim() > 1 and spreads(weight, tuple(weighed.shape))

    def _weighs(self, weighed: Any, weight: Any) -> bool:
        if not isinstance(weighed, Tensor) or not isinstance(weight, Tensor):
            return False
        watch = self._watch()
        of_weight, bits = watch.made_of(weight), watch.made_of(weighed)
        if of_weight & NETWORK:
            return False
        if not of_weight & BATCH:
            # Numbers that differ from sample to sample come from the batch as well, by way of lists or arrays.
            if of_weight & RANDOM or not bits & watch.meetings.bits or not weight.dim():
                return False
            if weight.dim() == weighed.dim() == 1 or self._of_joints(weight, weighed):
                return True
            return weight.dim() > 1 and weight.shape[:1] == weighed.shape[:1] != (1,) and bool(weight.stride(0))
        if weight.numel() < 2 and (weight._base is None or weight._base.numel() < 2):
            return False  # a number of the whole batch
        return bool(bits & watch.meetings.bits or (bits & NETWORK and watch.shapes.leading(weighed) is not None))


def _numbers(tensor: Tensor, by: Sequence[Any]) -> Tensor:
    """The places of the values of a tensor in what it is a view of; on its device where tensors choose some."""
    whole = tensor if tensor._base is None else tensor._base
    start = tensor.storage_offset() - whole.storage_offset()
    items = [item for value in by for item in (value if isinstance(value, (tuple, list)) else (value,))]
    device = whole.device if any(isinstance(item, Tensor) for item in items) else None
    return torch.arange(whole.numel(), device=device).as_strided(tensor.shape, tensor.stride(), start)
