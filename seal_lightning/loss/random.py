"""A random stream of SEAL's own, so that the host draws the same random numbers as without SEAL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch

from seal_lightning import _distributed as ranks

__all__ = ["handed_out", "own_random_numbers", "seed_of"]

_HANDED_OUT: ContextVar[bool] = ContextVar("handed_out", default=False)


@contextmanager
def handed_out() -> Iterator[None]:
    """Inside the block somebody else answers whoever draws from SEAL's stream, and no random state is touched."""
    token = _HANDED_OUT.set(True)
    try:
        yield
    finally:
        _HANDED_OUT.reset(token)


def seed_of(seed: int, draw: int, *, same_on_all_ranks: bool = False) -> int:
    """Seed of the stream of random numbers of one draw, as `own_random_numbers` describes it."""
    rank = 0 if same_on_all_ranks else ranks.rank()
    return int(np.random.SeedSequence((seed, rank, draw)).generate_state(1)[0])


@contextmanager
def own_random_numbers(
    seed: int, draw: int, device: torch.device, *, same_on_all_ranks: bool = False
) -> Iterator[torch.Generator]:
    """Use SEAL's own random stream inside the block; restore the global random state on exit.

    The stream depends on the seed, the rank and the number of the draw alone, so the seed and that number, stored in a
    checkpoint, restore it exactly on every rank. Inside the block, float32 is the default dtype: SEAL computes in
    float32, and a trainer of another true precision changes the default.

    Args:
        seed: Seed of the criterion.
        draw: Number of the draw: 0 for the initialisation of the loss-nets, then one a step.
        device: Device whose global random state is used beside that of the CPU, by dropout for example.
        same_on_all_ranks: Whether every rank gets the stream of the first one.

    Yields:
        A generator on the CPU. The global random states start from the same seed as it does.
    """
    default = torch.get_default_dtype()
    if _HANDED_OUT.get():
        torch.set_default_dtype(torch.float32)
        try:
            yield torch.Generator()
        finally:
            torch.set_default_dtype(default)
        return
    state = seed_of(seed, draw, same_on_all_ranks=same_on_all_ranks)
    with torch.random.fork_rng([device]) if device.type == "cuda" else _kept_on_the_cpu():
        torch.default_generator.manual_seed(state)
        if device.type == "cuda":
            with torch.cuda.device(device):  # `manual_seed` seeds the current device, whose state may be the host's
                torch.cuda.manual_seed(state)
        torch.set_default_dtype(torch.float32)
        try:
            yield torch.Generator().manual_seed(state)
        finally:
            torch.set_default_dtype(default)


@contextmanager
def _kept_on_the_cpu() -> Iterator[None]:
    """Restore the CPU's random state on exit, at a fraction of what `torch.random.fork_rng` takes."""
    before = torch.default_generator.get_state()
    try:
        yield
    finally:
        torch.default_generator.set_state(before)
