"""Which joints and samples a loss counts, by all that its errors were weighed with."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from seal_lightning.training.reading.mask_pieces import PieceOfMask, piece_of_mask, together
from seal_lightning.training.reading.spread import mask_of, spreads

if TYPE_CHECKING:
    from seal_lightning.training.reading.meeting import Meeting

__all__ = ["Counted", "Weighing", "counted"]


class Weighing(NamedTuple):
    """Errors, or poses, to which a part of the batch said which of them count.

    Args:
        bit: Its bit: what comes out is made from it.
        made_of: Bits of what was weighed.
        shape: Its shape.
        weight: Bool, or numbers of which zero stands for what does not count.
        left_out: Whether the weight names what does not count.
        told: Whether the weight spreads over ``shape`` as its axes stand, so that it can be told what it counts.
        chosen: Whether the step itself chose what counts, as the first of the joints, rather than its batch.
        of_pose: Bits of what the weight is made from, where it is a pose.
    """

    bit: int
    made_of: int
    shape: tuple[int, ...]
    weight: Tensor
    left_out: bool = False
    told: bool = True
    chosen: bool = False
    of_pose: int = 0


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


def counted(
    weighings: Sequence[Weighing],
    meeting: Meeting,
    loss: int,
    leading: tuple[int, ...],
    joints: int,
    root: Sequence[int] = (),
) -> Counted:
    """What counts in the comparison of a pair.

    One weighing after another leaves what both count; of several terms of the loss, what one of them counts. Where
    the errors come into the loss without any weighing, too, all of them count.

    Args:
        weighings: All of the step.
        meeting: The pair.
        loss: Bits of all that the loss is made from.
        leading: Leading dimensions of the prediction.
        joints: Number of joints.
        root: Joints that count wherever the step itself chose some others, since poses are aligned to them.
    """
    of_pair = [
        one
        for one in weighings
        if loss & one.bit and (one.made_of & meeting.bit or meeting.made_of & one.bit)
        if not one.of_pose & meeting.bits[1]  # the truth itself, by which a prediction is scaled, say
    ]
    unread = []
    if loss & meeting.plain:
        unread = [one for one in of_pair if one.made_of & meeting.bit and not one.chosen]
        of_pair = [one for one in of_pair if not one.made_of & meeting.bit]
    mine = _of_pieces(of_pair, leading, joints)
    apart = sum(one.bit for one, _ in mine)
    for one in of_pair:
        if one.bit & apart:
            continue
        if one.told and (mask := mask_of(one.weight, one.left_out, one.shape, leading, joints)) is not None:
            mine.append((one, _with_root(mask, root) if one.chosen else mask))
        elif one.made_of & meeting.bit and not one.chosen and (not one.told or spreads(one.weight, one.shape)):
            unread.append(one)
    total = _total(mine, meeting.prediction.device)
    if total is None:
        return Counted(unread=tuple(unread))
    total = total.all(-1)  # where the depth of a joint does not count, the joint is not known
    if total.numel() == total.shape[0]:
        return Counted(labelled=total.reshape(-1).expand(leading[0]), unread=tuple(unread))
    return Counted(visibility=total.expand(*leading, joints), unread=tuple(unread))


def _of_pieces(weighings: Sequence[Weighing], leading: tuple[int, ...], joints: int) -> list[tuple[Weighing, Tensor]]:
    """Weighings by pieces of one mask, as one weighing by all of it."""
    apart: dict[tuple[Any, ...], list[tuple[Weighing, PieceOfMask]]] = {}
    for one in weighings:
        piece = piece_of_mask(one.weight, leading, joints) if one.told and not one.chosen else None
        if piece is not None:
            key = id(one.weight._base), piece.whole.storage_offset(), one.left_out
            apart.setdefault(key, []).append((one, piece))
    found = []
    for members in apart.values():
        first, bits = members[0][0], sum(one.bit for one, _ in members)
        mask = together([piece for _, piece in members], first.left_out)
        if mask is not None:
            made_of = functools.reduce(operator.or_, (one.made_of for one, _ in members))
            found.append((first._replace(bit=bits, made_of=made_of & ~bits), mask[..., None]))
    return found


def _with_root(mask: Tensor, root: Sequence[int]) -> Tensor:
    """A mask (..., J, axes) in which the root counts beside others; masks of samples or frames as they are."""
    if mask.shape[-2] == 1 or not root:
        return mask
    with_root = mask.clone()
    with_root[..., list(root), :] = mask.any(-2, keepdim=True)
    return with_root


def _total(masks: Sequence[tuple[Weighing, Tensor]], device: torch.device) -> Tensor | None:
    """What one term or another of the loss counts, each after all of its weighings; None where that is all there is."""
    chosen = all(one.chosen and mask.device.type == "cpu" for one, mask in masks)
    masks = masks if chosen else [(one, mask.to(device)) for one, mask in masks]
    total, behind = None, functools.reduce(operator.or_, (one.made_of for one, _ in masks), 0)
    before = [(one, mask) for one, mask in masks if one.bit & behind]
    for last, mask in masks:
        if last.bit & behind:
            continue
        for earlier, left in before:
            mask = mask & left if last.made_of & earlier.bit else mask
        total = mask if total is None else total | mask
    if total is None or (chosen and bool(total.all())):
        return None
    return total.to(device)
