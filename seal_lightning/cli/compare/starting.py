"""The weights that all trainings of a comparison start from, where a checkpoint of the host is given."""

from __future__ import annotations

from typing import Any

from seal_lightning.training.reload import stored_checkpoint
from seal_lightning.training.stored import UNREADABLE

__all__ = ["load_host_weights"]


def load_host_weights(model: Any, path: str) -> None:
    """Load the host's weights from a checkpoint; its optimizer and its loss-nets, if any, stay in the file.

    Args:
        model: The host or its SEAL subclass.
        path: The checkpoint.

    Raises:
        ValueError: If the file is no checkpoint of this host.
    """
    try:
        checkpoint = stored_checkpoint(path, weights_only=True)
    except UNREADABLE as error:
        raise ValueError(
            f"Expected `host_checkpoint` to be a Lightning checkpoint, but got {path!r}: {error}"
        ) from error
    state = checkpoint.get("state_dict")
    if not isinstance(state, dict):
        raise ValueError(f"Expected `host_checkpoint` to be a Lightning checkpoint, but {path!r} has no `state_dict`.")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:  # which names the keys and shapes that do not fit
        raise ValueError(
            f"Expected `host_checkpoint` to hold the weights of this model, but got {path!r}: {error}"
        ) from error
