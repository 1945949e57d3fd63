"""The rivals of SEAL in a comparison: hand-written losses and random bone lengths, each with trainings of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from seal_lightning.constraints import (
    BoneLengthConstraint,
    Constraint,
    PosePCAConstraint,
    SymmetryConstraint,
    constrain,
)
from seal_lightning.data import BoneAugmentation
from seal_lightning.training.batch import SealBatch

if TYPE_CHECKING:
    from seal_lightning.cli.compare.command import CompareCLI
    from seal_lightning.cli.compare.methods import Method
    from seal_lightning.cli.compare.store import Store

__all__ = ["PoseCollector", "add_loss", "augment"]

_LOSSES = {"symmetry": SymmetryConstraint, "bone_length": BoneLengthConstraint}
_POSES = 5000  # true poses that are enough for principal components


def add_loss(cli: CompareCLI, store: Store, method: Method, seed: int) -> None:
    """Add the loss of a rival to the loss of the host that was built; a rival without one leaves it alone.

    Args:
        cli: Has the host.
        store: Where the true poses are that the first training of the seed has seen.
        method: The method.
        seed: The seed.
    """
    skeleton = cli.skeleton
    if method.rival in _LOSSES:
        constraint: Constraint = _LOSSES[method.rival](skeleton)
    elif method.rival == "pose_pca":
        constraint = PosePCAConstraint.fit(skeleton, store.true_poses(cli.methods[0], seed))
    else:
        return
    constrain(cli.model, constraint, cli.asked.rival_weight)


def augment(data: Any) -> None:
    """Have the parsed section `data` draw random bone lengths in training.

    Raises:
        ValueError: If its datamodule cannot, or does so anyway.
    """
    arguments: Any = data.get("init_args") or {}
    if "augmentation" not in arguments or arguments.augmentation is not None:
        found = "it has none" if "augmentation" not in arguments else f"got {arguments.augmentation}"
        raise ValueError(
            "Expected a datamodule with an argument `augmentation` that is None, such as MocapDataModule, for the "
            f"rival `augmentation`, but {found}: leave it out of `rivals`."
        )
    arguments.augmentation = Namespace(vars(BoneAugmentation()))  # type: ignore[no-untyped-call]


class PoseCollector(Callback):
    """Keeps the first true poses that SEAL sees in training, those that are labelled and wholly visible."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []

    @property
    def poses(self) -> Tensor:
        """The poses (N, J, 3)."""
        return torch.cat(self._parts)[:_POSES] if self._parts else torch.zeros(0)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Add those of this step, as long as there are too few."""
        read = pl_module._seal_last
        if sum(map(len, self._parts)) >= _POSES or not isinstance(read, SealBatch) or read.target is None:
            return
        target = read.target.detach()
        kept = target.isfinite().all(-1).all(-1)
        if read.visibility is not None:
            kept = kept & read.visibility.bool().all(-1)
        if read.labelled is not None:
            kept = kept & read.labelled.view(-1, *[1] * (kept.dim() - 1))
        self._parts.append(target[kept].cpu())
