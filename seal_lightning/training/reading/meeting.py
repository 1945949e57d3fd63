"""Where a prediction meets a truth: the operations of a step that compare what a network made with what none did."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from seal_lightning.training.reading.bits import BATCH, BY_AXIS, NETWORK, NOISE, RANDOM
from seal_lightning.training.reading.operations import ALL_AXES
from seal_lightning.training.reading.parts import Part, same_places

__all__ = ["Meeting", "Meetings", "version_of"]

_IN_PLACE = (
    "sub_",
    "subtract_",
    "__isub__",
    "add_",
    "__iadd__",
)  # one of the two becomes the difference


class Mixture(NamedTuple):
    """A pose that lies between a prediction and a truth, or the sum of both.

    Args:
        tensor: The pose.
        prediction: The prediction.
        bit: The bit of the truth's values.
        weighed: Whether both, or their sum, are weighed: a truth to which a network's output is added is no mixture.
    """

    tensor: Tensor
    prediction: Tensor
    bit: int
    weighed: bool


@dataclass(eq=False)
class Meeting:
    """A prediction and a truth that were compared.

    Args:
        prediction: The very tensor that the host compared.
        truth: Likewise.
        operation: Name of the operation that compared them first.
        bit: Its bit: what comes out of the comparison, and so the loss, is made from it.
        plain: The bit of its errors, all of them, before any of them is left out or weighed.
        made_of: Bits of all that the prediction is made from.
        truth_made_of: Bits of all that the truth is made from.
        bits: The bits of the values of prediction and truth.
        edge: Where the prediction stood in the graph at that time.
        axes: Which of the axes x, y and z were compared.
        rows: Which samples were compared one by one; None among them stands for all at once.
        versions: How often prediction and truth had been changed in place.
        parts: Parts of the prediction that were compared; None among them stands for all joints at once.
        compared: Samples, or samples and frames, that were compared, of leading dimensions; None for all of them.
        crossed: Whether joints were compared with other joints, or samples with other samples.
        passes: How many predictions of one network and input met the truth; this is the first of them.
    """

    prediction: Tensor
    truth: Tensor
    operation: str
    bit: int
    plain: int
    made_of: int
    truth_made_of: int
    bits: tuple[int, int]
    edge: GradientEdge | None
    axes: int = 0
    rows: set[int | None] = field(default_factory=set)
    versions: tuple[int, int] = (0, 0)
    parts: list[Part | None] = field(default_factory=list)
    compared: Tensor | None = None
    crossed: bool = False
    passes: int = 1

    @property
    def whole(self) -> bool:
        """Whether all axes were compared."""
        return self.axes == ALL_AXES

    @property
    def samples(self) -> Tensor | None:
        """Which samples, or samples and frames, were compared; None for all of them."""
        if self.compared is not None or None in self.rows or len(self.rows) == len(self.prediction):
            return self.compared
        samples = torch.zeros(len(self.prediction), dtype=torch.bool)
        samples[[row for row in self.rows if row is not None]] = True
        return samples.to(self.prediction.device)

    def joints(self, count: int) -> Tensor | None:
        """Which of so many joints were compared, (J,); None for all of them."""
        found: list[Tensor] = []
        for part in self.parts if None not in self.parts else ():
            mask = None if part is None else part.joints(count)
            if mask is None:
                return None
            found.append(mask)
        if not found:
            return None
        device = next((mask.device for mask in found if mask.device.type != "cpu"), found[0].device)
        return torch.stack([mask.to(device) for mask in found]).any(0)

    @property
    def overwritten(self) -> bool:
        """Whether prediction or truth was changed in place after they were compared."""
        return self.versions != (version_of(self.prediction), version_of(self.truth))


class Meetings:
    """The meetings of a step.

    Args:
        watch: The watch of the step.
    """

    def __init__(self, watch: Any) -> None:
        self._watch: Callable[[], Any] = weakref.ref(watch)  # no circle: what a step holds is freed when it ends
        self._found: dict[tuple[int, int], Meeting] = {}
        self.bits = 0  # of all meetings, those of plain errors among them
        self.plain = 0
        self.misfits: list[tuple[int, ...]] = []  # shapes of what was compared and is no pose
        self.differences: dict[int, tuple[Tensor, int]] = {}  # prediction less truth, or a multiple of it
        self._multiples: dict[int, tuple[Tensor, Tensor]] = {}  # each with the pose that was multiplied
        self._mixtures: dict[int, Mixture] = {}

    def __iter__(self) -> Any:
        return iter(self._found.values())

    def __len__(self) -> int:
        return len(self._found)

    def compare(self, operation: str, one: Any, other: Any) -> int:
        """Look at two operands that are compared; return the bit of their meeting, 0 where it is none."""
        if not isinstance(one, Tensor) or not isinstance(other, Tensor):
            return 0
        watch = self._watch()
        made_of, truth_made_of = watch.made_of(one), watch.made_of(other)
        both = made_of & truth_made_of & NETWORK
        if not made_of & NETWORK or (both and watch.layers.make(made_of, truth_made_of)):
            one, other, made_of, truth_made_of = other, one, truth_made_of, made_of
        if not made_of & NETWORK or (both and not watch.layers.make(truth_made_of, made_of)):
            return 0
        if torch.is_grad_enabled() and not (one.requires_grad and not one.is_leaf):
            return 0
        if truth_made_of & (RANDOM | BATCH) == RANDOM or (made_of ^ truth_made_of) & BY_AXIS:
            return 0
        part, true_part = watch.part(one), watch.part(other)
        if part is None or true_part is None:
            return self._misfit(one, other)
        # The noise that the network was given, with a pose or without, as a diffusion model predicts it; but not a pose
        # to which noise was added before it was seen.
        if watch.noises & made_of & truth_made_of and not (truth_made_of & NOISE and made_of & true_part.pose.bit):
            return 0
        if part.pose.leading != true_part.pose.leading:
            return 0
        displacements = watch.parts.displacements
        if (id(one) in displacements) != (id(other) in displacements):
            return 0  # bones or velocities that a network predicts are no poses
        if part.mask is not true_part.mask and not self._alike(part.mask, true_part.mask):
            return 0
        if operation == "cdist" and one.shape[-1] != 3:
            return 0  # each sample with each: these are no pairs
        bit = self._meet(operation, part, true_part)
        if part.mask is None:
            return bit
        masked: int = bit | watch.weighings.pick(bit, part.mask)
        return masked

    def moved(self, args: Any) -> int:
        """Of an addition: bits of meetings that were none, since the difference moves a pose towards the other."""
        for one, other in (args[:2], args[1::-1]) if self.differences and len(args) > 1 else ():
            known = self.differences.get(id(one))
            if known is None or not isinstance(other, Tensor) or self._watch().shapes.leading(other) is None:
                continue
            made_of = self._watch().made_of(other)
            met = [meeting for meeting in self if known[1] & meeting.bit and not made_of & meeting.bit]
            return sum(m.bit | m.plain for m in met if made_of & (m.bits[0] | m.bits[1]))
        return 0

    def mix(self, args: Any, out: Tensor, weighed: bool) -> None:
        """Note a sum of two poses, which is compared with the one of them in place of the other."""
        watch = self._watch()
        for one, other in args[:2], args[1::-1]:
            prediction, truth = (self._multiples.get(id(pose), (pose, pose))[1] for pose in (one, other))
            if watch.made_of(prediction) & NETWORK and prediction.requires_grad and not watch.made_of(truth) & NETWORK:
                both = prediction is not one and truth is not other
                self._mixtures[id(out)] = Mixture(out, prediction, watch.pose(truth).bit, weighed or both)

    def multiply(self, args: Any, out: Tensor) -> None:
        """Note a pose that is multiplied by what is neither a pose nor a mask of the batch."""
        watch = self._watch()
        for one, other in (args[:2], args[1::-1]) if len(args) > 1 else ():
            if id(one) not in watch.poses:
                continue
            factor = not isinstance(other, Tensor) or not (
                other.shape == one.shape or watch.made_of(other) & (BATCH | NETWORK)
            )
            if factor:
                self._multiples[id(out)] = out, self._multiples.get(id(one), (one, one))[1]
                if (mixture := self._mixtures.get(id(one))) is not None:
                    self._mixtures[id(out)] = mixture._replace(tensor=out, weighed=True)

    def scaled(self, args: Any) -> int:
        """Bits of the meeting whose difference is multiplied here."""
        for value in args[:2] if self.differences else ():
            if id(value) in self.differences:
                return self.differences[id(value)][1]
        return 0

    def _alike(self, mask: Tensor | None, other: Tensor | None) -> bool:
        """Whether two parts were picked by the same mask, or neither by one."""
        if mask is None or other is None:
            return False
        made_of = self._watch().made_of
        return mask.shape == other.shape and made_of(mask) == made_of(other)

    def _meet(self, operation: str, part: Part, true_part: Part) -> int:
        watch, pose, true_pose = self._watch(), part.pose, true_part.pose
        mixture = self._mixtures.get(id(pose.tensor))
        if mixture is not None and mixture.weighed and mixture.bit == true_pose.bit:
            pose = watch.pose(mixture.prediction)
        if operation not in _IN_PLACE:
            pose, true_pose = watch.parts.in_order(pose, true_pose)
        bits = pose.bit, true_pose.bit
        meeting = self._found.get(bits)
        if meeting is None:
            prediction, truth = pose.tensor, true_pose.tensor
            meeting = self._found[bits] = Meeting(
                prediction,
                truth,
                operation,
                watch.new_bit(),
                watch.new_bit(),
                watch.made_of(prediction),
                watch.made_of(truth),
                bits,
                get_gradient_edge(prediction) if prediction.requires_grad else None,
                versions=(version_of(prediction) - (operation in _IN_PLACE), version_of(truth)),
            )
            self.bits |= meeting.bit | meeting.plain
            self.plain |= meeting.plain
        if not same_places(part, true_part):
            meeting.crossed = True
        elif part.axes == true_part.axes and part.row == true_part.row:
            meeting.axes |= part.axes
            meeting.rows.add(part.row)
            meeting.parts.append(None if part.taken is None else part)
        whole = part.taken is None and true_part.taken is None and part.mask is None
        return meeting.bit | meeting.plain if whole else meeting.bit

    def _misfit(self, one: Tensor, other: Tensor) -> int:
        """Note two equal shapes that are no poses of this skeleton, but perhaps of another."""
        shape = tuple(one.shape)
        points = len(shape) == 2 and shape[1] == 3  # a joint of all samples, or some joints of them in one row
        if shape == tuple(other.shape) and len(shape) > 1 and not points and self._watch().part(one) is None:
            self.misfits.append(shape)
        return 0


def version_of(tensor: Tensor) -> int:
    """How often a tensor was changed in place; tensors made under `torch.inference_mode` do not count that."""
    return 0 if tensor.is_inference() else tensor._version
