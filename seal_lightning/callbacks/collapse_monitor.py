"""Warns when an energy no longer teaches the pose-net anything."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from seal_lightning.objectives import NoObjective
from seal_lightning.training.mixin import SealMixin

__all__ = ["CollapseMonitor"]

# An objective is content when the energies of truth and negative differ by 1 (a margin in body lengths) to 10 (where
# the logistic loss is 5e-5), so energies that train well stay far below this.
_EXPLODED = 1000.0
# A window of 100 steps at batch 64 holds 6400 comparisons: tossed coins would be off one half by 0.006.
_GUESSING = 0.02
_PERFECT = 0.999

_ADVICE = {
    "exploded": (
        f"the mean energy of the predictions is beyond {_EXPLODED:g}. Nothing bounds it: give the energy a "
        "`gradient_penalty`, or lower the learning rate of its optimizer. Until then, `ForceRatio` as `weight` bounds "
        "its pull on the pose-net, which a float does not"
    ),
    "perfect": (
        f"the ranking accuracy has stayed above {_PERFECT}. An energy without a `gradient_penalty` learns nothing more "
        "from ranking and only becomes steeper: add harder `negatives`, or a `gradient_penalty`"
    ),
    "guessing": (
        f"the ranking accuracy has stayed within {_GUESSING} of 0.5. The loss-nets cannot tell truths from negatives: "
        "raise the learning rate of their optimizer, or check that keypoints, prediction and target belong together; "
        "if the predictions have become as plausible as truths, SEAL has done its work"
    ),
}


class CollapseMonitor(Callback):
    """Warns, once per sign, when the energies show one of three signs that they no longer teach the pose-net anything.

    - They explode: the mean energy of the predictions over a window is beyond 1000, or not finite.
    - They rank perfectly: the ranking accuracy is above 0.999 in `patience` windows in a row, and at least one energy
      has no gradient penalty. Such an energy only becomes steeper. With a penalty, as the default energy has, ranking
      perfectly is no bad sign.
    - They guess: the ranking accuracy is within 0.02 of 0.5 in as many windows.

    How many of the three hold is logged once per window as ``seal/collapsed``. Values are read from the device only
    then, because each read makes the training wait for it. A model without SEAL is left alone.

    Args:
        window: Number of steps that are averaged.
        patience: Number of windows in a row in which a sign has to hold.

    Raises:
        ValueError: If a number is not positive.

    Example:
        >>> import lightning as L
        >>> trainer = L.Trainer(callbacks=[CollapseMonitor()], logger=False, enable_checkpointing=False)
    """

    def __init__(self, window: int = 100, patience: int = 10) -> None:
        for name, value in (("window", window), ("patience", patience)):
            if value < 1:
                raise ValueError(f"Expected `{name}` to be 1 or more, but got {value}.")
        self.window = window
        self.patience = patience
        self._seen: list[Tensor] = []
        self._windows = {"perfect": 0, "guessing": 0}
        self._warned: set[str] = set()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Record a step, and look for the signs when a window is full."""
        if not isinstance(pl_module, SealMixin) or "energy" not in pl_module.seal.stats:
            return
        stats = pl_module.seal.stats
        accuracy = stats.get("ranking_accuracy", torch.full_like(stats["energy"], torch.nan))
        self._seen.append(torch.stack([stats["energy"], accuracy]))
        if len(self._seen) < self.window:
            return
        energy, accuracy_mean = torch.stack(self._seen).mean(0).tolist()
        self._seen = []
        terms = [term for term in pl_module.seal.energies.values() if not isinstance(term.objective, NoObjective)]
        signs = {
            "exploded": not abs(energy) <= _EXPLODED,  # written so that NaN counts as exploded
            "perfect": self._lasts("perfect", accuracy_mean > _PERFECT and not all(t.gradient_penalty for t in terms)),
            "guessing": self._lasts("guessing", abs(accuracy_mean - 0.5) < _GUESSING and len(terms) > 0),
        }
        if not trainer.barebones:
            pl_module.log("seal/collapsed", float(sum(signs.values())))
        for name, holds in signs.items():
            if holds and name not in self._warned and trainer.is_global_zero:
                self._warned.add(name)
                warnings.warn(f"Step {trainer.global_step}: {_ADVICE[name]}.", stacklevel=2)

    def _lasts(self, name: str, holds: bool) -> bool:
        """Whether a sign has now held for `patience` windows in a row."""
        self._windows[name] = self._windows[name] + 1 if holds else 0
        return self._windows[name] >= self.patience
