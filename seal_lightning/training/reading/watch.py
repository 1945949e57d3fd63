"""The watch of a step: what each tensor is made from, between the calls of networks."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling
from torch.overrides import TorchFunctionMode

from seal_lightning.training.reading.bits import BATCH, BY_AXIS, FIRST_BIT, MOVED, NETWORK, NOISE, OPAQUE, RANDOM
from seal_lightning.training.reading.containers import may_hold_arrays, named_tensors
from seal_lightning.training.reading.hooks import Gates
from seal_lightning.training.reading.layers import Layers
from seal_lightning.training.reading.meeting import Meetings
from seal_lightning.training.reading.operations import (
    Kind,
    by_place,
    compared,
    kind_of,
    minus,
    name_of,
    selection,
    with_lost_weight,
)
from seal_lightning.training.reading.parts import Part, Parts, Pose
from seal_lightning.training.reading.shapes import PoseShapes, fitting
from seal_lightning.training.reading.stated import CRITERION, Stated, stated
from seal_lightning.training.reading.weights import Weighings

__all__ = ["BATCH", "BY_AXIS", "FIRST_BIT", "NETWORK", "NOISE", "OPAQUE", "RANDOM", "Pose", "Watch"]

# Every operation of a step passes here, and a member of an enumeration is slow to reach by its name.
_OTHER, _MEETS, _ADDS, _SELECTS = Kind.OTHER, Kind.MEETS, Kind.ADDS, Kind.SELECTS
_EMPTY, _RANDOM, _HOOKS, _NEGATES = Kind.EMPTY, Kind.RANDOM, Kind.HOOKS, Kind.NEGATES
_SETS, _SPEAKS, _WEIGHS, _DIFFERS = Kind.SETS, Kind.SPEAKS, Kind.WEIGHS, Kind.DIFFERS
_GRADIENT, _LEAVES, _CONTRACTS, _MIXES = Kind.GRADIENT, Kind.LEAVES, Kind.CONTRACTS, Kind.MIXES
_PICKS, _KEEPS, _LOSES = Kind.PICKS, Kind.KEEPS, Kind.LOSES
_SUMMING = (_ADDS, _MEETS, _MIXES)
_LOOKED_AT_AS_NUMBERS = (_MEETS, _SELECTS, _CONTRACTS)  # though a single number comes out
_MAY_WEIGH_NUMBERS = (_WEIGHS, _OTHER)
_IN_PLACE = (_KEEPS, _ADDS, _MEETS, _WEIGHS, _NEGATES, _MIXES, _SETS)  # leave errors where they stood
_WEIGHING, _SCALING = (_WEIGHS, _SETS, _CONTRACTS, _MIXES), (_WEIGHS, _NEGATES, _CONTRACTS)
_NO_COORDINATES = frozenset((torch.bool, torch.complex64, torch.complex128))
_WITHOUT_TENSORS = frozenset((int, float, bool, str, slice, type(None), torch.dtype))  # a quick look at arguments


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
        self.sums = 0  # bits of sums and differences of poses of the batch
        self.names: dict[int, str] = {}  # of the tensors of the batch, by their bits
        self.parts = Parts(shapes)
        self.poses = self.parts.poses
        self.meetings = Meetings(self)
        self.weighings = Weighings(self)
        self.layers = Layers()
        self.takes = self.parts.takes
        self.stated: list[Stated] = []
        self.gates = Gates()
        # A loss of a manual host, with what joins it. Held weakly, as the watch is held by what it leads to.
        self.joined: weakref.WeakMethod[Callable[[Tensor], Tensor]] | None = None
        # Whether something was made of a network's output without a graph: the inside of a custom function, perhaps.
        self.ungraded = False
        self._made: dict[int, tuple[Any, int]] = {}
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
        if not tensor.requires_grad:  # it takes long to ask whether a tensor is a parameter
            return NETWORK if type(tensor) is not Tensor and isinstance(tensor, nn.Parameter) else 0
        return NETWORK if tensor.is_leaf else NETWORK | OPAQUE

    def pose(self, tensor: Tensor) -> Pose:
        """What is known of a batch of poses."""
        if id(tensor) not in self.poses:
            self.note(tensor, self.made_of(tensor))
        return self.poses[id(tensor)]

    def part(self, tensor: Tensor) -> Part | None:
        """Which batch of poses a tensor was taken out of; such a batch is its own whole."""
        part = self.parts.of(tensor)
        if part is None and id(tensor) not in self.poses and self.leading(tensor) is not None:
            self.note(tensor, self.made_of(tensor))
            return self.parts.of(tensor)
        return part

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
        fits = fitting(tensor.shape, self.shapes.joints)
        if (
            fits is not None
            and tensor.dtype not in _NO_COORDINATES
            and not (made_of & BY_AXIS and self.shapes.flat(tensor))
        ):
            bit = bit or self.new_bit()
            self.parts.add(Pose(tensor, bit, fits.leading, made))
        self._made[id(tensor)] = (weakref.ref(tensor), made_of | bit)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and note what comes out."""
        # A function of the step that is being compiled stays what it is, and what it returns is opaque.
        if is_compiling() or not self.active:
            return func(*args, **(kwargs or {}))
        kind = _KINDS.get(func)
        if kind is None:
            kind = _KINDS[func] = kind_of(func)
        if kind is _HOOKS:
            return self.gates.register(func, args, kwargs or {})
        if kind is _SPEAKS:
            return self._hear(func, args, kwargs or {})
        if kind is _LOSES:
            kind, kwargs = _MEETS, with_lost_weight(kwargs or {})
        out = func(*args, **kwargs) if kwargs else func(*args)
        if kind is _EMPTY:
            return out
        if kwargs and len(args) < 3:
            args, kwargs = by_place(args, kwargs)
        made_of = RANDOM if kind is _RANDOM else self.all_of(args)
        if kwargs and kind is not _RANDOM:
            made_of |= self.all_of(kwargs.values())
        if made_of:
            if isinstance(out, Tensor):
                if out.dim() or kind in _LOOKED_AT_AS_NUMBERS:
                    self._follow(func, kind, args, kwargs, out, 0, made_of)
                else:  # a number, as most of what is added up to a loss
                    if made_of & self.meetings.bits and kind in _MAY_WEIGH_NUMBERS and _several(args):
                        made_of = self._weighed(func, kind, args, kwargs, made_of)
                    self._keep(out, self._trained(out, made_of))
            elif kind is _SETS:
                self._follow(func, kind, args, kwargs, args[0], 0, made_of)
            elif kind is _LEAVES:
                self._left = self._left or bool(made_of & BATCH)
            elif isinstance(out, (tuple, list)):
                for number, one in enumerate(out):
                    if isinstance(one, Tensor):
                        self._follow(func, kind, args, kwargs, one, number, made_of)
        return out

    def _follow(
        self, func: Any, kind: Kind, args: Sequence[Any], kwargs: Any, out: Tensor, number: int, made_of: int
    ) -> None:
        """Note what comes out of an operation.

        Args:
            func: The operation.
            kind: Its kind.
            args: Its positional arguments.
            kwargs: Its arguments by name.
            out: What comes out.
            number: Which of its outputs that is.
            made_of: Bits of all that went in.
        """
        difference, displaced = 0, False
        if kind is _SELECTS:
            if len(args) > 1 and isinstance(args[1], Tensor):
                made_of = self._by_tensor(func, args, kwargs, number, made_of)
            elif made_of & self.meetings.bits and out.numel() < args[0].numel():
                made_of = self._taken(func, args, kwargs, number, made_of)
        elif kind is not _KEEPS:
            made_of, difference, displaced = self._look(func, kind, args, kwargs, made_of)
        made_of = self._trained(out, made_of)
        known = self._made.get(id(out))
        if (known is not None and known[0]() is out) or not out.dim():
            self._keep(out, made_of)
            if kind is not _SELECTS and out.dim():
                self._change(out)
        elif kind is _SELECTS:
            self._select(func, args, kwargs, number, out, made_of)
        else:
            self.note(out, made_of, made=True)
            if difference:
                self.meetings.differences[id(out)] = out, difference
            if displaced or self.parts.only_displacements(args):
                self.parts.displace(args, out)
            elif kind is _PICKS:
                self.parts.pick(func, args, kwargs, out)
            elif kind is not _OTHER and kind is not _KEEPS:
                self._remember(kind, args, kwargs, out, made_of)

    def _keep(self, out: Tensor, made_of: int) -> None:
        """Note what a number is made from, or what else a tensor is, that was changed in place."""
        known = self._made.get(id(out))
        if known is not None and known[0]() is out:
            made_of |= known[1] & ~self.meetings.plain  # errors that were weighed in place are plain no more
        self._made[id(out)] = weakref.ref(out), made_of

    def _change(self, out: Tensor) -> None:
        """Note new values of poses that were changed in place, or of those that hold what was."""
        base = out if id(out) in self.poses else out._base
        if base is not None and id(base) in self.poses:
            self.note(base, self.made_of(base) | self.made_of(out), made=True)

    def _trained(self, out: Tensor, made_of: int) -> int:
        """Of the bits of what comes out, those that remain where it is detached: no loss of it trains what met."""
        if out.requires_grad or not made_of & NETWORK:
            return made_of
        if torch.is_grad_enabled():
            return made_of & ~self.meetings.bits
        self.ungraded = True
        return made_of

    def _look(self, func: Any, kind: Kind, args: Sequence[Any], kwargs: Any, made_of: int) -> tuple[int, int, bool]:
        """What an operation compares, moves or weighs.

        Returns:
            All that comes out is made from; the bit of the meeting whose difference comes out; and whether what comes
            out are displacements within one batch of poses.
        """
        if kind is _MEETS or kind is _ADDS:
            difference, displaced = 0, False
            one, other = compared(kind is _ADDS, args, kwargs, self._negated)
            if one is not None:
                difference = self.meetings.compare(name_of(func), one, other) if made_of & NETWORK else 0
                if difference and kwargs and isinstance(weight := kwargs.get("weight"), Tensor):
                    difference = self.weighings.by_argument(weight, tuple(one.shape), difference)
                displaced = not difference and self.parts.of_one(one, other)
            elif self.meetings.differences and kind is _ADDS:
                made_of &= ~self.meetings.moved(args)
            if made_of & RANDOM:
                made_of |= self._noise(args)
            return made_of | difference, difference, displaced
        if kind is _GRADIENT and len(args) > 1 and not kwargs.get("create_graph"):
            return self.all_of(args[1:2]), 0, False  # a direction among the values of what it is taken by
        if kind is _MIXES and made_of & RANDOM:
            made_of |= self._noise(args)
        if kind in _WEIGHING and made_of & BATCH and made_of & NETWORK:
            made_of = self._weighed(func, kind, args, kwargs, made_of)
        elif made_of & self.meetings.bits and (kind is _OTHER or kind is _PICKS):
            made_of = self._weighed(func, kind, args, kwargs, made_of) | MOVED
        difference = self.meetings.scaled(args) if kind in _SCALING else 0
        return made_of, difference, kind is _DIFFERS

    def _weighed(self, func: Any, kind: Kind, args: Sequence[Any], kwargs: Any, made_of: int) -> int:
        """Bits of what comes out, with that of the weighing of errors or poses, if it is one."""
        if kind is _PICKS:
            return self._taken(func, args, kwargs, 0, made_of)
        if kind is _OTHER:
            return made_of | self.weighings.merge(name_of(func), (*args, *kwargs.values()) if kwargs else args)
        return self.weighings.weigh(name_of(func), args, kwargs or {}, made_of)

    def _taken(self, func: Any, args: Sequence[Any], kwargs: Any, number: int, made_of: int) -> int:
        """Bits of errors that are taken out of others."""
        bit = self.weighings.take(func, args, kwargs or {}, number)
        return made_of & ~self.meetings.plain | bit | MOVED if bit else made_of | MOVED

    def _remember(self, kind: Kind, args: Sequence[Any], kwargs: Any, out: Tensor, made_of: int) -> None:
        """Note what else is asked of a tensor later on: whether it is noise, a sum or a multiple of poses."""
        pose = self.poses.get(id(out))
        if kind is _NEGATES or kind is _WEIGHS:
            source = args[0] if kind is _NEGATES else minus(args)
            if source is not None:
                self._negated[id(out)] = out, source
            elif pose is not None:
                self.meetings.multiply(args, out)
        elif pose is None:
            return
        elif kind is _RANDOM:
            self.noises |= pose.bit
        elif kind in _SUMMING and sum(id(value) in self.poses for value in args[:2]) == 2:
            if not made_of & NETWORK:
                self.sums |= pose.bit
            elif kind is not _MEETS and (kind is not _MIXES or not self.all_of(args[2:]) & BATCH):  # here or there
                self.meetings.mix(args, out, kind is _MIXES or "alpha" in (kwargs or ()))

    def _by_tensor(self, func: Any, args: Sequence[Any], kwargs: Any, number: int, made_of: int) -> int:
        """Bits of a selection by a tensor: of one of numbers, the type or shape is taken and not the values."""
        index = args[1]
        if index.is_floating_point():
            return self.all_of(args[:1]) | (self.all_of(kwargs.values()) if kwargs else 0)
        if index.dtype in (torch.bool, torch.uint8) and made_of & NETWORK:
            return self.weighings.weigh(name_of(func), args, kwargs or {}, made_of)
        return self._taken(func, args, kwargs, number, made_of) if made_of & self.meetings.bits else made_of

    def all_of(self, values: Iterable[Any]) -> int:
        """Bits of all tensors among the arguments of an operation."""
        bits, made = 0, self._made
        for value in values:
            known = made.get(id(value))
            if known is not None and known[0]() is value:
                bits |= known[1]
            elif isinstance(value, Tensor):
                bits |= self.made_of(value)
            elif isinstance(value, (tuple, list)) and not _WITHOUT_TENSORS.issuperset(map(type, value)):
                bits |= self.all_of(value)
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
        part, whole = self.part(source), self.poses.get(id(source))
        how = selection(func, args, kwargs, number, 0 if part is None else part.axes)
        if not how.in_order and made_of & self.meetings.bits:
            made_of |= MOVED
        if made_of & BY_AXIS or (whole is None and how.in_order):
            made_of = self._order(source, out, made_of, how.in_order)
        if whole is None or not how.in_order or out.numel() != source.numel():
            self.note(out, made_of, made=True)
        else:
            self.note(out, made_of, whole.bit, whole.made)
        if part is not None:
            self.parts.select(func, args, kwargs, out, part, how)
        elif out.numel() != source.numel():
            self.parts.crop(func, args, kwargs, out)

    def _order(self, source: Tensor, out: Tensor, made_of: int, in_order: bool) -> int:
        """The bits of a selection, with the one for coordinates that stand in another order than in poses."""
        if self.shapes.by_axis(out):
            return made_of & ~BY_AXIS
        flattened = in_order and out.numel() == source.numel() and self.shapes.by_axis(source)
        flattened = flattened and out.shape[-1] > self.shapes.joints and out.shape[-1] % self.shapes.joints == 0
        return made_of | BY_AXIS if flattened else made_of

    def _hear(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Run a backward pass of the host's own, or a method of the criterion, which says what is read."""
        if func is _BACKWARD:
            loss, *more = args
            whole = not more and kwargs.get("gradient") is None and kwargs.get("inputs") is None
            joined = None if self.joined is None else self.joined()
            if joined is not None and whole and loss.numel() == 1:
                loss = joined(loss)
            return func(loss, *more, **kwargs)
        out: Tensor = func(*args, **kwargs)
        bit = self.new_bit()
        self.stated.append(stated(func, args, kwargs, bit))
        self.note(out, bit | self.all_of((*args, *kwargs.values())) | NETWORK)
        return out


def _several(args: Sequence[Any]) -> bool:
    """Whether an operation may have several tensors among its operands."""
    return type(args[1]) not in _WITHOUT_TENSORS if len(args) > 1 else type(args[0]) is not Tensor


_BACKWARD: Any = Tensor.backward
_KINDS = dict.fromkeys([*CRITERION, _BACKWARD], _SPEAKS)
_KINDS[torch.nn.functional.l1_loss] = _LOSES
