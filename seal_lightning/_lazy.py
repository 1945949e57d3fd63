"""Lazy imports: a package offers names whose modules are imported when a name is first used (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the functions ``__getattr__`` and ``__dir__`` of a package whose names are imported on first use.

    Python calls a module's ``__getattr__`` for a name that the module does not hold.

    Args:
        package: Full name of the package.
        homes: For each name, the module that defines it, relative to the package. A sub-package that is offered under
            its own name is mapped to "".

    Returns:
        The two functions, to be assigned at the top level of the package's ``__init__``.

    Raises:
        AttributeError: From ``__getattr__``, for a name that is not in ``homes``.
    """
    names = vars(sys.modules[package])

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = homes[name]
        value = getattr(import_module(f"{package}.{home}"), name) if home else import_module(f"{package}.{name}")
        names[name] = value  # from now on the package holds the name, and Python does not call this function for it
        return value

    def list_names() -> list[str]:
        return sorted({*names, *homes})

    return get, list_names
