"""What the data modules that train have in common: their options, and loaders of whole batches."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from seal_lightning._values import is_number, is_whole

__all__ = ["FROM_MM", "batch_loader", "check_options", "place_of"]

FROM_MM = {"m": 1e-3, "mm": 1.0}
"""Factor from millimetres to a unit of the targets."""


def check_options(
    *, unit: Any, frames: Any, centre_target: Any, rate: Any, seed: Any, num_workers: Any, **counts: Any
) -> None:
    """Raise a ValueError that names the first of these options that is out of its range; counts may be None."""
    if unit not in FROM_MM:
        raise ValueError(f"Expected `unit` to be 'm' or 'mm', but got {unit!r}.")
    for name, count in {"frames": frames, **counts}.items():
        if (count is not None or name == "frames") and (not is_whole(count) or count < 1):
            raise ValueError(f"Expected `{name}` to be 1 or more, but got {count!r}.")
    if centre_target and frames == 1:
        raise ValueError("Expected `frames` above 1 with `centre_target`, but got 1.")
    if rate is not None and (not is_number(rate) or not 0.0 < rate < math.inf):
        raise ValueError(f"Expected `rate` to be positive, but got {rate!r}.")
    for name, least in (("seed", seed), ("num_workers", num_workers)):
        if not is_whole(least) or least < 0:
            raise ValueError(f"Expected `{name}` to be 0 or more, but got {least!r}.")


def place_of(trainer: Any) -> dict[str, int]:
    """Number of ranks and this rank, as samplers want them; one rank where there is no trainer."""
    if trainer is None:
        return {"num_replicas": 1, "rank": 0}
    return {"num_replicas": trainer.world_size, "rank": trainer.global_rank}


def batch_loader(
    dataset: Dataset[dict[str, Tensor]],
    batch_size: int,
    num_workers: int,
    sampler: DistributedSampler[int] | None = None,
    *,
    drop_last: bool = False,
) -> DataLoader[dict[str, Tensor]]:
    """Loader of a dataset that builds batches itself."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=drop_last,
        collate_fn=_as_built,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        # Without one, making an iterator would take a number from the global generator.
        generator=torch.Generator(),
    )


def _as_built(batch: Any) -> Any:
    """Collate nothing: the dataset has built the batch already."""
    return batch
