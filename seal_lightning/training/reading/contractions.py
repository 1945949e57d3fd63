"""Sums of products, as `einsum` and `matmul`: which axes of the one factor stand at which axes of the other."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

__all__ = ["ADDED_TO", "CONTRACTIONS", "factors"]

ADDED_TO = frozenset(("baddbmm", "addbmm", "addmm", "addmv"))  # take what a product is added to before its factors
_PRODUCTS = frozenset(("matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "mv", "dot", "vdot")) | ADDED_TO
_ROWS = frozenset(("inner", "linear"))  # the last axis of both is summed, the others stay apart
CONTRACTIONS = _PRODUCTS | _ROWS | {"einsum", "tensordot", "linalg_vecdot"}

_Labelled = list[tuple[Tensor, tuple[Hashable, ...]]]


_Aligned = Callable[[], Tensor | None]


def factors(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[tuple[Tensor, Tensor, _Aligned]]:
    """Each factor, each other one, and what makes of that one a tensor whose axes are where those of the first are.

    An axis that the first has not is looked at as a whole: what is zero all along it is zero. Where samples meet other
    samples, None is made: it cannot be told which number belongs to which.

    Args:
        name: One of the `CONTRACTIONS`.
        args: Positional arguments of the operation.
        kwargs: Its arguments by name.
    """
    labelled = _labelled(name, args, kwargs)
    for one, axes in labelled:
        for other, other_axes in labelled:
            if other is not one and not _of_coordinates_alone(one, axes, other_axes):
                yield one, other, functools.partial(_aligned, one, axes, other, other_axes)


def _labelled(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Labelled:
    """The factors, with a label for each axis; axes with one label are multiplied."""
    if name == "einsum":
        return _of_equation(args)
    one, other = args[1:3] if name in ADDED_TO else args[:2]
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return []
    if name == "tensordot":
        return _of_dims(one, other, kwargs.get("dims", args[2] if len(args) > 2 else 2))
    if name == "linalg_vecdot":
        return [(one, _from_the_right(one.dim())), (other, _from_the_right(other.dim()))]
    if name in _ROWS:
        rows, other_rows = ([f"{side}{axis}" for axis in range(t.dim() - 1)] for side, t in (("n", one), ("o", other)))
        return [(one, (*rows, "k")), (other, (*other_rows, "k"))]
    left = ("k",) if one.dim() == 1 else (*_from_the_right(one.dim() - 2), "n", "k")
    right = ("k",) if other.dim() == 1 else (*_from_the_right(other.dim() - 2), "k", "m")
    return [(one, left), (other, right)]


def _of_equation(args: Sequence[Any]) -> _Labelled:
    equation, *tensors = args
    if not isinstance(equation, str):
        return []
    tensors = list(tensors[0]) if len(tensors) == 1 and not isinstance(tensors[0], Tensor) else tensors
    found: _Labelled = []
    for term, tensor in zip(equation.replace(" ", "").split("->")[0].split(","), tensors, strict=True):
        before, dots, after = term.partition("...")
        spread = _from_the_right(tensor.dim() - len(before) - len(after)) if dots else ()
        found.append((tensor, (*before, *spread, *after)))
    return found


def _of_dims(one: Tensor, other: Tensor, dims: Any) -> _Labelled:
    if isinstance(dims, int):
        dims = list(range(one.dim() - dims, one.dim())), list(range(dims))
    if isinstance(dims, Tensor):
        return []
    axes, other_axes = ([axis % t.dim() for axis in given] for given, t in zip(dims, (one, other), strict=True))
    left: list[Hashable] = [f"n{axis}" for axis in range(one.dim())]
    right: list[Hashable] = [f"o{axis}" for axis in range(other.dim())]
    for axis, other_axis in zip(axes, other_axes, strict=True):
        left[axis] = right[other_axis] = axis
    return [(one, tuple(left)), (other, tuple(right))]


def _from_the_right(count: int) -> tuple[int, ...]:
    return tuple(range(-count, 0))


def _of_coordinates_alone(one: Tensor, axes: tuple[Hashable, ...], other_axes: tuple[Hashable, ...]) -> bool:
    """Whether two factors share x, y and z and no joint, as where poses are rotated."""
    return one.dim() > 1 and one.shape[-1] == 3 and axes[-1] in other_axes and axes[-2] not in other_axes


def _aligned(one: Tensor, axes: tuple[Hashable, ...], other: Tensor, other_axes: tuple[Hashable, ...]) -> Tensor | None:
    shared = [axis for axis in axes if axis in other_axes]
    free = [place for place, axis in enumerate(other_axes) if axis not in axes]
    if len(set(other_axes)) < len(other_axes) or len(set(axes)) < len(axes):
        return None  # a diagonal
    if axes[0] not in shared and any(other.shape[place] == one.shape[0] > 1 for place in free):
        return None
    counted = (other != 0).any(free) if free else other
    left = [axis for axis in other_axes if axis in axes]
    ordered = counted.permute([left.index(axis) for axis in shared])
    sizes = iter(ordered.shape)
    return ordered.reshape([next(sizes) if axis in shared else 1 for axis in axes])
