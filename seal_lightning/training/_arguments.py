"""Arguments in a checkpoint: plain data, or a class by its import path where the parameter is for one.

`_trust` says what an import path may stand for; this says where there may be one, and `_plain` which field is for what.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from seal_lightning.skeleton import Skeleton
from seal_lightning.training._trust import find_factory, found_in_library, in_library

__all__ = ["Reading", "check_name", "factory_of", "instance_of", "read_argument", "read_arguments", "split_class_path"]

_CLASS_PATH = ("class_path", "init_args", "dict_kwargs")
_STRINGS: tuple[Any, ...] = (str, Any, object, Path, os.PathLike)
_PLAIN: tuple[Any, ...] = (*_STRINGS, bool, int, float, complex, NoneType)
_A_PATH = re.compile(r"[./\\:{}\[\]\n]")  # what a parser of settings could take for a file, an import or YAML
_YAML = re.compile(r"[{\[?&*!]|:(\s|$)")  # what a parser would read as more than a string where it may be anything
_GATHERING = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)

Kinds = tuple[type, ...]
# What a host's argument that may be anything may be made of: other classes open files or start processes.
_ANYWHERE: Kinds = (nn.Module, Optimizer, LRScheduler)


class Reading(NamedTuple):
    """How arguments are read."""

    kinds: Kinds  # what a class path among them may stand for; `object` for whatever the annotation says
    calls: bool = True  # whether instances are made; otherwise the arguments are checked, for a parser to make them


class _Unknown:
    """Stands for an annotation that cannot be read."""


def split_class_path(value: Any, name: str) -> tuple[Any, dict[str, Any]]:
    """Import path and keywords of a string or of ``{"class_path": ..., "init_args": {...}}``."""
    if isinstance(value, str):
        return value, {}
    if not isinstance(value, Mapping) or "class_path" not in value or not {*value} <= {*_CLASS_PATH}:
        raise ValueError(f"Expected `{name}` to be a class path with `init_args`, but got {_short(value)}.")
    keywords: dict[str, Any] = {}
    for part in _CLASS_PATH[1:]:
        given = value.get(part) or {}
        if not isinstance(given, Mapping):
            raise ValueError(f"Expected `{part}` of `{name}` to be names with values, but got {_short(given)}.")
        keywords |= given
    for key in keywords:
        check_name(key, name)
    return value["class_path"], keywords


def check_name(key: Any, name: str) -> None:
    """Raise unless the name of an argument is one: ``a.b`` or ``__path__`` would mean more to a parser."""
    if not isinstance(key, str) or not key.isidentifier() or key.startswith("__"):
        raise ValueError(f"Expected the arguments of `{name}` to have plain names, but got {key!r}.")


def factory_of(value: Any, kinds: Kinds, name: str, reading: Reading) -> Any:
    """The class or function that makes one of the kinds, with its keywords; nothing is called."""
    made, keywords = _read(value, kinds, name, reading)
    return partial(made, **keywords) if keywords else made


def instance_of(value: Any, kinds: Kinds, name: str, reading: Reading) -> Any:
    """An instance of one of the kinds, made of its keywords; None where the reading only checks."""
    made, keywords = _read(value, kinds, name, reading)
    if not reading.calls:
        return None
    found = made(**keywords)
    if not isinstance(found, kinds):
        raise ValueError(f"Expected `{name}` to be what the annotation says, but got {type(found).__name__}.")
    return found


def _read(value: Any, kinds: Kinds, name: str, reading: Reading) -> tuple[Callable[..., Any], dict[str, Any]]:
    path, keywords = split_class_path(value, name)
    made = find_factory(path, kinds, name)
    if object in reading.kinds and found_in_library(made):
        raise ValueError(f"Expected `{name}` to be no part of Python's own library, but the checkpoint names {path!r}.")
    if Skeleton in kinds and not isinstance(made, type):  # one that reads a file would read whatever is named
        raise ValueError(f"Expected `{name}` to be a Skeleton by its joints, but the checkpoint names {path!r}.")
    keywords = read_arguments(made, keywords, reading)
    _check_keywords(made, keywords, name)
    return made, keywords


def read_arguments(made: Callable[..., Any], keywords: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
    """Keywords of a class or function, each by what its parameter is for.

    Args:
        made: The class or function; it is not called.
        keywords: Plain data.
        reading: What a class path among them may stand for.

    Raises:
        ValueError: If a value is no plain data, or names something that its parameter is not for.
    """
    hints = _hints(made)
    return {key: read_argument(item, hints.get(key, str | _Unknown), key, reading) for key, item in keywords.items()}


def read_argument(value: Any, hint: Any, name: str, reading: Reading) -> Any:
    """One value by its parameter's annotation."""
    members = tuple(_members(hint))
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _string(value, members, name, reading)
    if isinstance(value, list | tuple):
        inner = _item_hint(members)
        items = [read_argument(item, inner, name, reading) for item in value]
        origins = {get_origin(member) or member for member in members}
        return tuple(items) if tuple in origins and list not in origins else items
    if isinstance(value, Mapping):
        return _mapping(value, members, name, reading)
    raise ValueError(f"Expected `{name}` to be plain data, but got {_short(value)}.")


def _mapping(value: Mapping[Any, Any], members: tuple[Any, ...], name: str, reading: Reading) -> Any:
    if "class_path" in value:
        if any(_is_for_factories(member) for member in members):
            return factory_of(value, _kinds_made(members, reading), name, reading)
        return instance_of(value, _kinds_held(members, reading, name), name, reading)
    own = [member for member in members if isinstance(member, type) and is_dataclass(member)]
    if own and (object in reading.kinds or issubclass(own[0], reading.kinds)):  # is written without its name
        for key in value:
            check_name(key, name)
        keywords = read_arguments(own[0], value, reading)
        return own[0](**keywords) if reading.calls else None
    for key in value:
        if not isinstance(key, str | int) or str(key).rpartition(".")[2] in _CLASS_PATH or str(key)[:2] == "__":
            raise ValueError(f"Expected `{name}` to have plain names, but got {key!r}.")
    if members not in ((Any,), (dict,)) and not any(get_origin(member) or member is dict for member in members):
        raise ValueError(f"Expected `{name}` to be plain data of its kind, but got {_short(value)}.")
    inner = _item_hint(members)
    return {key: read_argument(item, inner, name, reading) for key, item in value.items()}


def _string(value: str, members: tuple[Any, ...], name: str, reading: Reading) -> Any:
    if all(map(_is_plain, members)) and any(m in _STRINGS or get_origin(m) is Literal for m in members):
        only_string = not any(member in (Any, object) or _is_container(member) for member in members)
        if only_string or not _YAML.search(value):
            return value
    if str in members and not _A_PATH.search(value) and not os.path.lexists(value):
        return value
    if any(_is_for_factories(member) for member in members):
        return factory_of(value, _kinds_made(members, reading), name, reading)
    if not reading.calls and any(isinstance(member, type) for member in members):
        return instance_of(value, _kinds_held(members, reading, name), name, reading)
    raise ValueError(
        f"Expected `{name}` to be plain data of its kind, but the checkpoint gives the string {_short(value)}."
    )


def _members(hint: Any) -> Iterator[Any]:
    """What a parameter may be: the parts of a union."""
    if get_origin(hint) is Annotated:
        yield from _members(get_args(hint)[0])
    elif get_origin(hint) in (Union, UnionType):
        for part in get_args(hint):
            yield from _members(part)
    else:
        yield hint


def _is_plain(member: Any) -> bool:
    if member in _PLAIN or member is ... or get_origin(member) is Literal:
        return True
    parts = get_args(member)
    return (
        _is_container(member)
        and not _is_for_factories(member)
        and all(_is_plain(p) for part in parts for p in _members(part))
    )


def _is_container(member: Any) -> bool:
    return bool(get_args(member)) and get_origin(member) is not Literal


def _is_for_factories(member: Any) -> bool:
    origin = get_origin(member) or member
    return origin is type or getattr(origin, "__name__", None) == "Callable"


def _item_hint(members: tuple[Any, ...]) -> Any:
    parts = [part for member in members if not _is_for_factories(member) for part in get_args(member)]
    parts = [part for part in parts if part is not ...]
    return Union[tuple(parts)] if parts else Any  # noqa: UP007


def _kinds_held(members: tuple[Any, ...], reading: Reading, name: str) -> Kinds:
    """The classes that a parameter may hold an instance of, by its annotation, as far as the reading goes."""
    kinds = tuple(kind for one in members for kind in _kinds_said(one, reading))
    if not kinds:
        raise ValueError(f"Expected `{name}` to be plain data, but the checkpoint names a class for it.")
    return kinds


def _kinds_made(members: tuple[Any, ...], reading: Reading) -> Kinds:
    """The classes that a factory may make by its parameter's annotation, else all of the kinds."""
    parts = [get_args(member)[-1] for member in members if _is_for_factories(member) and get_args(member)]
    kinds = tuple(kind for part in parts for one in _members(part) for kind in _kinds_said(one, reading))
    return kinds or (_ANYWHERE if object in reading.kinds else reading.kinds)


def _kinds_said(member: Any, reading: Reading) -> Kinds:
    if object in reading.kinds and (member is Any or (isinstance(member, type) and in_library(member))):
        return _ANYWHERE  # the annotation says next to nothing
    return (member,) if isinstance(member, type) and issubclass(member, reading.kinds) else ()


def _hints(made: Callable[..., Any]) -> dict[str, Any]:
    """Annotations by parameter; those of a class with those of its bases, to which it may hand them on."""
    hints: dict[str, Any] = {}
    if not isinstance(made, type):
        return _hints_of(made)
    for base in reversed(made.__mro__[:-1]):
        if "__init__" in vars(base):
            hints |= _hints_of(vars(base)["__init__"])
    return hints


def _hints_of(function: Any) -> dict[str, Any]:
    try:
        named = {name: Any for name, one in signature(function).parameters.items() if one.kind not in _GATHERING}
    except (ValueError, TypeError):  # written in C
        return {}
    try:
        return named | get_type_hints(function)
    except (NameError, TypeError, AttributeError, SyntaxError):  # names that only a type checker imports
        written = getattr(function, "__annotations__", {})
        return named | {name: str if hint in ("str", "str | None") else _Unknown for name, hint in written.items()}


def _check_keywords(made: Callable[..., Any], keywords: Mapping[str, Any], name: str) -> None:
    try:
        known = signature(made)
    except ValueError:  # a class written in C says nothing
        return
    try:
        known.bind_partial(**keywords)
    except TypeError as error:
        raise ValueError(f"Expected `{name}` to have arguments that it knows, but: {error}.") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."
