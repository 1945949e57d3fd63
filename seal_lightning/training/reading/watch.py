"""The watch of a step: what each tensor is made from, between the calls of networks."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling
from torch.overrides import TorchFunctionMode

from seal_lightning.loss.criterion import SealLoss
from seal_lightning.training.reading.bits import BATCH, BY_AXIS, FIRST_BIT, NETWORK, NOISE, OPAQUE, RANDOM
from seal_lightning.training.reading.containers import may_hold_arrays, named_tensors
from seal_lightning.training.reading.hooks import Gates
from seal_lightning.training.reading.meeting import Meetings, Part
from seal_lightning.training.reading.operations import (
    ALL_AXES,
    Kind,
    axes_kept,
    compared,
    keeps_order,
    kind_of,
    minus,
    name_of,
    picks_rows,
    row_of,
)
from seal_lightning.training.reading.shapes import PoseShapes
from seal_lightning.training.reading.takes import Take
from seal_lightning.training.reading.weights import Weighings

__all__ = ["BATCH", "BY_AXIS", "FIRST_BIT", "NETWORK", "NOISE", "OPAQUE", "RANDOM", "Pose", "Stated", "Watch"]

# Every operation of a step passes here, and a member of an enumeration is slow to reach by its name.
_OTHER, _MEETS, _ADDS, _SELECTS = Kind.OTHER, Kind.MEETS, Kind.ADDS, Kind.SELECTS
_EMPTY, _RANDOM, _HOOKS, _NEGATES = Kind.EMPTY, Kind.RANDOM, Kind.HOOKS, Kind.NEGATES
_SETS, _STATES, _WEIGHS, _DIFFERS = Kind.SETS, Kind.STATES, Kind.WEIGHS, Kind.DIFFERS
_GRADIENT, _LEAVES = Kind.GRADIENT, Kind.LEAVES
_WITHOUT_TENSORS = frozenset((int, float, bool, str, slice, type(None), torch.dtype))  # a quick look at arguments


@dataclass(eq=False)
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


class Stated(NamedTuple):
    """A call of the criterion by the host itself."""

    bit: int
    prediction: Tensor
    target: Tensor | None
    keypoints_2d: Tensor
    visibility: Tensor | None
    labelled: Tensor | None


class Watch(TorchFunctionMode):
    """Follows the tensors of one step, while it is the function mode in force.

    No value is read, so nothing waits for a device. Tensors are held weakly, but for batches of poses and keypoints,
    which are small.

    Args:
        shapes: What is a pose.
    """

    def __init__(self, shapes: PoseShapes) -> None:
        super().__init__()
        self.shapes = shapes
        self.active = False
        self.noises = 0  # bits of tensors of the shape of poses that are nothing but random numbers
        self.names: dict[int, str] = {}  # of the tensors of the batch, by their bits
        self.poses: dict[int, Pose] = {}
        self.meetings = Meetings(self)
        self.weighings = Weighings(self)
        self.takes: list[Take] = []
        self.stated: list[Stated] = []
        self.gates = Gates()
        # Whether something was made of a network's output without a graph: the inside of a custom function, perhaps.
        self.ungraded = False
        self._made: dict[int, tuple[Any, int]] = {}
        self._parts: dict[int, Part] = {}
        self._whole: dict[int, Tensor] = {}  # the batch of poses out of which others were taken
        self._displacements: set[int] = set()  # between joints or frames of one batch: no poses, though of their shape
        self._negated: dict[int, tuple[Tensor, Tensor]] = {}  # each with what it is the negative of
        self._batches: list[Any] = []
        self._left = False  # whether values of the batch became an array
        self._bit = FIRST_BIT

    def new_bit(self) -> int:
        """A bit that stands for nothing yet."""
        bit, self._bit = self._bit, self._bit << 1
        return bit

    def begin(self, batch: Any) -> None:
        """Take the tensors of the batch for what they are."""
        self._batches.append(batch)
        for name, tensor in named_tensors(batch, "batch"):
            bit = self.new_bit()
            self.names[bit] = name
            self.note(tensor, BATCH | bit, bit)

    @property
    def arrays(self) -> bool:
        """Whether values of the batch may have come by as arrays or numbers, which are not followed."""
        return self._left or any(may_hold_arrays(batch) for batch in self._batches)

    def made_of(self, tensor: Tensor) -> int:
        """Bits of all that a tensor is made from."""
        known = self._made.get(id(tensor))
        if known is not None and known[0]() is tensor:
            return known[1]
        if not tensor.requires_grad:
            return NETWORK if isinstance(tensor, nn.Parameter) else 0
        return NETWORK if tensor.is_leaf else NETWORK | OPAQUE

    def pose(self, tensor: Tensor) -> Pose:
        """What is known of a batch of poses."""
        if id(tensor) not in self.poses:
            self.note(tensor, self.made_of(tensor))
        return self.poses[id(tensor)]

    def part(self, tensor: Tensor) -> Part | None:
        """Which batch of poses a tensor was taken out of; such a batch is its own whole."""
        known = self._parts.get(id(tensor))
        if known is not None:
            return known
        pose = self.poses.get(id(tensor))
        leading = self.leading(tensor) if pose is None else pose.leading
        return None if leading is None else Part(tensor, tensor, ALL_AXES, None)

    def leading(self, tensor: Tensor, channels: int = 3) -> tuple[int, ...] | None:
        """Leading dimensions of a batch of poses or of keypoints; None where it is none, whatever its shape."""
        if self.made_of(tensor) & BY_AXIS and self.shapes.flat(tensor):
            return None
        return self.shapes.leading(tensor, channels)

    def note(self, tensor: Tensor, made_of: int, bit: int = 0, made: bool = False) -> None:
        """Note what a tensor is made from.

        Args:
            tensor: The tensor.
            made_of: The bits.
            bit: The bit of its values, if they have one.
            made: Whether an operation of the step made them.
        """
        fits = tensor.dim() > 1 and self.shapes.fits(tensor) and tensor.dtype != torch.bool
        if fits and not (made_of & BY_AXIS and self.shapes.flat(tensor)):
            bit = bit or self.new_bit()
            self.poses[id(tensor)] = Pose(tensor, bit, self.shapes.leading(tensor), made)
        self._made[id(tensor)] = (weakref.ref(tensor), made_of | bit)

    def add(self, tensor: Tensor, made_of: int) -> None:
        """Note that a tensor is made from this, too."""
        self._made[id(tensor)] = (weakref.ref(tensor), self.made_of(tensor) | made_of)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and note what comes out."""
        kind = _KINDS.get(func)
        if kind is None:
            kind = _KINDS[func] = kind_of(func)
        # A function of the step that is being compiled stays what it is, and what it returns is opaque.
        if not self.active or is_compiling():
            return func(*args, **(kwargs or {}))
        if kind is _HOOKS:
            return self.gates.register(func, args, kwargs or {})
        if kind is _STATES:
            return self._state(func, args, kwargs or {})
        out = func(*args, **kwargs) if kwargs else func(*args)
        if kind is _LEAVES:
            self._left = self._left or bool(self._all(args) & BATCH)
        elif isinstance(out, Tensor):
            self._follow(func, kind, args, kwargs, (out,))
        elif kind is _SETS:
            self._follow(func, kind, args, kwargs, args[:1])
        elif isinstance(out, tuple | list) and out and isinstance(out[0], Tensor):
            self._follow(func, kind, args, kwargs, out)
        return out

    def _follow(self, func: Any, kind: Kind, args: Sequence[Any], kwargs: Any, outs: Sequence[Any]) -> None:
        if kind is _EMPTY:
            return
        if kind is _RANDOM:
            made_of = RANDOM
        elif kind is _SELECTS and len(args) > 1 and _has_numbers(args[1]):
            made_of = self._all(args[:1])  # the type or shape of another tensor is not its values; an index counts
        elif kind is _GRADIENT and len(args) > 1 and not kwargs.get("create_graph"):
            made_of, kwargs = self._all(args[1:2]), None  # a direction among values of what it is taken by
        else:
            made_of = self._all(args)
        if kwargs:
            made_of |= self._all(kwargs.values())
        if not made_of:
            return
        difference, displaced = 0, False
        if kind is not _OTHER:
            made_of, difference, displaced = self._compares(func, kind, args, kwargs, made_of)
        met = made_of & self.meetings.bits
        if made_of & NETWORK and not torch.is_grad_enabled():
            self.ungraded, met = True, 0
        for number, out in enumerate(outs):
            if not isinstance(out, Tensor):
                continue
            # Detached: no loss that is made from it trains what met.
            bits = made_of & ~self.meetings.bits if met and not out.requires_grad else made_of
            known = self._made.get(id(out))
            if known is not None and known[0]() is out:
                if known[1] | bits != known[1]:
                    self.add(out, bits)
                continue
            if kind is _SELECTS:
                self._select(func, args, kwargs, number, out, bits)
            else:
                self.note(out, bits, made=True)
            if kind is _RANDOM and id(out) in self.poses:
                self.noises |= self.poses[id(out)].bit
            if (kind is _NEGATES or kind is _WEIGHS) and (source := self._negative_of(kind, args)) is not None:
                self._negated[id(out)] = out, source
            if difference:
                self.meetings.differences[id(out)] = (out, difference)
            if displaced or (self._displacements and kind is not _SELECTS and self._only_displacements(args)):
                self._displace(args, out)

    def _compares(self, func: Any, kind: Kind, args: Sequence[Any], kwargs: Any, made_of: int) -> tuple[int, int, bool]:
        """What an operation compares, moves or weighs.

        Returns:
            All that comes out is made from; the bit of the meeting whose difference comes out; and whether what comes
            out are displacements within one batch of poses.
        """
        difference = 0
        displaced = kind is _DIFFERS
        if kind is _MEETS or kind is _ADDS:
            one, other = compared(kind is _ADDS, args, kwargs, self._negated)
            if one is not None:
                difference = self.meetings.compare(name_of(func), one, other)
                made_of |= difference
                displaced = not difference and self._of_one(one, other)
            elif kind is _ADDS:
                made_of &= ~self.meetings.moved(args)
        elif (
            made_of & BATCH
            and made_of & NETWORK
            and (kind is _WEIGHS or kind is _SETS or (kind is _SELECTS and _by_tensor(args)))
        ):
            made_of |= self.weighings.weigh(name_of(func), args, kwargs)
        if made_of & RANDOM and (kind is _MEETS or kind is _ADDS):
            made_of |= self._noise(args)
        if kind is _WEIGHS or kind is _NEGATES:
            difference = self.meetings.scaled(args)
        return made_of, difference, displaced

    def _negative_of(self, kind: Kind, args: Sequence[Any]) -> Tensor | None:
        return args[0] if kind is _NEGATES else minus(args)

    def _all(self, values: Iterable[Any]) -> int:
        """Bits of all tensors among the arguments of an operation."""
        bits, made = 0, self._made
        for value in values:
            known = made.get(id(value))
            if known is not None and known[0]() is value:
                bits |= known[1]
            elif type(value) in _WITHOUT_TENSORS:
                continue
            elif isinstance(value, Tensor):
                bits |= self.made_of(value)
            elif isinstance(value, tuple | list):
                bits |= self._all(value)
        return bits

    def _noise(self, args: Sequence[Any]) -> int:
        """The bit of noise where one of two operands is nothing but random numbers of the shape of poses."""
        for value in args[:2]:
            if id(value) in self.poses and self.made_of(value) & (RANDOM | NETWORK | BATCH) == RANDOM:
                return NOISE
        return 0

    def _select(self, func: Any, args: Sequence[Any], kwargs: Any, number: int, out: Tensor, made_of: int) -> None:
        """Note a part, or another view or copy, of a tensor, and which poses it belongs to."""
        source = args[0]
        whole = self.poses.get(id(source))
        in_order = out.numel() == source.numel() and keeps_order(func, args)
        if self.shapes.by_axis(out):
            made_of &= ~BY_AXIS
        elif in_order and whole is None and self.shapes.by_axis(source):
            made_of |= BY_AXIS
        if whole is not None and in_order:
            self.note(out, made_of, whole.bit, whole.made)
        else:
            self.note(out, made_of, made=True)
        part, known = self.part(source), self.poses.get(id(out))
        if part is None:
            return
        displaced, leading = id(source) in self._displacements, None if known is None else known.leading
        if leading is not None and not displaced:
            self._take(func, args, kwargs, out, leading)
            return
        mask = part.mask
        if picks_rows(func, args, kwargs):
            mask = args[1] if len(args) > 1 else None
            joints = (*(self.shapes.leading(source) or ()), self.shapes.joints)
            picked = isinstance(mask, Tensor) and mask.dtype == torch.bool and tuple(mask.shape) == joints
            if not picked:
                return
        axes = axes_kept(func, args, kwargs, number, part.axes)
        row = row_of(func, args, kwargs, number) if source is part.pose else part.row
        self._parts[id(out)] = Part(out, part.pose, axes, row, mask)
        if displaced:
            self._displacements.add(id(out))

    def _take(self, func: Any, args: Sequence[Any], kwargs: Any, out: Tensor, leading: tuple[int, ...]) -> None:
        """Note poses that were taken out of poses."""
        source = args[0]
        own = self.shapes.leading(source)
        taken = self.poses.get(id(out))
        if own is None or taken is None or taken.bit == self.pose(source).bit:
            return
        self._whole[id(out)] = self._whole.get(id(source), source)
        self.takes.append(Take(taken.bit, leading, source, out, func, args, kwargs))

    def _of_one(self, one: Any, other: Any) -> bool:
        """Whether two operands are different parts, of one shape, of one batch of poses."""
        if not isinstance(one, Tensor) or not isinstance(other, Tensor) or one.shape != other.shape:
            return False
        parts = [self.part(tensor) for tensor in (one, other)]
        wholes = [None if part is None else self._whole.get(id(part.pose), part.pose) for part in parts]
        return wholes[0] is not None and wholes[0] is wholes[1] and one is not other

    def _only_displacements(self, args: Sequence[Any]) -> bool:
        """Whether all poses among the operands are displacements, and there is one."""
        posed = [value for value in args[:2] if isinstance(value, Tensor) and self.part(value) is not None]
        return bool(posed) and all(id(value) in self._displacements for value in posed)

    def _displace(self, args: Sequence[Any], out: Tensor) -> None:
        """Note displacements: what is compared with them is compared with the poses themselves."""
        source = next((value for value in args if isinstance(value, Tensor) and self.part(value) is not None), None)
        part = None if source is None else self.part(source)
        if part is None or source is None or out.dim() != source.dim():
            return
        self._parts[id(out)] = Part(out, self._whole.get(id(part.pose), part.pose), ALL_AXES, None)
        self._displacements.add(id(out))

    def _state(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
        """Run a method of the criterion that the host calls itself; what it says is what is read."""
        out: Tensor = func(*args, **kwargs)
        given = _CRITERION[func](*args[1:], **kwargs)
        bit = self.new_bit()
        self.stated.append(Stated(bit, **given))
        self.note(out, bit | self._all((*args, *kwargs.values())) | NETWORK)
        return out


def _by_tensor(args: Sequence[Any]) -> bool:
    """Whether a selection is by a tensor."""
    return len(args) > 1 and isinstance(args[1], Tensor)


def _has_numbers(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _of_forward(
    prediction: Tensor, target: Tensor, keypoints_2d: Tensor, visibility: Any = None, labelled: Any = None
) -> dict[str, Any]:
    return {**locals()}


def _of_energy_loss(
    prediction: Tensor,
    keypoints_2d: Tensor,
    task_gradient: Tensor,
    *,
    at: Any = None,
    visibility: Any = None,
    labelled: Any = None,
) -> dict[str, Any]:
    masks = {"visibility": visibility, "labelled": labelled}
    return {"prediction": prediction, "target": None, "keypoints_2d": keypoints_2d, **masks}


_CRITERION: dict[Any, Callable[..., dict[str, Any]]] = {
    SealLoss.forward: _of_forward,
    SealLoss.energy_loss: _of_energy_loss,
}
_KINDS = dict.fromkeys(_CRITERION, _STATES)
