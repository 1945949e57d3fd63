"""What comes out of files that somebody else may have written: read without running what is in them."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from pickle import UnpicklingError
from reprlib import Repr
from typing import Any

import torch

from seal_lightning._version import __version__

__all__ = ["FORMAT", "UNREADABLE", "check_entry", "differences", "read_entry", "settings_in", "without_removed"]

# Of the entry `seal` in a checkpoint, raised when an older version could not read a newer entry. All formats are read.
# In format 1 the settings lie among the host's hyperparameters, in format 2 in the entry.
FORMAT = 2
_REMOVED = {"temporal": "TemporalPairs are no longer there: a `ClipLossNet` sees how the clip moves, and does better."}
_BRIEF = Repr()  # of settings in a file, which may be of any depth
_BRIEF.maxstring, _BRIEF.maxdict = 80, 10
# What an unpickler makes of bytes that were never pickled depends on the bytes.
UNREADABLE = (
    *(UnpicklingError, struct.error, EOFError, OSError, RuntimeError, LookupError, ValueError, TypeError),
    *(AttributeError, AssertionError, ArithmeticError, MemoryError),
)


def read_entry(path: str) -> Mapping[str, Any]:
    """Read the entry ``seal`` of a checkpoint, or make one of a saved ``SealLoss.state_dict()``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint, holds more than tensors and plain data, or holds no SEAL state.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"Expected `checkpoint` to be the path of a file, but there is none at {path!r}.")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it asks for {named[1]}" if named else "it cannot be read"
        raise ValueError(
            f"Expected `checkpoint` to be a file of tensors and plain data, but got {path!r}: {reason}. Nothing in it "
            "was run. If it is yours, save the `state_dict()` of the SealLoss anew; if not, do not trust it."
        ) from error
    if isinstance(saved, Mapping) and "seal" in saved:
        entry: Mapping[str, Any] = saved["seal"]
        return entry
    if not isinstance(saved, Mapping) or "state_dict" in saved:
        raise ValueError(
            f"Expected `checkpoint` to hold a SEAL run or the `state_dict()` of a SealLoss, but {path!r} has no entry "
            "`seal`. A plain host's checkpoint has none: train with SEAL first, or leave `checkpoint` out."
        )
    return {"format": FORMAT, "criterion": saved}


def settings_in(checkpoint: Mapping[str, Any], arguments: Mapping[Any, Any]) -> Any:
    """Return SEAL's settings, as they were written into a checkpoint, or None where there are none.

    Args:
        checkpoint: The checkpoint.
        arguments: The host's stored arguments, among which format 1 has SEAL's.

    Raises:
        ValueError: If the entry is of a newer format.
    """
    entry = checkpoint.get("seal")
    if not isinstance(entry, Mapping):
        return arguments.get("seal")
    _check_format(entry)
    return entry.get("settings", arguments.get("seal"))


def without_removed(plain: Mapping[Any, Any]) -> dict[Any, Any]:
    """What an earlier version wrote of a `SealConfig` or `EnergyTerm`, without fields that are no longer there.

    Raises:
        ValueError: If such a field was in use.
    """
    for name, remedy in _REMOVED.items():
        if plain.get(name) is not None:
            raise ValueError(f"Expected no `{name}`, but got {plain[name]!r}. {remedy}")
    return {name: value for name, value in plain.items() if name not in _REMOVED}


def check_entry(entry: Any, known: Collection[str]) -> None:
    """Warn of what a checkpoint's entry ``seal`` holds beyond the known keys.

    Raises:
        ValueError: If it is no entry, or one of a newer format. One without a format has the first.
    """
    form = _check_format(entry) if isinstance(entry, Mapping) else None
    if form not in range(1, FORMAT + 1) or not isinstance(entry.get("criterion"), Mapping):
        found = sorted(map(str, entry)) if isinstance(entry, Mapping) else type(entry).__name__
        raise ValueError(
            f"Expected the checkpoint's `seal` entry to be that of SEAL, with `format` and `criterion`, not {found}."
            " If something else wrote it, take it out of the checkpoint to start the loss-nets anew."
        )
    if more := sorted({str(key) for key in entry} - {"format", "version", *known}):
        warnings.warn(
            f"The checkpoint's `seal` entry holds {more}, which seal_lightning {__version__} does not know and "
            f"leaves out; seal_lightning {entry.get('version', 'of another version')} wrote it.",
            stacklevel=4,
        )


def differences(asked: Any, stored: Any) -> str:
    """Say in which of their settings a configuration and a checkpoint differ; nothing where that is not known."""
    if not isinstance(asked, Mapping) or not isinstance(stored, Mapping):
        return ""
    names = sorted(name for name in {*asked, *stored} if asked.get(name) != stored.get(name))
    told = [f"`{name}` is {_BRIEF.repr(asked.get(name))} and was {_BRIEF.repr(stored.get(name))}" for name in names]
    return f" ({', '.join(told)})" if told else ""


def _check_format(entry: Mapping[str, Any]) -> Any:
    form = entry.get("format", 1)
    if isinstance(form, int) and form > FORMAT:
        raise ValueError(
            f"Expected the checkpoint's `seal` entry to have format {FORMAT} or less, got {form}. It was written by "
            f"seal_lightning {entry.get('version', 'of a later version')}, and this is {__version__}: install "
            "that version or a later one, or take the entry `seal` out of the checkpoint to start the loss-nets anew."
        )
    return form
