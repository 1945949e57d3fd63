"""How Lightning stores the arguments of a model and makes it anew, and where SEAL's settings go meanwhile."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from inspect import Parameter
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any
from zipfile import is_zipfile

import torch
from fsspec.core import url_to_fs

from seal_lightning._version import __version__
from seal_lightning.training.config import SealConfig

__all__ = [
    "accepted",
    "asked_checkpoint",
    "for_loggers",
    "has_default",
    "host_settings",
    "keep_settings",
    "own_init",
    "restoring",
    "stored_checkpoint",
    "take_restored",
    "takes_any",
    "without_settings",
]

_SETTINGS = ("hparams", "module_arguments", "hyper_parameters")  # keys that Lightning reads settings from, in turn
_RESTORING: ContextVar[tuple[SealConfig | None] | None] = ContextVar("_RESTORING", default=None)


def stored_checkpoint(path: Any, weights_only: bool | None) -> Mapping[str, Any]:
    """A checkpoint as Lightning is about to read it, or nothing where it unpickles the file whole.

    Args:
        path: What `load_from_checkpoint` takes; a file object is left where it was.
        weights_only: As in `load_from_checkpoint`. There is nothing to check in a file that is unpickled whole, since
            that runs whatever is in it.
    """
    remote = str(path).startswith("http") and isinstance(path, str | Path)
    if weights_only is False or (weights_only is None and remote):
        return {}
    checkpoint = _load(path, weights_only)
    return checkpoint if isinstance(checkpoint, Mapping) else {}


def host_settings(checkpoint: Mapping[str, Any], skip: Sequence[str] = ()) -> dict[Any, Any]:
    """The arguments of the model that Lightning finds in a checkpoint, wherever it looks for them.

    Args:
        checkpoint: The checkpoint.
        skip: Keys that Lightning does not look at this time.
    """
    found = [checkpoint[key] for key in _SETTINGS if key in checkpoint and key not in skip]
    return {key: value for settings in found if isinstance(settings, Mapping) for key, value in settings.items()}


def _load(path: Any, weights_only: bool | None) -> Any:
    """Read a checkpoint from wherever Lightning's `load_from_checkpoint` would take it."""
    if not isinstance(path, str | Path):
        start = path.tell()
        checkpoint = torch.load(path, map_location="cpu", weights_only=weights_only)
        path.seek(start)
        return checkpoint
    if Path(path).is_file():
        return torch.load(path, map_location="cpu", weights_only=weights_only, mmap=is_zipfile(path))
    if str(path).startswith("http"):
        return torch.hub.load_state_dict_from_url(str(path), map_location="cpu", weights_only=bool(weights_only))
    files, place = url_to_fs(str(path))
    with files.open(place, "rb") as file:
        return torch.load(file, map_location="cpu", weights_only=weights_only)


def asked_checkpoint(cli: Any) -> str | None:
    """The local file at the command line's `ckpt_path`, out of which Lightning is about to read settings, if any."""
    subcommand = cli.config.get("subcommand")
    path = cli.config[subcommand].get("ckpt_path") if subcommand else None
    return str(path) if path and Path(path).is_file() else None


def takes_any(made: Callable[..., Any]) -> bool:
    """Whether a class or function gathers whatever keywords it is given."""
    return any(one.kind is Parameter.VAR_KEYWORD for one in inspect.signature(made).parameters.values())


def accepted(made: Callable[..., Any], arguments: Mapping[Any, Any]) -> dict[Any, Any]:
    """Those of a host's stored arguments that Lightning hands on to a class, without what is not the host's."""
    known = None if takes_any(made) else inspect.signature(made).parameters
    others = ("seal", "_class_path", "_instantiator")
    return {name: one for name, one in arguments.items() if name not in others and (known is None or name in known)}


@contextmanager
def restoring(settings: SealConfig | None) -> Iterator[None]:
    """Inside the block a SEAL model is made that gets the state of a checkpoint afterwards.

    Args:
        settings: The `SealConfig` in that checkpoint, for a model that is not given one; None where it has none.
    """
    token = _RESTORING.set((settings,))
    try:
        yield
    finally:
        _RESTORING.reset(token)


def take_restored() -> tuple[SealConfig | None] | None:
    """What `restoring` was told, for the model that asks first: one that it holds, like a teacher, is its own."""
    restored = _RESTORING.get()
    _RESTORING.set(None)
    return restored


def for_loggers(config: SealConfig) -> dict[str, Any] | str:
    """SEAL's settings as hyperparameters: plain data, and the version that says what they mean."""
    plain = config.plain()
    return plain if isinstance(plain, str) else {"version": __version__, **plain}


def keep_settings(module: Any, config: SealConfig) -> None:
    """Bring SEAL's settings up to date among the hyperparameters, as plain data, where the host has saved them."""
    for kept in (module.hparams, getattr(module, "_hparams_initial", {})):
        for name, value in kept.items():
            if name == "seal":
                kept[name] = for_loggers(config)
            elif isinstance(value, SealConfig):  # under a name of a subclass's own
                kept[name] = for_loggers(value)


def without_settings(checkpoint: dict[str, Any]) -> None:
    """Take SEAL's settings out of the host's, to whom they would be an argument that it does not know."""
    settings = checkpoint.get(_SETTINGS[-1], {})
    if "seal" in settings:
        checkpoint[_SETTINGS[-1]] = settings = copy(settings)
        del settings["seal"]


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
