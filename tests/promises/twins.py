"""One fit of a host alone, one under SEAL at weight 0, one under SEAL as it comes; and how the first two must agree."""

from dataclasses import dataclass, field
from typing import Any

import lightning as L
import pytest
import torch

from seal_lightning import SealConfig, SealMixin, Skeleton
from seal_lightning.loss_nets import LossNet, MLPLossNet


def small(skeleton: Skeleton) -> LossNet:
    return MLPLossNet(skeleton, hidden=16, stages=1)


def config(**kwargs):
    return SealConfig(**({"loss_net": small} | kwargs))


def seal(host):
    return type(f"Seal{host.__name__}", (SealMixin, host), {"__module__": host.__module__})


class Trace(L.Callback):
    """What an onlooker sees of a training: counters, losses, learning rates and gradients, step by step."""

    def __init__(self):
        self.steps, self.gradients = [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        loss = outputs["loss"] if isinstance(outputs, dict) and "loss" in outputs else None
        rates = [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups]
        counters = (trainer.current_epoch, batch_idx, trainer.global_step)
        self.steps.append((*counters, None if loss is None else float(loss), tuple(rates)))

    def on_before_optimizer_step(self, trainer, module, optimizer):
        norms = [float(parameter.grad.norm()) for parameter in module.parameters() if parameter.grad is not None]
        self.gradients.append(norms)


@dataclass
class Run:
    """A model after training."""

    model: Any
    trainer: Any
    trace: Trace
    random_state: torch.Tensor
    extra: Any = field(default=None)


def train(make_trainer, cls, *, trainer=dict, batches=None, before=None, **kwargs):
    """Seed, make, fit; `trainer` and `batches` make options and loader anew, `before` runs ahead of the fit."""
    L.seed_everything(0, verbose=False)
    model, trace, options = cls(**kwargs), Trace(), trainer()
    fitting = make_trainer(**(options | {"callbacks": [trace, *options.get("callbacks", [])]}))
    extra = before(fitting, model) if before else None
    fitting.fit(model, (batches or cls.loader)())
    return Run(model, fitting, trace, torch.get_rng_state(), extra)


def tensors(value):
    """All tensors and numbers in nested containers, in order."""
    if isinstance(value, dict):
        return [leaf for key in value for leaf in tensors(value[key])]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in tensors(item)]
    return [value]


def same(left, right):
    """Whether nested containers hold the same, bit for bit."""
    pairs = [tensors(left), tensors(right)]
    if len(pairs[0]) != len(pairs[1]):
        return False
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(*pairs, strict=True))


def weights(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_same_training(plain, zero):
    """Nothing that the host or an onlooker can see differs."""
    assert plain.model.state_dict().keys() == zero.model.state_dict().keys()
    assert same(plain.model.state_dict(), zero.model.state_dict())
    assert repr(plain.trace.steps) == repr(zero.trace.steps)  # text, since NaN is not equal to NaN
    assert repr(plain.trace.gradients) == repr(zero.trace.gradients)
    assert torch.equal(plain.random_state, zero.random_state)
    states = [[optimizer.state_dict() for optimizer in run.trainer.optimizers] for run in (plain, zero)]
    assert same(*states)
    logged = {key: value for key, value in zero.trainer.callback_metrics.items() if not key.startswith("seal/")}
    assert plain.trainer.callback_metrics.keys() == logged.keys()
    assert same(dict(plain.trainer.callback_metrics), logged)
    assert plain.trainer.global_step == zero.trainer.global_step


def assert_energy_acts(plain, felt, ratio=0.1):
    """The loss-net trains, and its pull reaches the pose-net with the force that was asked for."""
    assert float(felt.model.seal.stats["force_ratio"]) == pytest.approx(ratio, abs=0.02)
    fresh = type(felt.model.seal)(felt.model.seal.skeleton, list(felt.model.seal.energies.values()))
    assert not same(list(fresh.loss_nets.parameters()), list(felt.model.seal.loss_nets.parameters()))
    assert not same(plain.model.state_dict(), felt.model.state_dict())


def twins(make_trainer, host, *, kwargs=None, **options):
    """Train the three, hold them against each other, return them."""
    kwargs = kwargs or {}
    plain = train(make_trainer, host, **options, **kwargs)
    zero = train(make_trainer, seal(host), seal=config(weight=0.0), **options, **kwargs)
    felt = train(make_trainer, seal(host), seal=config(), **options, **kwargs)
    assert len(plain.trace.steps) > 1
    assert_same_training(plain, zero)
    assert_energy_acts(plain, felt)
    return plain, zero, felt
