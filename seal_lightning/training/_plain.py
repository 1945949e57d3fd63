"""A configuration as plain data, fit for a checkpoint, and back."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from inspect import Parameter, signature
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from seal_lightning.loss.forces import ForceRatio
from seal_lightning.loss.terms import EnergyTerm
from seal_lightning.loss_nets import LossNet
from seal_lightning.negatives import Negatives
from seal_lightning.objectives import Objective
from seal_lightning.objectives.penalties import GradientPenalty
from seal_lightning.skeleton import Skeleton
from seal_lightning.training._arguments import (
    Reading,
    check_name,
    factory_of,
    instance_of,
    read_argument,
    read_arguments,
    split_class_path,
)
from seal_lightning.training._trust import find_factory
from seal_lightning.training.stored import without_removed

__all__ = ["from_plain", "to_plain"]

_FACTORIES: dict[str, type] = {"loss_net": LossNet, "optimizer": Optimizer, "lr_scheduler": LRScheduler}
_INSTANCES: dict[str, type] = {
    "objective": Objective,
    "negatives": Negatives,
    "gradient_penalty": GradientPenalty,
    "weight": ForceRatio,
    "skeleton": Skeleton,
    "energies": EnergyTerm,
}
_LISTS = ("negatives", "energies")
_OWN = (Skeleton, EnergyTerm, ForceRatio)  # the fields' own types, which need no name
_READING = Reading((*_FACTORIES.values(), *(kind for kind in _INSTANCES.values() if kind is not EnergyTerm), nn.Module))


def from_plain(kind: type, plain: Mapping[Any, Any]) -> Any:
    """Make a `SealConfig` or `EnergyTerm` of what `to_plain` made of its fields, none of which is trusted.

    A class path has to name a class, or a function that is annotated to return one, of the kind that the field is for,
    in a module that is imported already, or it is neither imported nor called.

    Raises:
        TypeError: If a value is of the wrong kind.
        ValueError: If a field is unknown, or a class path names anything else.
    """
    known = {field.name for field in fields(kind) if field.init}
    for name in plain:
        check_name(name, kind.__name__)
    plain = without_removed(plain)
    if unknown := sorted(plain.keys() - known):
        raise ValueError(f"Expected fields of {kind.__name__}, but got {unknown}.")
    return kind(**{name: _field(name, value) for name, value in plain.items()})


def _field(name: str, value: Any) -> Any:
    if name in _LISTS and isinstance(value, list | tuple):
        return [_instance(name, item) for item in value]
    if name in _FACTORIES and value is not None:
        return factory_of(value, (_FACTORIES[name],), name, _READING)
    if name in _INSTANCES and (isinstance(value, Mapping) or name in _LISTS) and value is not None:
        return _instance(name, value)
    if name in _INSTANCES and isinstance(value, str) and "." in value:
        return _instance(name, value)
    return read_argument(value, str, name, _READING)


def _instance(name: str, value: Any) -> Any:
    kind = _INSTANCES[name]
    if isinstance(value, Mapping) and "class_path" not in value:
        if kind is EnergyTerm:
            return from_plain(kind, value)
        if kind not in _OWN:
            raise ValueError(f"Expected `{name}` to have a class path, but got {sorted(map(str, value))}.")
        for key in value:
            check_name(key, name)
        return kind(**read_arguments(kind, value, _READING))
    if kind is EnergyTerm:
        path, keywords = split_class_path(value, name)
        if find_factory(path, (kind,), name) is not kind:
            raise ValueError(f"Expected `{name}` to hold EnergyTerms, but got {path!r}.")
        return from_plain(kind, keywords)
    return instance_of(value, (kind,), name, _READING)


def to_plain(value: Any, name: str) -> Any:
    """Plain data of one field's value: classes and factories become import paths with their arguments.

    Raises:
        ValueError: If a factory cannot be imported by name.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [to_plain(item, name) for item in value]
    if isinstance(value, _OWN):
        return {field.name: to_plain(getattr(value, field.name), field.name) for field in fields(value)}
    if isinstance(value, partial):
        made, args = value.func, value.args
        if args and made.__module__.startswith("jsonargparse."):  # a parser's partial: the class is its last argument
            made, args = args[-1], ()
        if not args:
            return _factory(made, value.keywords, name)
    if is_dataclass(value) and not isinstance(value, type):
        init_args = {field.name: to_plain(getattr(value, field.name), name) for field in fields(value) if field.init}
        return {"class_path": _import_path(type(value), name), "init_args": init_args}
    return _factory(value, {}, name)


def _factory(made: Any, keywords: Mapping[str, Any], name: str) -> Any:
    if name == "loss_net" and isinstance(made, type):
        keywords = {**_sizes(made), **keywords}
    path = _import_path(made, name)
    init_args = {key: to_plain(item, name) for key, item in keywords.items()}
    return {"class_path": path, "init_args": init_args} if init_args else path


def _sizes(made: type) -> dict[str, Any]:
    """Default widths, depths and the like of a loss-net, which a later version may have others of."""
    parameters = [one for one in signature(made).parameters.values() if one.kind is not Parameter.POSITIONAL_ONLY]
    return {one.name: one.default for one in parameters if isinstance(one.default, bool | int | float)}


def _import_path(value: Any, name: str) -> str:
    module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    if module is None or not qualname or "<" in qualname:
        raise ValueError(
            f"Expected `{name}` to be a class, a function, a partial of one with keywords alone, or a dataclass, "
            f"importable by name, but got {value!r}."
        )
    parts = module.split(".")
    if parts[0] == __name__.partition(".")[0]:
        # Our own files may move, the rooms stay: write the shortest path that leads to the same object.
        rooms = (".".join(parts[:size]) for size in range(2, len(parts)))
        module = next((room for room in rooms if vars(sys.modules[room]).get(qualname) is value), module)
    return f"{module}.{qualname}"
