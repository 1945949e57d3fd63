"""The settings of a model in a checkpoint, checked before a parser makes a model of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from seal_lightning.training._arguments import Reading, check_name, read_arguments

__all__ = ["check_parsed"]

_FOR_A_PARSER = ("class_path", "init_args", "dict_kwargs")


def check_parsed(settings: Mapping[Any, Any], made: Callable[..., Any]) -> None:
    """Check a host's settings that a parser is about to import and make things of.

    A class path may name a class that is imported already and is not of Python's own library; a string stays a string.

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
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"Expected the settings of the model in the checkpoint to be plain data of imported classes. {error}"
        ) from error
