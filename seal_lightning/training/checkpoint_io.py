"""Checkpoints that are whole or not there: `AtomicCheckpointIO`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.cloud_io import get_filesystem
from lightning.pytorch.plugins.io import TorchCheckpointIO

__all__ = ["AtomicCheckpointIO"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there when all of it is on the disk.

    Whatever ends the process or the machine, and whenever, a file under a checkpoint's name is a whole checkpoint: the
    new one, or the one that was there before. Lightning's own way writes into the directory for temporary files and
    moves from there, which on another file system means to copy: ended in the middle, it leaves half a file under the
    final name.

    What an ended process leaves behind is a hidden file, ``.<name>.part``, which the next checkpoint of that name
    overwrites. Places that are not local are left to Lightning.

    Example:
        >>> import lightning as L
        >>> trainer = L.Trainer(plugins=[AtomicCheckpointIO()], logger=False, enable_checkpointing=False)
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: What is to be saved.
            path: Name that it gets.
            storage_options: Must not be given, as in Lightning's own class.

        Raises:
            TypeError: If ``storage_options`` is given.
        """
        files = get_filesystem(path)
        if storage_options is not None or "file" not in files.protocol:
            return super().save_checkpoint(checkpoint, path, storage_options)
        final = Path(files._strip_protocol(str(path)))
        final.parent.mkdir(parents=True, exist_ok=True)
        part = final.with_name(f".{final.name}.part")
        try:
            with part.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, final)
        finally:
            part.unlink(missing_ok=True)  # of a save that failed
        _sync(final.parent)


def _sync(folder: Path) -> None:
    """Wait until the names in a folder are on the disk. Windows, which opens no folders, is left to itself."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
