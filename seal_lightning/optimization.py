"""The loss-nets' own optimization: optimizer, scheduler, clipping, averaging over processes, and their checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from seal_lightning import _distributed as ranks
from seal_lightning.config import SealConfig
from seal_lightning.criterion import SealLoss

__all__ = ["LossNetOptimization"]

_FORMAT = 1


class LossNetOptimization:
    """Trains the loss-nets of a criterion, outside of any trainer.

    Args:
        criterion: Holder of the loss-nets.
        config: Configuration of the SEAL training.

    Raises:
        ValueError: If frozen loss-nets do not fit the checkpoint they are taken from.
    """

    def __init__(self, criterion: SealLoss, config: SealConfig) -> None:
        self.criterion = criterion
        self.config = config
        self.trains = config.mode == "dynamic"
        self._optimizer: Optimizer | None = None
        self._scheduler: Any = None
        self._restored: dict[str, Any] = {}
        if config.checkpoint is not None:
            saved = torch.load(config.checkpoint, map_location="cpu", weights_only=True)
            self._load_criterion(saved.get("seal", {"format": _FORMAT, "criterion": saved}))
        if not self.trains:
            criterion.requires_grad_(False).eval()

    @property
    def optimizer(self) -> Optimizer:
        """One optimizer with a parameter group an energy; made when first asked for.

        By then the loss-nets are on their device and the processes know of each other.

        Raises:
            RuntimeError: In static mode, where there is none.
            TypeError: If the energies ask for optimizers of different classes.
        """
        if not self.trains:
            raise RuntimeError("Expected `mode='dynamic'`: frozen loss-nets have no optimizer.")
        return self.prepare()

    def prepare(self) -> Optimizer:
        """Before the first step: make the loss-nets equal on all processes, and the optimizer."""
        if self._optimizer is None:
            ranks.broadcast((*self.criterion.parameters(), *self.criterion.buffers()))
            self._optimizer = self._make_optimizer()
            if self.config.lr_scheduler is not None:
                self._scheduler = self.config.lr_scheduler(self._optimizer)
            if self._restored:
                self._optimizer.load_state_dict(self._restored["optimizer"])
                if self._scheduler is not None and self._restored["lr_scheduler"] is not None:
                    self._scheduler.load_state_dict(self._restored["lr_scheduler"])
                self._restored = {}
        return self._optimizer

    def step(self, ranking_loss: Tensor) -> None:
        """One update: zero_grad, backward, average over processes, clip, step."""
        optimizer = self.optimizer
        optimizer.zero_grad()
        ranking_loss.backward()  # type: ignore[no-untyped-call]
        parameters = list(self.criterion.parameters())
        ranks.average_gradients(parameters)
        if self.config.gradient_clip_val is not None:
            torch.nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip_val)
        optimizer.step()
        optimizer.zero_grad()

    def schedule(self) -> None:
        """Advance the learning-rate scheduler, if there is one."""
        if self._scheduler is not None:
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Loss-nets, running statistics, optimizer and scheduler, as plain data and tensors."""
        entry = {"format": _FORMAT, "criterion": self.criterion.state_dict(), **self._restored}
        if self._optimizer is not None:
            entry["optimizer"] = self._optimizer.state_dict()
            entry["lr_scheduler"] = None if self._scheduler is None else self._scheduler.state_dict()
        return entry

    def load_state_dict(self, entry: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: If the entry is of another format or describes other loss-nets.
        """
        self._load_criterion(entry)
        # The optimizer is made anew when it is next asked for, on the device that the loss-nets are on by then.
        self._optimizer = self._scheduler = None
        self._restored = {key: entry[key] for key in ("optimizer", "lr_scheduler") if key in entry}

    def _load_criterion(self, entry: Mapping[str, Any]) -> None:
        if entry["format"] != _FORMAT:
            raise ValueError(f"Expected the checkpoint's `seal` entry to have format {_FORMAT}, got {entry['format']}.")
        try:
            self.criterion.load_state_dict(entry["criterion"])
        except RuntimeError as error:
            raise ValueError(
                "Expected the checkpoint's loss-nets to be those that `seal` describes; pass the configuration of the "
                f"run that wrote it. {error}"
            ) from error

    def _make_optimizer(self) -> Optimizer:
        nets = self.criterion.loss_nets
        first, *others = [term.optimizer(nets[name].parameters()) for name, term in self.criterion.energies.items()]
        for other in others:
            if type(other) is not type(first):
                raise TypeError(
                    "Expected all energies to ask for optimizers of one class, but got "
                    f"{type(first).__name__} and {type(other).__name__}."
                )
            for group in other.param_groups:
                first.add_param_group(group)
        return first
