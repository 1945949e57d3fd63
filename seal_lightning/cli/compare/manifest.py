"""The manifest of a comparison: all that its results depend on, so that it is only ever continued as it was begun."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import CombinedLoader
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

__all__ = ["check_same", "digest", "digest_of_data", "digest_of_file"]

_BATCHES = 4  # of every loader
# What may differ in a comparison that goes on: it changes no number.
_FREE = ("output", "resume", "report", "trainer.logger", "trainer.enable_progress_bar", "trainer.enable_model_summary")


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], directory: Path) -> None:
    """Check that a comparison is about to go on as it was begun.

    Args:
        before: The manifest in the directory.
        now: What it would be if the comparison began now.
        directory: Where the results are.

    Raises:
        ValueError: If the two differ; the message names every entry that does, up to ten of them.
    """
    old, new = dict(_flat(before)), dict(_flat(now))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    changed = [f"`{name}` was {_short(old.get(name))} and is {_short(new.get(name))}" for name in names[:10]]
    if changed:
        more = f", and {len(names) - 10} more" if len(names) > 10 else ""
        raise ValueError(
            f"Expected the comparison in {directory} to go on as it was begun, but {'; '.join(changed)}{more}. "
            "Ask for the same again, or begin a new comparison without `--resume`."
        )


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    short = name.removeprefix("config.")
    if short in _FREE or (short == "config" and name == "config.config"):
        return
    if isinstance(value, Mapping) and (value or not name):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    else:
        yield short, value


def _short(value: Any) -> str:
    said = json.dumps(value)
    return said if len(said) <= 60 else f"{said[:57]}..."


def digest_of_data(datamodule: Any) -> dict[str, str]:
    """Digests of the first batches of every loader that a datamodule has, and how many batches each has.

    Args:
        datamodule: A datamodule that is attached to a trainer.
    """
    datamodule.prepare_data()
    found = {}
    for stage, names in {"fit": ("train", "val"), "test": ("test",)}.items():
        hooks = [f"{name}_dataloader" for name in names if is_overridden(f"{name}_dataloader", datamodule)]
        if hooks:
            datamodule.setup(stage)
        for hook in hooks:
            loader = CombinedLoader(getattr(datamodule, hook)(), "sequential")  # there may be several
            first = [batch for batch, *_ in islice(iter(loader), _BATCHES)]
            found[hook.removesuffix("_dataloader")] = f"{digest(first)} ({_count(loader)} batches)"
    return found


def _count(loader: CombinedLoader) -> str:
    try:
        return str(len(loader))
    except (TypeError, NotImplementedError):  # nobody knows how long a stream is
        return "?"


def digest_of_file(path: str | Path) -> str:
    """Digest of what is in a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def digest(value: Any) -> str:
    """Digest of the tensors in nested containers, bit for bit, with their shapes and names."""
    found = hashlib.sha256()
    for name, tensor in _tensors(value):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        found.update(plain.view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def _tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tensors(item, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _tensors(item, f"{name}.{index}")
