"""Which arguments a class takes, as Lightning, parsers and `help` tell it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from types import CodeType, FunctionType
from typing import Any

__all__ = ["accepted", "has_default", "own_init", "takes_any"]


def takes_any(made: Callable[..., Any]) -> bool:
    """Whether a class or function gathers whatever keywords it is given."""
    return any(one.kind is Parameter.VAR_KEYWORD for one in inspect.signature(made).parameters.values())


def accepted(made: Callable[..., Any], arguments: Mapping[Any, Any]) -> dict[Any, Any]:
    """Those of a host's stored arguments that Lightning hands on to a class, without what is not the host's."""
    known = None if takes_any(made) else inspect.signature(made).parameters
    others = ("seal", "_class_path", "_instantiator")
    return {name: one for name, one in arguments.items() if name not in others and (known is None or name in known)}


def has_default(cls: type, name: str) -> bool:
    """Whether a class has an argument that is something where it is not given."""
    parameter = inspect.signature(cls).parameters.get(name)
    return parameter is not None and parameter.default not in (None, Parameter.empty)


def own_init(cls: type, mixin: type) -> None:
    """Give a class the mixin's `__init__` under the signature that it really has: that of its host, and `seal`.

    Lightning reads the signature to leave out stored hyperparameters that are no arguments; `help` and editors show it.
    It is a copy rather than a wrapper, because jsonargparse reads the source of `__init__` to follow `super()`.

    Args:
        cls: A class with the mixin; one that has written an `__init__` keeps it.
        mixin: The mixin.
    """
    ours: Any = vars(mixin)["__init__"]
    code: CodeType = ours.__code__
    if getattr(cls.__init__, "__code__", None) is not code:  # type: ignore[misc]
        return
    after = cls.__mro__[cls.__mro__.index(mixin) + 1 :]
    theirs = next(vars(base)["__init__"] for base in after if "__init__" in vars(base))
    if theirs is object.__init__:  # a mixin of one's own, whose host is still to come
        return
    try:
        parameters = [*inspect.signature(theirs).parameters.values()]
    except (ValueError, TypeError):  # one that is written in C says nothing
        return
    seal = inspect.signature(ours).parameters["seal"]
    gathering = [one for one in parameters if one.kind is Parameter.VAR_KEYWORD]  # comes last
    parameters = [*parameters[: len(parameters) - len(gathering)], seal, *gathering]
    made: Any = FunctionType(code, ours.__globals__, ours.__name__, ours.__defaults__, ours.__closure__)
    made.__kwdefaults__, made.__doc__, made.__qualname__ = ours.__kwdefaults__, ours.__doc__, ours.__qualname__
    # Annotations that are strings are names in the host's module.
    made.__module__ = theirs.__module__
    made.__annotations__ = {**getattr(theirs, "__annotations__", {}), "seal": seal.annotation}
    vars(made)["__signature__"] = inspect.Signature(parameters, return_annotation=None)
    cls.__init__ = made  # type: ignore[misc]
