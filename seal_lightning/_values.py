"""Checks of plain values from a user: numbers, integers, ranges, and how an error message names a kind."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

from torch import Tensor

__all__ = ["check_above_zero", "check_counts", "did_you_mean", "is_number", "is_whole", "kind_of"]


def is_number(value: Any) -> bool:
    """Tell whether a value is a real number. Bools, strings and tensors do not count as numbers.

    Example:
        >>> is_number(0.5), is_number("0.5"), is_number(True)
        (True, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool)  # in Python, a bool is an int


def is_whole(value: Any) -> bool:
    """Tell whether a value is an integer; a bool is not.

    Example:
        >>> is_whole(2), is_whole(2.5), is_whole(True)
        (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def kind_of(value: Any) -> str:
    """Name the kind of a value for an error message: the dtype of a tensor, else the type.

    Example:
        >>> kind_of([1.0]), kind_of(Tensor([1]).int())
        ('list', 'torch.int32')
    """
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__


def check_counts(**counts: int) -> None:
    """Raise a ValueError that names the first keyword argument that is not a positive integer."""
    for name, count in counts.items():
        if not is_whole(count) or count < 1:
            raise ValueError(f"Expected `{name}` to be a positive integer, but got {count!r}.")


def check_above_zero(**sizes: float) -> None:
    """Raise a ValueError that names the first keyword argument that is not a finite number above zero."""
    for name, size in sizes.items():
        if not is_number(size) or not 0 < size < float("inf"):
            raise ValueError(f"Expected `{name}` to be above 0 and finite, but got {size!r}.")


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the known name that is most like it, if one is.

    Example:
        >>> did_you_mean("H36M", ["coco17", "h36m17"])
        " Did you mean 'h36m17'?"
    """
    folded = {other.casefold(): other for other in known}
    close = get_close_matches(name.casefold(), folded, n=1, cutoff=0.5) if isinstance(name, str) else []
    return f" Did you mean {folded[close[0]]!r}?" if close else ""
