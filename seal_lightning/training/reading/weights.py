"""Which joints and samples a loss counts: what the host weighs, picks or fills its errors or poses with."""

from __future__ import annotations

import functools
import operator
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from seal_lightning.training.reading.bits import BATCH, NETWORK
from seal_lightning.training.reading.mask_pieces import PieceOfMask, piece_of_mask, together

if TYPE_CHECKING:
    from seal_lightning.training.reading.meeting import Meeting

__all__ = ["Counted", "Weighings"]

_PRODUCTS = frozenset(["mul", "mul_", "__mul__", "__rmul__", "__imul__", "multiply", "multiply_"])
_CONTRACTIONS = frozenset(["dot", "vdot", "inner", "matmul", "__matmul__", "mv"])
_FILLS = frozenset(["masked_fill", "masked_fill_", "__setitem__"])


class Weighing(NamedTuple):
    """Errors, or poses, to which a part of the batch said which of them count.

    Args:
        bit: Its bit: what comes out is made from it.
        made_of: Bits of what was weighed.
        shape: Its shape.
        weight: Bool, or numbers of which zero stands for what does not count; of a shape that spreads over ``shape``.
        left_out: Whether the weight names what does not count.
    """

    bit: int
    made_of: int
    shape: tuple[int, ...]
    weight: Tensor
    left_out: bool


class Counted(NamedTuple):
    """What counts: joints ``(..., J)``, or samples ``(B,)``; None for all.

    Args:
        visibility: Of the joints.
        labelled: Of the samples.
        unread: Weighings of which it cannot be told what they count.
    """

    visibility: Tensor | None = None
    labelled: Tensor | None = None
    unread: tuple[Weighing, ...] = ()


class Weighings:
    """The weighings of a step; no value of a weight is read on the host.

    Args:
        watch: The watch of the step.
    """

    def __init__(self, watch: Any) -> None:
        self._watch: Callable[[], Any] = weakref.ref(watch)  # no circle: what a step holds is freed when it ends
        self._found: list[Weighing] = []

    def weigh(self, name: str, args: Sequence[Any]) -> int:
        """Look at an operation; return the bit of its weighing, 0 where it is none."""
        for weighed, weight, left_out in _operands(name, args):
            if self._weighs(weighed, weight):
                bits = self._watch().made_of(weighed)
                return self.add(bits, tuple(weighed.shape), _aligned(name, weight, weighed), left_out)
        return 0

    def pick(self, errors: Tensor, index: Any) -> int:
        """Look at an index into errors, of the places that `nonzero` or `where` found; return the weighing's bit."""
        items, watch = index if type(index) is tuple else (index,), self._watch()
        bits = watch.made_of(errors)
        for item in items if bits & watch.meetings.bits else (None,):
            places = isinstance(item, Tensor) and item.dtype == torch.int64 and item.dim() == 1
            if not places or not watch.made_of(item) & BATCH or watch.made_of(item) & NETWORK:
                return 0
        mask = torch.zeros(errors.shape[: len(items)], dtype=torch.bool, device=errors.device)
        mask[items] = True
        return self.add(bits, tuple(errors.shape), mask.reshape(*mask.shape, *[1] * (errors.dim() - mask.dim())))

    def add(self, made_of: int, shape: tuple[int, ...], weight: Tensor, left_out: bool = False) -> int:
        """Note a weighing; return its bit."""
        bit: int = self._watch().new_bit()
        self._found.append(Weighing(bit, made_of, shape, weight, left_out))
        return bit

    def counted(self, meeting: Meeting, loss: int, leading: tuple[int, ...]) -> Counted:
        """What counts in the comparison of a pair.

        One weighing after another leaves what both count; of several terms of the loss, what one of them counts.

        Args:
            meeting: The pair.
            loss: Bits of all that the loss is made from.
            leading: Leading dimensions of the prediction.
        """
        joints = self._watch().shapes.joints
        of_pair = [
            one
            for one in self._found
            if loss & one.bit and (one.made_of & meeting.bit or meeting.made_of & one.bit)
            if not self._is_truth(one.weight, meeting)
        ]
        mine = self._of_pieces(of_pair, leading, joints)
        apart = sum(one.bit for one, _ in mine)
        unread = []
        for one in of_pair:
            if one.bit & apart:
                continue
            if (mask := _mask(one, leading, joints)) is not None:
                mine.append((one, mask))
            elif one.made_of & meeting.bit and _spreads(one.weight, one.shape):
                unread.append(one)
        total = None
        for last, mask in mine:
            if any(other.made_of & last.bit for other, _ in mine):
                continue
            for earlier, before in mine:
                mask = mask & before if last.made_of & earlier.bit else mask
            total = mask if total is None else total | mask
        if total is None:
            return Counted(unread=tuple(unread))
        if total.numel() == total.shape[0]:
            return Counted(labelled=total.reshape(-1).expand(leading[0]), unread=tuple(unread))
        return Counted(visibility=total.expand(*leading, joints), unread=tuple(unread))

    def _of_pieces(
        self, weighings: Sequence[Weighing], leading: tuple[int, ...], joints: int
    ) -> list[tuple[Weighing, Tensor]]:
        """Weighings by pieces of one mask, as one weighing by all of it."""
        apart: dict[tuple[Any, ...], list[tuple[Weighing, PieceOfMask]]] = {}
        for one in weighings:
            piece = piece_of_mask(one.weight, leading, joints)
            if piece is not None:
                key = id(one.weight._base), piece.whole.storage_offset(), one.left_out
                apart.setdefault(key, []).append((one, piece))
        found = []
        for members in apart.values():
            first, bits = members[0][0], sum(one.bit for one, _ in members)
            mask = together([piece for _, piece in members], first.left_out)
            if mask is not None:
                made_of = functools.reduce(operator.or_, (one.made_of for one, _ in members))
                found.append((first._replace(bit=bits, made_of=made_of & ~bits), mask))
        return found

    def _weighs(self, weighed: Any, weight: Any) -> bool:
        if not isinstance(weighed, Tensor) or not isinstance(weight, Tensor):
            return False
        watch = self._watch()
        of_weight = watch.made_of(weight)
        if not of_weight & BATCH or of_weight & NETWORK:
            return False
        if weight.numel() < 2 and (weight._base is None or weight._base.numel() < 2):
            return False  # a number of the whole batch
        bits = watch.made_of(weighed)
        return bool(bits & watch.meetings.bits or (bits & NETWORK and watch.shapes.leading(weighed) is not None))

    def _is_truth(self, weight: Tensor, meeting: Meeting) -> bool:
        """Whether a weight is the truth itself, by which a prediction is scaled, say."""
        made_of, pose = self._watch().made_of(weight), self._watch().shapes.leading(weight) is not None
        return pose and weight.is_floating_point() and bool(made_of & meeting.bits[1])


def _operands(name: str, args: Sequence[Any]) -> Iterator[tuple[Any, Any, bool]]:
    """What may be weighed, by what, and whether that names what is left out."""
    if name in _PRODUCTS:
        yield args[0], args[1], False
        yield args[1], args[0], False
    elif name == "where" and len(args) == 3:
        # `torch.where(condition, one, other)`, or `one.where(condition, other)`.
        condition, one = args[:2] if getattr(args[0], "dtype", None) == torch.bool else args[1::-1]
        yield one, condition, False
        yield args[2], condition, True
    elif name in _FILLS and isinstance(args[1], Tensor) and args[1].dtype == torch.bool:
        yield args[0], args[1], True
    elif _picks(name, args) or _sums(name, args):
        yield args[0], args[1], False
    elif name == "einsum":
        tensors = [item for item in args[1:] if isinstance(item, Tensor)] or list(args[-1])
        if len(tensors) == 2:
            yield tensors[0], tensors[1], False
            yield tensors[1], tensors[0], False


def _picks(name: str, args: Sequence[Any]) -> bool:
    """Whether a mask picks what counts."""
    picking = name in ("masked_select", "__getitem__")
    return picking and isinstance(args[1], Tensor) and args[1].dtype == torch.bool


def _sums(name: str, args: Sequence[Any]) -> bool:
    """Whether numbers weigh the last axis of what is summed, or all of it."""
    if len(args) < 2 or not isinstance(args[0], Tensor) or not isinstance(args[1], Tensor):
        return False
    return args[1].dim() == 1 if name in _CONTRACTIONS else name == "tensordot" and args[0].shape == args[1].shape


def _aligned(name: str, weight: Tensor, weighed: Tensor) -> Tensor:
    """A weight whose axes stand where those are that it weighs: an index, and as a rule a sum, begins at the first."""
    if name in ("__getitem__", "__setitem__", "einsum") and weight.dim() < weighed.dim():
        return weight.reshape(*weight.shape, *[1] * (weighed.dim() - weight.dim()))
    return weight


def _spreads(weight: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether each number of a weight counts for some of what it weighs, and none of that twice, as in a product."""
    sizes = zip(reversed(weight.shape), reversed(shape), strict=False)
    return weight.dim() <= len(shape) and all(size in (1, whole) for size, whole in sizes)


def _mask(one: Weighing, leading: tuple[int, ...], joints: int) -> Tensor | None:
    """What a weighing counts, (B, 1), (B, J), (B, 1, 1), (B, T, 1) or (B, T, J); None where that cannot be told."""
    shape, weight = one.shape, one.weight
    if not shape or not _spreads(weight, shape):
        return None
    counted = weight if weight.dtype == torch.bool else weight != 0
    counted = ~counted if one.left_out else counted
    counted = counted.reshape(*[1] * (len(shape) - counted.dim()), *counted.shape)
    frames = leading[0] * leading[-1] if len(leading) == 2 else leading[0]
    if len(leading) == 2 and shape[:1] == (frames,) and shape[:2] != leading:  # clips in one row
        if counted.shape[0] != frames:
            return None
        counted, shape = counted.reshape(*leading, *counted.shape[1:]), (*leading, *shape[1:])
    elif shape[:1] == (frames * joints,) and frames * joints != leading[0]:  # joints in one row
        if counted.shape[0] != frames * joints:
            return None
        counted, shape = counted.reshape(*leading, joints, *counted.shape[1:]), (*leading, joints, *shape[1:])
    if shape[0] != leading[0]:
        return None
    if counted.shape[1:].numel() == 1:
        return counted.reshape(-1, *[1] * len(leading))
    if shape[: len(leading)] != leading:
        return None
    axes = shape[len(leading) :]
    if axes[:1] == (3 * joints,):
        counted = counted.expand(*counted.shape[: len(leading)], *axes).reshape(
            *counted.shape[: len(leading)], joints, 3
        )
    elif axes[:1] not in ((), (1,), (joints,)):
        return None
    counted = counted.reshape(*counted.shape[: len(leading) + 1], -1) if axes else counted[..., None, None]
    return counted.any(-1)
