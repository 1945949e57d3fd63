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
    from seal_lightning.training.subclass import seal_class

__all__ = ["AtomicCheckpointIO", "SealBatch", "SealConfig", "SealMixin", "seal_class"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AtomicCheckpointIO": "checkpoint_io",
        "SealBatch": "batch",
        "SealConfig": "config",
        "SealMixin": "mixin",
        "seal_class": "subclass",
    },
)
