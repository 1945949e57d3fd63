"""Random numbers of SEAL's own, so that those of the host stay what they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from seal_lightning import _distributed as ranks

__all__ = ["own_random_numbers"]


@contextmanager
def own_random_numbers(seed: int, draw: int, device: torch.device) -> Iterator[torch.Generator]:
    """Put a fresh stream of random numbers in force, and the global ones back afterwards.

    The stream is a function of the seed, the process and the number of the draw alone: three integers in a checkpoint
    restore it exactly on every process. It serves the generator handed out and the global state, which dropout uses.
    Meanwhile float32 is the default dtype, as SEAL computes in it; a trainer of another true precision changes that.
    """
    state = int(np.random.SeedSequence((seed, ranks.rank(), draw)).generate_state(1)[0])
    cuda = [device] if device.type == "cuda" else []
    default = torch.get_default_dtype()
    with torch.random.fork_rng(cuda):
        torch.default_generator.manual_seed(state)
        if cuda:
            torch.cuda.manual_seed(state)
        torch.set_default_dtype(torch.float32)
        try:
            yield torch.Generator().manual_seed(state)
        finally:
            torch.set_default_dtype(default)
