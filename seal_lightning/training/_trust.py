"""What an import path out of a checkpoint may stand for: a class, or a factory of one, that is imported already."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

__all__ = ["ROOMS", "find_factory", "found_in_library", "in_library"]

_HERE = "seal_lightning"
# What a configuration names of this package lies in these; they, and what is below them, may be imported for a file.
ROOMS = tuple(f"{_HERE}.{room}" for room in ("loss", "loss_nets", "negatives", "objectives", "skeleton"))
# Where a class lay when older versions wrote its path, and where it lies now.
_MOVED = {f"{_HERE}.gradient_penalties.": f"{_HERE}.objectives."}
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)


class _Found(NamedTuple):
    value: Any
    owner: type | None  # the class that it lies in, if any
    names: dict[str, Any]  # the module's


def find_factory(path: Any, kinds: tuple[type, ...], name: str) -> Callable[..., Any]:
    """Return the class or function that an import path names; nothing is imported, called or evaluated.

    Args:
        path: Import path out of a file.
        kinds: The class has to be one of these or a subclass; a function has to say so in its return annotation.
        name: Of the field or argument that it is for, for the error.

    Raises:
        ValueError: If the path names nothing that is imported, or something of another kind.
    """
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise ValueError(f"Expected the class path of `{name}` to be like 'module.Class', but got {path!r}.")
    old = next((old for old in _MOVED if path.startswith(old)), "")
    path = _MOVED.get(old, "") + path.removeprefix(old)
    found = _find(path)
    if found is None:
        module = path.rpartition(".")[0]
        known = _names_of(module) is not None
        raise ValueError(
            f"Expected `{name}` to be what the imported modules have, since the checkpoint names {path!r} and "
            + (f"{module!r} has no such name." if known else f"{module!r} is not imported.")
            + ("" if known else f" If you trust the checkpoint, `import {module}` first.")
        )
    value, owner, names = found
    made = _made_by(value, owner, names)
    if made is None or not issubclass(made, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(
            f"Expected `{name}` to be a {wanted}, or a function whose return annotation is one, but the checkpoint "
            f"names {path!r}. It was not called."
        )
    factory: Callable[..., Any] = value.__get__(None, owner) if isinstance(value, classmethod | staticmethod) else value
    return factory


def found_in_library(factory: Callable[..., Any]) -> bool:
    """Whether a class or function, or what the function makes, is of Python's own library, like a file or a process."""
    function = getattr(factory, "__func__", factory)
    names = _dict_of(function, "__globals__") if isinstance(function, FunctionType) else {}
    return in_library(function) or in_library(_made_by(function, getattr(factory, "__self__", None), names))


def in_library(thing: Any) -> bool:
    """Whether a class or function is of Python's own library."""
    return str(getattr(thing, "__module__", "builtins")).partition(".")[0] in sys.stdlib_module_names


def _find(path: str) -> _Found | None:
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:length])
        names = _names_of(module)
        if names is not None:
            return _within(names, parts[length:], module)
    return None


def _within(names: dict[str, Any], parts: list[str], module: str) -> _Found | None:
    """Follow names through a module and the classes in it."""
    if parts[0] not in names and module in (_HERE, *ROOMS) and parts[0] in names.get("__all__", ()):
        # A room of this package may load its names when asked.
        names = {**names, parts[0]: getattr(sys.modules[module], parts[0])}
    owner, space = None, names
    for part in parts[:-1]:
        owner = space.get(part)
        if not _is_class(owner):
            return None
        space = dict(type.__getattribute__(owner, "__dict__"))
    return _Found(space[parts[-1]], owner, names) if parts[-1] in space else None


def _names_of(module: str) -> dict[str, Any] | None:
    """The names in an imported module, read past a `__getattr__` or `__getattribute__` that would import more."""
    if module not in sys.modules and any(f"{module}.".startswith(f"{room}.") for room in ROOMS):
        try:
            import_module(module)
        except ModuleNotFoundError:  # a class rather than a module
            return None
    found = sys.modules.get(module)
    return _dict_of(found, "__dict__") if issubclass(type(found), ModuleType) else None


def _dict_of(value: Any, name: str) -> dict[str, Any]:
    names: dict[str, Any] = object.__getattribute__(value, name)
    return names


def _made_by(value: Any, owner: Any, names: dict[str, Any]) -> type | None:
    """The class itself, or the one that a function says it returns."""
    if _is_class(value):
        made: type = value
        return made
    function = value.__func__ if type(value) in (classmethod, staticmethod) else value
    if type(function) is not FunctionType:
        return None
    answer = function.__annotations__.get("return")
    if isinstance(answer, str):  # as all are under `from __future__ import annotations`
        answer = _said(answer.strip("\"'"), {**vars(sys.modules["builtins"]), **names})
    if getattr(answer, "__name__", None) == "Self" and getattr(answer, "__module__", "").startswith("typing"):
        answer = owner
    return answer if _is_class(answer) else None


def _said(text: str, names: dict[str, Any]) -> Any:
    """What a dotted name stands for in a module; an annotation that is more than a name is not evaluated."""
    found: Any = None
    for part in text.split("."):
        found = names.get(part)
        if _is_class(found):
            names = dict(type.__getattribute__(found, "__dict__"))
        elif issubclass(type(found), ModuleType):
            names = _dict_of(found, "__dict__")
        else:
            names = {}
    return found


def _is_class(value: Any) -> bool:
    return issubclass(type(value), type)  # `isinstance` would ask the value, and a lazy one would load
