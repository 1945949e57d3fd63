"""What kind of operation a torch function is, for the watch of a step."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "ALL_AXES",
    "Kind",
    "Selection",
    "argument",
    "by_place",
    "compared",
    "kind_of",
    "minus",
    "name_of",
    "selection",
    "with_lost_weight",
]


class Kind(IntEnum):
    """What the watch makes of an operation."""

    OTHER = 0  # what comes out is made from all that went in
    MEETS = 1  # compares two tensors
    ADDS = 2  # compares them where one of them is negated
    SELECTS = 3  # takes a part of a tensor, or another view or copy of it
    EMPTY = 4  # takes no more than a shape
    RANDOM = 5
    HOOKS = 6  # asks to be told of a gradient
    NEGATES = 7
    SETS = 8  # writes into its first argument
    SPEAKS = 9  # is a call of the criterion, or a backward pass, by the host itself
    WEIGHS = 10  # may weigh one tensor by another
    DIFFERS = 11  # takes neighbours from one another
    GRADIENT = 12
    LEAVES = 13  # becomes an array, which is not followed
    CONTRACTS = 14  # may weigh what it sums
    MIXES = 15  # lies between two tensors
    PICKS = 16  # takes values by their places
    LOSES = 17  # compares two tensors, and is told no more of how to weigh them
    KEEPS = 18  # changes each value by itself, or sums over axes: what is left stands where it stood


_NAMES = {
    Kind.MEETS: (
        "sub sub_ __sub__ __isub__ rsub __rsub__ subtract subtract_ mse_loss l1_loss smooth_l1_loss huber_loss cdist "
        "pairwise_distance dist cosine_similarity gaussian_nll_loss cosine_embedding_loss poisson_nll_loss"
    ),
    Kind.ADDS: "add add_ __add__ __radd__ __iadd__",
    Kind.SELECTS: (
        "__getitem__ view reshape flatten unflatten ravel squeeze unsqueeze transpose permute swapaxes swapdims "
        "moveaxis movedim select narrow unbind chunk split tensor_split index_select contiguous clone to float double "
        "half bfloat16 type type_as detach expand expand_as view_as reshape_as alias cuda cpu t flip roll "
        "requires_grad_ data masked_select"
    ),
    Kind.EMPTY: "empty_like zeros_like ones_like full_like new_empty new_zeros new_ones new_full new_tensor shape size",
    Kind.RANDOM: (
        "randn_like rand_like randint_like normal normal_ uniform_ random_ bernoulli_ exponential_ randn rand randint "
        "randperm bernoulli multinomial log_normal_ cauchy_"
    ),
    Kind.HOOKS: "register_hook retain_grad",
    Kind.NEGATES: "neg __neg__ negative",
    Kind.SETS: "__setitem__",
    Kind.WEIGHS: (
        "mul mul_ __mul__ __rmul__ __imul__ multiply multiply_ where masked_fill masked_fill_ "
        "div div_ __truediv__ __itruediv__ divide divide_ true_divide masked_scatter masked_scatter_ index_put "
        "index_put_"
    ),
    Kind.CONTRACTS: (
        "einsum dot vdot inner matmul __matmul__ __rmatmul__ mm bmm mv tensordot linear linalg_vecdot baddbmm addbmm "
        "addmm addmv addcmul addcmul_ addcdiv addcdiv_"
    ),
    Kind.DIFFERS: "diff",
    Kind.GRADIENT: "grad",
    Kind.LEAVES: "numpy tolist __array__",
    Kind.MIXES: "lerp lerp_",
    Kind.PICKS: "gather take take_along_dim",
    Kind.KEEPS: (
        "abs __abs__ absolute pow __pow__ square sqrt rsqrt norm linalg_norm linalg_vector_norm sum mean nansum "
        "nanmean exp expm1 log log1p log2 relu tanh sigmoid softplus logsigmoid nan_to_num sin cos amax amin reciprocal"
    ),
}
_KINDS = {name: kind for kind, names in _NAMES.items() for name in names.split()}
# Of those that select, the ones that may leave values out, or change their order.
_REARRANGE = (
    "__getitem__ transpose permute swapaxes swapdims moveaxis movedim select narrow unbind chunk split tensor_split "
    "index_select expand expand_as t flip roll masked_select"
)
_ORDERED = frozenset(_NAMES[Kind.SELECTS].split()) - frozenset(_REARRANGE.split())
_PIECES = frozenset(("chunk", "split", "tensor_split"))
_ALONG = _PIECES | {"select", "narrow", "index_select", "unbind"}
# Names of operands, in the order in which operations take them.
_OPERANDS = (
    *("condition", "input", "tensor", "input1", "x1", "input2", "x2", "tensor1", "tensor2", "batch1", "batch2"),
    *("mat1", "mat2", "mat", "vec", "target", "other", "mask", "value"),
)
ALL_AXES = 7  # bits of x, y and z


def kind_of(function: Any) -> Kind:
    """The kind of a torch function, by its name."""
    return _KINDS.get(name_of(function), Kind.OTHER)


@functools.cache
def name_of(function: Any) -> str:
    """Its name; that of the attribute for a getter, as `data` of ``tensor.data``, and `sub` for ``sub.Tensor``."""
    name = getattr(function, "__name__", "").partition(".")[0]
    return getattr(function.__self__, "__name__", name) if name == "__get__" else name


def compared(
    adds: bool, args: Sequence[Any], kwargs: Any, negated: Mapping[int, tuple[Tensor, Tensor]]
) -> tuple[Any, Any]:
    """The two tensors that an operation takes from one another; None for both where it takes none.

    Args:
        adds: Whether it is an addition: of a negated tensor, or with an `alpha` of -1, it is a subtraction.
        args: Its positional arguments.
        kwargs: Its arguments by name.
        negated: By their identity, tensors that are another one with the other sign; each with that one.
    """
    if len(args) < 2:
        return None, None
    one, other = args[0], args[1]
    alpha = kwargs.get("alpha", 1) if kwargs else 1
    if alpha == (-1 if adds else 1):
        return one, other
    if adds and alpha == 1 and id(other) in negated:
        return one, negated[id(other)][1]
    if adds and alpha == 1 and id(one) in negated:
        return other, negated[id(one)][1]
    return None, None


def by_place(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """The arguments of an operation, of which the operands are given by their place, whatever they were given by."""
    by_name = [name for name in _OPERANDS if name in kwargs] if len(args) < 3 else []
    if not by_name:
        return args, kwargs
    left = {name: value for name, value in kwargs.items() if name not in by_name}
    return (*args, *(kwargs[name] for name in by_name)), left


def with_lost_weight(kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of `l1_loss`, with the weight that torch keeps from whoever watches it.

    The function hands on what it was given, but for its `weight`, so that the loss would be another one for being
    watched. It is found where the function keeps it: two calls up from the watch.
    """
    frame = sys._getframe(3)
    kept = frame.f_locals.get("weight") if frame.f_code.co_name == "l1_loss" else None
    weight = kwargs.get("weight", kept)
    return kwargs if weight is None else {**kwargs, "weight": weight}


def minus(args: Sequence[Any]) -> Tensor | None:
    """What is multiplied by -1, if that is what a product does."""
    if len(args) == 2:
        one, other = args if isinstance(args[0], Tensor) else args[::-1]
        if type(other) in (int, float) and other == -1 and isinstance(one, Tensor):
            return one
    return None


@dataclass(eq=False, slots=True)
class Selection:
    """What a selection leaves.

    Args:
        in_order: Whether it keeps the order of the values, where it keeps all of them.
        axes: Which of the axes x, y and z are left of a pose ``(..., 3)``, as bits; 0 where that cannot be told.
        row: The one sample that is left; None for all of them.
        picks: Whether samples are picked by a mask or by indices that are tensors: the others may mean nothing. Indices
            into another than the first axis pick the same joints of all samples, which is none of this.
    """

    in_order: bool
    axes: int
    row: int | None = None
    picks: bool = False


def selection(function: Any, args: Sequence[Any], kwargs: Any, number: int, before: int) -> Selection:
    """What a selection leaves.

    Args:
        function: The selecting function.
        args: Its positional arguments, the pose first.
        kwargs: Its arguments by name.
        number: Which of its outputs.
        before: The bits of the axes that there were.
    """
    name, pose = name_of(function), args[0]
    if name == "__getitem__":
        return _by_index(args[1], pose, before)
    if name == "masked_select":
        return Selection(False, before, None, True)
    if name in _ORDERED:
        return Selection(True, before)
    dim = argument(args, kwargs, 2 if name in _PIECES else 1, "dim", 0) if name in _ALONG else None
    axes = before if before != ALL_AXES or pose.shape[-1] != 3 else ALL_AXES
    if axes == ALL_AXES and dim is not None and dim in (-1, pose.dim() - 1):
        axes = _along_last(name, args, kwargs, number)
    row = None
    if dim == 0 and name in ("select", "unbind"):
        row = number if name == "unbind" else _whole(argument(args, kwargs, 2, "index", None))
    return Selection(False, axes, row, dim == 0 and name == "index_select")


def _along_last(name: str, args: Sequence[Any], kwargs: Any, number: int) -> int:
    """The axes that are left by a selection along the last dimension."""
    if name == "unbind":
        return 1 << number
    start = argument(args, kwargs, 2, "index" if name == "select" else "start", None)
    if name == "select" and isinstance(start, int):
        return 1 << (start % 3)
    length = argument(args, kwargs, 3, "length", None)
    if name == "narrow" and isinstance(start, int) and isinstance(length, int):
        return sum(1 << axis for axis in range(start, start + length))
    sizes = argument(args, kwargs, 1, "chunks" if name == "chunk" else "split_size", None)
    if sizes is None:
        sizes = (kwargs or {}).get("split_size_or_sections")  # what `torch.split` calls it, beside `Tensor.split`
    if (name, sizes) in (("chunk", 3), ("split", 1)):
        return 1 << number
    if name == "split" and isinstance(sizes, list | tuple):
        start = sum(sizes[:number])
        return sum(1 << axis for axis in range(start, start + sizes[number]))
    return 0


def _by_index(index: Any, pose: Tensor, before: int) -> Selection:
    """What an index leaves; each of its items is looked at once."""
    items = index if type(index) is tuple else (index,)
    in_order, picks, open_ended, length = True, False, False, 0
    for item in items:
        if type(item) is slice or type(item) is int:
            length += 1
        elif item is Ellipsis:
            open_ended = True
        elif item is not None:
            length += 1
            in_order = False
            picks = picks or (isinstance(item, Tensor) and item.dtype in (torch.bool, torch.uint8))
    first, last = (items[0], items[-1]) if items else (None, None)
    if not in_order and isinstance(first, (Tensor, list)):
        picks = True
    axes = before
    if before == ALL_AXES and (open_ended or length >= pose.dim()) and last is not None and last is not Ellipsis:
        axes = _axes_at(last) if pose.shape[-1] == 3 else before
    return Selection(in_order, axes, first if type(first) is int else None, picks)


def _axes_at(last: Any) -> int:
    """The axes that an index leaves of the last dimension."""
    if isinstance(last, int):
        return 1 << (last % 3)
    if isinstance(last, slice):
        return sum(1 << axis for axis in range(*last.indices(3)))
    if isinstance(last, list | tuple) and all(type(item) is int for item in last):
        return sum(1 << axis for axis in {item % 3 for item in last})
    return 0


def _whole(index: Any) -> int | None:
    return index if type(index) is int else None


def argument(args: Sequence[Any], kwargs: Any, place: int, name: str, default: Any) -> Any:
    """An argument that is given by its place or by its name."""
    return args[place] if len(args) > place else (kwargs or {}).get(name, default)
