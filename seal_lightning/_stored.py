"""What comes out of files that somebody else may have written: read without running what is in them."""

from __future__ import annotations

import re
import struct
import sys
import warnings
from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

__all__ = ["FORMAT", "check_entry", "check_imports", "package_version", "read_entry"]

FORMAT = 1  # of the entry `seal` in a checkpoint: raised when an older version could not read a newer entry
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
# What an unpickler makes of bytes that were never pickled depends on the bytes.
_UNREADABLE = (
    *(UnpicklingError, struct.error, EOFError, OSError, RuntimeError, LookupError, ValueError, TypeError),
    *(AttributeError, AssertionError, ArithmeticError, MemoryError),
)
_NO_CODE = ("checkpoint", "name", "names", "skeleton")  # fields of `SealConfig.plain` whose texts are never imported


def package_version() -> str:
    """The installed version of this package; ``"unknown"`` where it is not installed."""
    try:
        return version("seal_lightning")
    except PackageNotFoundError:
        return "unknown"


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
            f"seal_lightning {entry.get('version', 'of a later version')}, and this is {package_version()}: install "
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
            f"The checkpoint's `seal` entry holds {more}, which seal_lightning {package_version()} does not know and "
            f"leaves out; seal_lightning {entry.get('version', 'of another version')} wrote it.",
            stacklevel=4,
        )


def check_imports(plain: Mapping[str, Any]) -> None:
    """Raise unless all that plain data from a checkpoint name by import path is imported already.

    To import a module is to run it, and a checkpoint from elsewhere could name any that lies on this machine.

    Raises:
        ValueError: If a module is not imported.
    """
    for text in _texts(plain):
        module, top = text.rpartition(".")[0], text.partition(".")[0]
        if not _DOTTED.fullmatch(text) or _is_imported(module):
            continue
        if top in sys.modules or find_spec(top) is not None:
            raise ValueError(
                f"Expected `seal` to be given anew, since the checkpoint names {text!r} and {module!r} is not imported."
                f" If you trust the checkpoint, `import {module}` first."
            )


def _is_imported(module: str) -> bool:
    """Whether a module is imported, or is a class in one that is."""
    parent, _, name = module.rpartition(".")
    return module in sys.modules or hasattr(sys.modules.get(parent), name)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key not in _NO_CODE:
                yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
