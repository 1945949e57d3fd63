"""How Lightning stores the arguments of a model and makes it anew, and where SEAL's settings go meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
import yaml  # type: ignore[import-untyped]
from fsspec.core import url_to_fs

from seal_lightning._version import __version__
from seal_lightning.training._arguments import Reading, check_name, read_arguments
from seal_lightning.training._trust import find_factory
from seal_lightning.training.config import SealConfig
from seal_lightning.training.signature import accepted, has_default, takes_any
from seal_lightning.training.stored import settings_in

__all__ = [
    "arguments_for",
    "asked_checkpoint",
    "check_parsed",
    "for_loggers",
    "host_settings",
    "keep_settings",
    "restoring",
    "settings_in_yaml",
    "stored_checkpoint",
    "take_restored",
    "without_settings",
]

_FOR_A_PARSER = ("class_path", "init_args", "dict_kwargs")
_SETTINGS = ("hparams", "module_arguments", "hyper_parameters")  # keys that Lightning reads settings from, in turn
_RESTORING: ContextVar[tuple[SealConfig | None] | None] = ContextVar("_RESTORING", default=None)


def arguments_for(
    cls: type, path: Any, hparams_file: Any, weights_only: bool | None, given: Mapping[str, Any]
) -> tuple[dict[str, Any], SealConfig | None]:
    """Arguments with which a checkpoint's model is to be made, and the SEAL settings in the checkpoint, if any.

    Args:
        cls: Class of the model.
        path: The checkpoint, as `load_from_checkpoint` takes it.
        hparams_file: A file of settings of the user's own, which goes before those in the checkpoint.
        weights_only: As in `load_from_checkpoint`.
        given: Arguments that the user gives, which go before all others.

    Raises:
        ValueError: If the checkpoint's settings name what they are not for, or what is not imported.
    """
    checkpoint = stored_checkpoint(path, weights_only)
    stored = host_settings(checkpoint, () if hparams_file is None else ("hyper_parameters",))
    used = {key: value for key, value in stored.items() if key not in given}
    # A parser makes the model where the command line made the checkpoint, or the file of hyperparameters.
    if used.get("_instantiator") is not None or (used and hparams_file is not None):
        named = cls if (name := used.get("_class_path")) is None else find_factory(name, (cls,), "_class_path")
        check_parsed(accepted(cls, used), named if takes_any(cls) else cls)
    arguments, config = dict(given), None
    if (theirs := settings_in_yaml(hparams_file)) is not None:
        arguments.setdefault("seal", SealConfig.of(theirs))
    if "seal" not in arguments and (settings := settings_in(checkpoint, stored)) is not None:
        config = SealConfig.of(settings)
        if has_default(cls, "seal") or "seal" in used:
            arguments["seal"] = config
    return arguments, config


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


def settings_in_yaml(path: Any) -> Any:
    """SEAL's settings in a file of hyperparameters, as loggers write them: `hparams.yaml`."""
    if not str(path).lower().endswith((".yaml", ".yml")):
        return None
    files, place = url_to_fs(str(path))
    with files.open(place, "r") as file:
        content = yaml.full_load(file)
    return content.get("seal") if isinstance(content, Mapping) else None


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


def check_parsed(settings: Mapping[Any, Any], made: Callable[..., Any]) -> None:
    """Check a host's settings that a parser is about to import and make things of.

    A class path may name a class of the kind that the argument's annotation says, of a module that is imported already
    and not of Python's own library; where the annotation says nothing, a `nn.Module`, an optimizer or a scheduler. A
    string stays a string.

    Args:
        settings: Stored arguments of the model.
        made: Class of the model, or a function that makes it.

    Raises:
        ValueError: If they name anything else.
    """
    try:
        for key in settings:
            check_name(key, "hyper_parameters")
        if taken := sorted({*settings} & {*_FOR_A_PARSER}):
            raise ValueError(f"Expected `hyper_parameters` to name no class but in `_class_path`, but got {taken}.")
        read_arguments(made, settings, Reading((object,), calls=False))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"Expected the settings of the model in the checkpoint to be plain data of imported classes. {error}"
        ) from error


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
    saved = (vars(module).get(name) for name in ("_hparams", "_hparams_initial"))
    for kept in (one for one in saved if isinstance(one, MutableMapping)):
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
