"""Keeps TorchScript, which asks a module for everything it has, from asking for what it cannot take."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["hide_from_torchscript"]


def hide_from_torchscript(cls: type, names: Sequence[str]) -> None:
    """Tell TorchScript to leave attributes and properties of a module class alone."""
    for name in names:
        value = getattr(cls, name, None)
        if isinstance(value, property) and name not in vars(cls):
            setattr(cls, name, value)  # a property is left alone only in the class that holds it
    for listed in ("__jit_ignored_attributes__", "__jit_unused_properties__"):
        known = getattr(cls, listed, [])
        setattr(cls, listed, [*known, *(name for name in names if name not in known)])
