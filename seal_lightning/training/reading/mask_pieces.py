"""Masks that a step takes apart, as it takes its errors apart: sample by sample, frame by frame, joint by joint."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["PieceOfMask", "piece_of_mask", "together"]


class PieceOfMask:
    """A piece of a tensor that holds a number for each sample, frame or joint.

    Args:
        whole: The tensor, ``(*leading, 1)`` or ``(*leading, J)``.
        numbers: Which of its numbers the piece has.
    """

    def __init__(self, whole: Tensor, numbers: Tensor) -> None:
        self.whole, self.numbers = whole, numbers


def piece_of_mask(weight: Tensor, leading: tuple[int, ...], joints: int) -> PieceOfMask | None:
    """Of which mask of a batch a tensor is a view, and which piece; None where it is none, or the whole.

    Args:
        weight: The tensor.
        leading: Leading dimensions of the poses.
        joints: Number of joints.
    """
    base = weight._base
    if base is None or base.dtype != weight.dtype or not base.is_contiguous() or weight.numel() >= base.numel():
        return None
    axes = tuple(base.shape[len(leading) :])
    if tuple(base.shape[: len(leading)]) != leading or axes[:1] not in ((), (1,), (joints,)) or len(axes) > 2:
        return None
    start = weight.storage_offset() - base.storage_offset()
    numbers = torch.arange(base.numel()).as_strided(weight.shape, weight.stride(), start).reshape(-1)
    channels = axes[1] if len(axes) == 2 else 1
    channel = int(numbers[0]) % channels if numbers.numel() else 0
    if bool((numbers % channels != channel).any()) or numbers.numel() * channels == base.numel():
        return None  # several channels, or one of them whole
    whole = base.reshape(*leading, -1, channels)[..., channel]
    return PieceOfMask(whole, numbers // channels)


def together(pieces: Sequence[PieceOfMask], left_out: bool) -> Tensor | None:
    """The mask of several pieces, bool; what none of them has counts. None where they are the same piece.

    Args:
        pieces: Pieces of one mask.
        left_out: Whether the mask names what does not count.
    """
    whole = pieces[0].whole
    named = torch.zeros(whole.numel(), dtype=torch.bool)
    for piece in pieces:
        named[piece.numbers] = True
    if int(named.sum()) == max(len(set(piece.numbers.tolist())) for piece in pieces):
        return None
    counted = whole == 0 if left_out else whole != 0
    return counted | ~named.view(whole.shape).to(whole.device)
