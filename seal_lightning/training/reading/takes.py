"""Samples and frames that a step takes out of poses, so that the same can be taken out of keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from seal_lightning.training.reading.operations import argument, name_of

__all__ = ["Take", "joints_taken", "order_taken", "other_rows", "rows_taken", "same_rows"]

_ALL = slice(None)


class Take(NamedTuple):
    """Poses that were taken out of a larger batch.

    Args:
        bit: The bit of the values that were taken.
        leading: Leading dimensions of what was taken.
        source: What it was taken from.
        out: What was taken.
        function: The selecting function.
        args: Its positional arguments.
        kwargs: Its arguments by name.
    """

    bit: int
    leading: tuple[int, ...]
    source: Tensor
    out: Tensor
    function: Any
    args: Sequence[Any]
    kwargs: Any

    def rows(self, leading: int) -> tuple[Any, ...] | None:
        """Which samples and frames, as an index of so many leading dimensions; None where they are all there."""
        return rows_taken(self.function, self.args, self.kwargs, self.out, leading)


def rows_taken(function: Any, args: Sequence[Any], kwargs: Any, out: Tensor, leading: int) -> tuple[Any, ...] | None:
    """Which samples and frames a selection takes, as an index of the leading dimensions; None where it takes all.

    Args:
        function: The selecting function.
        args: Its positional arguments, the poses first.
        kwargs: Its arguments by name.
        out: What came out.
        leading: How many leading dimensions the poses have.
    """
    name, source = name_of(function), args[0]
    if name == "__getitem__":
        return _of_index(args[1], source.dim(), leading)
    if name == "flip":
        return _flipped(args, kwargs, leading)
    if name == "roll":
        return _rolled(args, kwargs, leading)
    if name in ("gather", "take_along_dim"):
        dim = argument(args, kwargs, 1 if name == "gather" else 2, "dim", None)
        if dim is None or dim % source.dim() < leading:
            _refuse()
        return None
    if name not in ("select", "narrow", "index_select", "unbind", "chunk", "split", "tensor_split"):
        return None
    dim = argument(args, kwargs, 2 if name in ("chunk", "split", "tensor_split") else 1, "dim", 0)
    if not isinstance(dim, int) or dim % source.dim() >= leading:
        return None
    dim %= source.dim()
    index: Any
    if name == "index_select":
        index = argument(args, kwargs, 2, "index", None)
    else:
        # A view: where it starts in memory tells which rows it holds.
        start = (out.storage_offset() - source.storage_offset()) // max(1, source.stride(dim))
        index = start if name in ("select", "unbind") else slice(start, start + out.shape[dim])
    return (*[_ALL] * dim, index)


def _flipped(args: Sequence[Any], kwargs: Any, leading: int) -> tuple[Any, ...] | None:
    """The one leading dimension that is turned round, as an index."""
    given = argument(args, kwargs, 1, "dims", ())
    dims = [given] if isinstance(given, int) else list(given)
    dims = [dim % args[0].dim() for dim in (dims if len(args) < 3 else args[1:])]
    turned = [dim for dim in dims if dim < leading]
    return (*[_ALL] * turned[0], list(range(args[0].shape[turned[0]]))[::-1]) if len(turned) == 1 else None


def _rolled(args: Sequence[Any], kwargs: Any, leading: int) -> tuple[Any, ...] | None:
    """The one leading dimension that is shifted, as an index."""
    shift, dim = argument(args, kwargs, 1, "shifts", 0), argument(args, kwargs, 2, "dims", None)
    (shift,), (dim,) = (one if isinstance(one, (tuple, list)) and len(one) == 1 else (one,) for one in (shift, dim))
    if not isinstance(shift, int) or not isinstance(dim, int):
        _refuse()
    dim %= args[0].dim()
    size = args[0].shape[dim]
    return (*[_ALL] * dim, [(place - shift) % size for place in range(size)]) if dim < leading else None


def joints_taken(function: Any, args: Sequence[Any], kwargs: Any, out: Tensor, joints: int) -> Tensor | None:
    """Which of so many joints a selection takes, (J,); None where it takes all, or that cannot be told."""
    shape = args[0].shape
    axis = len(shape) - 2 if shape[-2:-1] == (joints,) else len(shape) - 1
    index = rows_taken(function, args, kwargs, out, axis + 1) if shape[axis] == joints else None
    if index is None or len(index) <= axis:
        return None
    item = index[axis]
    mask = torch.zeros(joints, dtype=torch.bool, device=item.device if isinstance(item, Tensor) else None)
    mask[item] = True
    return mask


def order_taken(take: Take, joints: int) -> list[int] | None:
    """The order in which all joints are taken, and all samples with them; None where that is not so, or not told."""
    axis = take.source.dim() - 2
    if take.source.shape[axis] != joints or name_of(take.function) not in ("__getitem__", "index_select"):
        return None
    if name_of(take.function) == "__getitem__":
        items = take.args[1] if type(take.args[1]) is tuple else (take.args[1],)
        if sum(not isinstance(item, slice) and item is not Ellipsis for item in items) != 1:
            return None
    index = take.rows(axis + 1)
    if index is None or len(index) <= axis or any(not isinstance(item, slice) for item in index[:axis]):
        return None
    places = _places(index[axis], joints)
    return places if places is not None and sorted(places) == list(range(joints)) else None


def same_rows(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two indices say the same, as far as can be told without a look at tensors."""
    if len(one) != len(other):
        return False
    pairs = zip(one, other, strict=True)
    return all(a is b or (not isinstance(a, Tensor) and not isinstance(b, Tensor) and a == b) for a, b in pairs)


def other_rows(one: tuple[Any, ...], other: tuple[Any, ...], shape: Sequence[int]) -> bool:
    """Whether two indices into tensors of one shape take other places, or take them in another order."""
    places = [
        [_places(item, size) for item, size in zip(index, shape, strict=False)] for index in (one, other) if len(index)
    ]
    return any(a is not None and b is not None and a != b for a, b in zip(*places, strict=False))


def _places(item: Any, size: int) -> list[int] | None:
    """The places that an item of an index takes along an axis; None where that cannot be told."""
    if isinstance(item, slice):
        return list(range(*item.indices(size)))
    if isinstance(item, Tensor):  # no look at another device's values
        item = item.tolist() if item.dim() == 1 and item.device.type == "cpu" and item.dtype != torch.bool else None
    items = [item] if type(item) is int else item
    whole = isinstance(items, (list, tuple, range)) and all(type(one) is int for one in items)
    return [one % size for one in items] if whole else None


def _of_index(index: Any, dims: int, leading: int) -> tuple[Any, ...] | None:
    items = list(index) if isinstance(index, tuple) else [index]
    if any(item is None for item in items):
        return None
    taken = sum(item.dim() if isinstance(item, Tensor) and item.dtype == torch.bool else 1 for item in items)
    for place, item in enumerate(items):
        if item is Ellipsis:
            items[place : place + 1] = [_ALL] * (dims - taken + 1)
            break
    kept, axes = [], 0
    for item in items:
        width = item.dim() if isinstance(item, Tensor) and item.dtype == torch.bool else 1
        if axes + width > leading:
            break
        kept.append(item)
        axes += width
    if all(any(isinstance(item, (Tensor, list)) for item in some) for some in (kept, items[len(kept) :])):
        return _of_pairs(kept)
    return None if all(isinstance(item, slice) and item == _ALL for item in kept) else tuple(kept)


def _of_pairs(rows: Sequence[Any]) -> tuple[Any, ...]:
    """The samples of an index that picks joints of its own for each sample, as ``pose[samples[:, None], joints]``."""
    first = rows[0]
    if len(rows) > 1 or not isinstance(first, Tensor) or first.dim() != 2 or first.shape[1] != 1:
        _refuse()
    return (first[:, 0],)


def _refuse() -> NoReturn:
    raise ValueError(
        "Expected to tell from which samples poses are taken, but the step picks or moves samples and joints at once. "
        "Override `seal_batch(self, batch, inputs, output)` and `return SealBatch(keypoints_2d, prediction, target)`."
    )
