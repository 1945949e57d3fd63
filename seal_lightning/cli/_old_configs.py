"""Configs that an earlier version saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml  # type: ignore[import-untyped]

from seal_lightning.training.stored import without_removed

__all__ = ["as_of_now"]


def as_of_now(content: str) -> str:
    """The text of a config, without settings of SEAL that are no longer there and were not in use.

    Raises:
        ValueError: If such a setting was in use.
    """
    try:
        loaded = yaml.safe_load(content)
    except yaml.YAMLError:
        return content  # which the parser then complains of
    current = _visited(loaded)
    return content if current == loaded else yaml.safe_dump(current, sort_keys=False)


def _visited(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: _settings(item) if name == "seal" else _visited(item) for name, item in value.items()}


def _settings(value: Any) -> Any:
    """The settings of SEAL, or of one of their energies, which may be written as a class path and its arguments."""
    if not isinstance(value, Mapping):
        return value
    if "class_path" in value:
        return {**value, "init_args": _settings(value.get("init_args"))}
    current = without_removed(value)
    if isinstance(current.get("energies"), list):
        current["energies"] = [_settings(term) for term in current["energies"]]
    return current
