"""The settings of a model in a checkpoint, checked before Lightning makes a model of them."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter, signature
from typing import Any

from seal_lightning.training._arguments import Reading, check_name, read_arguments
from seal_lightning.training._trust import find_factory
from seal_lightning.training.config import SealConfig

__all__ = ["check_parsed", "checked_seal", "takes_seal"]

_FOR_A_PARSER = ("class_path", "init_args", "dict_kwargs")


def check_parsed(settings: Mapping[Any, Any], asked: type | None, kind: type) -> None:
    """Check a host's settings that a parser is about to import and make things of; `seal` is left to `SealConfig.of`.

    A class path may name a class that is imported already and is not of Python's own library; a text stays a text.

    Args:
        settings: ``hyper_parameters`` of a checkpoint.
        asked: Class of the model where the file names none.
        kind: What the class that the file names has to be.

    Raises:
        ValueError: If they name anything else.
    """
    given = {key: value for key, value in settings.items() if key not in ("seal", "_class_path", "_instantiator")}
    try:
        made: Any = asked or kind
        if "_class_path" in settings:
            made = find_factory(settings["_class_path"], (kind,), "_class_path")
        for key in given:
            check_name(key, "hyper_parameters")
        if taken := sorted({*given} & {*_FOR_A_PARSER}):
            raise ValueError(f"Expected `hyper_parameters` to name no class but in `_class_path`, but got {taken}.")
        read_arguments(made, given, Reading((object,), calls=False))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"Expected the settings of the model in the checkpoint to be plain data of imported classes. {error}"
        ) from error


def takes_seal(cls: type) -> bool:
    """Whether a class has an argument `seal`, or hands on whatever it is given."""
    parameters = signature(cls).parameters
    return "seal" in parameters or any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values())


def checked_seal(settings: Mapping[Any, Any]) -> SealConfig | None:
    """The configuration in the settings, read as a stranger's; None where there is none to read."""
    seal = settings.get("seal")
    return SealConfig.of(seal) if isinstance(seal, Mapping) else None
