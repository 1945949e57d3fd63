"""Says at the start of a training what SEAL does in it."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from seal_lightning.loss.forces import ForceRatio
from seal_lightning.loss.terms import EnergyTerm
from seal_lightning.training.mixin import SealMixin

__all__ = ["SealSummary"]

# Steps with SEAL in plain steps: figures of docs/performance.md, of alternating updates in SimpleBaseline at batch 256.
_MEASURED = {
    "StructureLossNet": "1.12 times as long beside a model of 4.3 M parameters, 1.99 times beside one of 0.3 M, more "
    "beside a smaller one",
    "GraphLossNet": "1.82 times as long at the size 64 x 2, 22.55 times at the published size, beside a model of 4.3 M "
    "parameters",
    "MLPLossNet": "3.16 times as long at the published size, beside a model of 4.3 M parameters",
}


class SealSummary(Callback):
    """Prints once, after the first training step, which loss-nets there are, how hard they pull, and what that costs.

    What SEAL reads of a step, it has said by itself in the line before. ``seal-lightning fit`` has this callback. A
    model without SEAL is left alone.

    Example:
        >>> import lightning as L
        >>> trainer = L.Trainer(callbacks=[SealSummary()], logger=False, enable_checkpointing=False)
    """

    def __init__(self) -> None:
        self._said = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew: a trainer may fit several models."""
        self._said = False

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Print the summary as soon as the first step was read."""
        if self._said or not isinstance(pl_module, SealMixin) or pl_module.seal_reading is None:
            return
        self._said = True
        pl_module.print("\n".join(_lines(pl_module)))  # on the first process alone, and past a progress bar


def _lines(model: Any) -> list[str]:
    config = model._seal_config
    names = {name: type(net).__name__ for name, net in model.seal.loss_nets.items()}
    sizes = {name: sum(one.numel() for one in net.parameters()) for name, net in model.seal.loss_nets.items()}
    kind = "frozen loss-net" if config.mode == "static" else "loss-net"
    lines = [f"SEAL has: {kind} {names[name]}, {sizes[name]:,} parameters" for name in names]
    # What the warm-up still holds back: the first draw was the loss-nets' initialisation.
    left = config.warmup_steps - (model.seal.draws - 1)
    start = f"after {config.warmup_steps:g} updates of the loss-nets (warm-up)" if left > 0 else "from now on"
    often = "" if config.every_n_steps == 1 else f", in one of {config.every_n_steps} updates of the model"
    lines += [f"SEAL pulls: {_strength(term)}, {start}{often}" for term in model.seal.energies.values()]
    for name in dict.fromkeys(names.values()):
        if (measured := _MEASURED.get(name)) is None:
            lines.append(f"SEAL costs: not measured for {name}")
        else:
            lines.append(f"SEAL costs: a step takes {measured} (measured on a CPU, batch 256)")
    return lines


def _strength(term: EnergyTerm) -> str:
    if not term.pulls:
        return "not at all, since the weight is 0"
    if isinstance(term.weight, ForceRatio):
        return f"{term.weight.ratio:g} times as hard as the model's own loss (ForceRatio)"
    return f"by the gradient of {term.weight:g} times the energy (fixed weight)"
