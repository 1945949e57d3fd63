"""Which joints count, and which samples have a truth: the masks of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from seal_lightning.training.reading.containers import tensors_in
from seal_lightning.training.reading.shapes import centre_frame

__all__ = ["find_mask"]

_OVERRIDE = "Override `seal_batch(self, batch, inputs, output)`"


def find_mask(name: str, batch: Any, shape: tuple[int, ...]) -> Tensor | None:
    """The mask of that name in a batch that is a mapping, or its centre frame; None where there is none.

    Raises:
        ValueError: If it is not bool, or of another shape.
    """
    mask = batch.get(name) if isinstance(batch, Mapping) else None
    if mask is None or (not isinstance(mask, Tensor) and next(tensors_in(mask), None) is not None):
        return None  # none, or a part of the batch that has this name, as one with the labelled samples
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        found = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(
            f"Expected `{name}` of the batch to be a bool tensor, but got {found}. {_OVERRIDE} if it means something "
            "else."
        )
    fitting = mask if mask.shape == shape else centre_frame(mask, shape)
    if fitting is None:
        raise ValueError(
            f"Expected `{name}` of the batch to be {shape} like the prediction, but got {tuple(mask.shape)}. "
            f"{_OVERRIDE}."
        )
    return fitting
