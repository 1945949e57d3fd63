"""What comes out of files that somebody else may have written: read without running what is in them."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from seal_lightning._version import __version__

__all__ = ["FORMAT", "check_entry", "read_entry"]

FORMAT = 1  # of the entry `seal` in a checkpoint: raised when an older version could not read a newer entry
# What an unpickler makes of bytes that were never pickled depends on the bytes.
_UNREADABLE = (
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
    except _UNREADABLE as error:
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


def check_entry(entry: Any, known: Collection[str]) -> None:
    """Warn of what a checkpoint's entry ``seal`` holds beyond the known keys.

    Raises:
        ValueError: If it is no entry, or one of a newer format. One without a format has the first.
    """
    form = entry.get("format", 1) if isinstance(entry, Mapping) else None
    if isinstance(form, int) and form > FORMAT:
        raise ValueError(
            f"Expected the checkpoint's `seal` entry to have format {FORMAT}, got {form}. It was written by "
            f"seal_lightning {entry.get('version', 'of a later version')}, and this is {__version__}: install "
            "that version or a later one, or take the entry `seal` out of the checkpoint to start the loss-nets anew."
        )
    if form != FORMAT or not isinstance(entry.get("criterion"), Mapping):
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
