"""What an operation may weigh, by what, and which of it that leaves out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from seal_lightning.training.reading.contractions import ADDED_TO, CONTRACTIONS, factors

__all__ = ["CHOICES", "Operands", "operands", "summed"]

CHOICES = frozenset(("where", "lerp", "lerp_"))  # the one here and the other there
_PRODUCTS = frozenset(("mul", "mul_", "__mul__", "__rmul__", "__imul__", "multiply", "multiply_"))
_QUOTIENTS = frozenset(("div", "div_", "__truediv__", "__itruediv__", "divide", "divide_", "true_divide"))
_SUMS = {"addcmul": False, "addcmul_": False, "addcdiv": True, "addcdiv_": True}  # and whether of a quotient
_FILLS = frozenset(
    ("masked_fill", "masked_fill_", "__setitem__", "masked_scatter", "masked_scatter_", "index_put", "index_put_")
)


# What may be weighed, by what, whether the weight names what is left out, and what makes of the weight a tensor that
# spreads over what it weighs: None where it does so as it is. It returns None where that cannot be told.
Operands = tuple[Any, Any, bool, Callable[[], Tensor | None] | None]


def operands(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Operands]:
    """The operands of an operation, by twos.

    Args:
        name: Its name.
        args: Its positional arguments.
        kwargs: Its arguments by name.
    """
    if name in _PRODUCTS:
        yield args[0], args[1], False, None
        yield args[1], args[0], False, None
    elif name in _QUOTIENTS:
        yield args[0], args[1], True, lambda: torch.isinf(args[1])
    elif name in _SUMS and len(args) > 2:
        if _SUMS[name]:
            yield args[1], args[2], True, lambda: torch.isinf(args[2])
        else:
            yield args[1], args[2], False, None
            yield args[2], args[1], False, None
    elif name in CHOICES and len(args) > 2:
        yield from _choice(name, args)
    elif name in _FILLS:
        yield from _fill(name, args)
    elif name == "masked_select":
        yield args[0], args[1], False, None
    elif name == "__getitem__" and _is_mask(args[1]):
        yield args[0], args[1], False, lambda: _first_axes(args[1], args[0])
    elif name in CONTRACTIONS:
        for one, other, aligned in factors(name, args, kwargs):
            yield one, other, False, aligned


def summed(name: str, args: Sequence[Any]) -> tuple[Sequence[Any], list[Sequence[Any]]]:
    """What an operation adds to its products; and the factors of each of its products, but for what it divides by."""
    if name in CHOICES:
        return (), [(value,) for value in (args[:2] if name != "where" else args)]
    if name in _SUMS or name in ADDED_TO:
        return args[:1], [args[1:2] if name.startswith("addcdiv") else args[1:3]]
    if name in _QUOTIENTS or name in _FILLS:
        return (), [args[:1]]
    return (), [[factor for one in args for factor in (one if isinstance(one, (tuple, list)) else (one,))]]


def _choice(name: str, args: Sequence[Any]) -> Iterator[Operands]:
    if name == "where":
        # `torch.where(condition, one, other)`, or `one.where(condition, other)`.
        condition, one = args[:2] if getattr(args[0], "dtype", None) == torch.bool else args[1::-1]
        yield one, condition, False, None
        yield args[2], condition, True, None
    else:
        start, end, share = args[:3]
        yield end, share, False, None
        yield start, share, False, lambda: 1 - share


def _fill(name: str, args: Sequence[Any]) -> Iterator[Operands]:
    weighed, index = args[:2]
    if name.startswith("masked"):
        yield weighed, index, True, None
        return
    items = list(index) if isinstance(index, (tuple, list)) else [index]
    if _is_mask(items[0]) and len(items) == 1:
        yield weighed, items[0], True, lambda: _first_axes(items[0], weighed)
        return

    def filled() -> Tensor:
        mask = torch.zeros(weighed.shape, dtype=torch.bool, device=weighed.device)
        mask[index] = True
        return mask

    for item in items:
        if isinstance(item, Tensor):
            yield weighed, item, True, filled


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)


def _first_axes(mask: Tensor, weighed: Tensor) -> Tensor:
    """A mask whose axes stand where those are that it weighs: an index begins at the first."""
    return mask.reshape(*mask.shape, *[1] * (weighed.dim() - mask.dim()))
