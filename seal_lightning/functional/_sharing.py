"""What several errors have in common, computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

__all__ = ["shared", "sharing"]

P = ParamSpec("P")
T = TypeVar("T")

_results: ContextVar[dict[tuple[Any, ...], tuple[Any, Any]] | None] = ContextVar("results", default=None)


@contextmanager
def sharing() -> Iterator[None]:
    """Within the block, a `shared` function called again with the very same objects gives its first result again.

    Nothing is kept after the block. Whoever shares must not change tensors in place.
    """
    token = _results.set({})
    try:
        yield
    finally:
        _results.reset(token)


def shared(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function without side effects one whose results are kept within `sharing`."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        results = _results.get()
        if results is None:
            return function(*args, **kwargs)
        key = (function, *map(id, args), *kwargs, *map(id, kwargs.values()))
        if key not in results:
            # An identity is unique only while its object lives: the arguments are kept beside the result.
            results[key] = (args, kwargs), function(*args, **kwargs)
        result: T = results[key][1]
        return result

    return call
