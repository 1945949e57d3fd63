"""How a host is trained with SEAL: reading its step, the loss-nets' optimizer, checkpoints.

`SealMixin`, `SealConfig` and `SealBatch` are handed on by `seal_lightning` itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seal_lightning._lazy import lazy_names

if TYPE_CHECKING:
    from seal_lightning.training.batch import SealBatch
    from seal_lightning.training.checkpoint_io import AtomicCheckpointIO
    from seal_lightning.training.config import SealConfig
    from seal_lightning.training.mixin import SealMixin
    from seal_lightning.training.observed import Observed, StepObserver, flip_averaged
    from seal_lightning.training.subclass import seal_class

__all__ = [
    "AtomicCheckpointIO",
    "Observed",
    "SealBatch",
    "SealConfig",
    "SealMixin",
    "StepObserver",
    "flip_averaged",
    "seal_class",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AtomicCheckpointIO": "checkpoint_io",
        "Observed": "observed",
        "SealBatch": "batch",
        "SealConfig": "config",
        "SealMixin": "mixin",
        "StepObserver": "observed",
        "flip_averaged": "observed",
        "seal_class": "subclass",
    },
)
