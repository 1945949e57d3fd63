"""Where SEAL reads what Lightning keeps to itself: trainer, strategy, and who defines a step."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = [
    "check_bases",
    "check_strategy",
    "class_call",
    "defines_step",
    "hands_back",
    "hide_from_torchscript",
    "in_swa_update",
    "loss_factor",
    "step_key",
    "tell",
    "trainer_of",
    "update_index",
]


_LOG = logging.getLogger(__name__)
_LIGHTNING = ("lightning.pytorch.", "pytorch_lightning.")
_REFUSED = {"FSDPStrategy": "FSDP", "DeepSpeedStrategy": "DeepSpeed"}


def defines_step(cls: type, name: str) -> bool:
    """Whether a class defines this step itself, beyond what Lightning's own base class has."""
    owner = next((base for base in cls.__mro__ if name in vars(base)), None)
    return owner is not None and not f"{owner.__module__}.".startswith(_LIGHTNING)


def trainer_of(module: Any) -> Any:
    """The trainer a module is attached to, or None."""
    return getattr(module, "_trainer", None)


def update_index(module: Any) -> int | None:
    """How many updates of the host came before this step; None where the trainer does not know what an update is."""
    trainer = trainer_of(module)
    return None if trainer is None or not module.automatic_optimization else int(trainer.global_step)


def loss_factor(module: Any, loss: Tensor) -> Tensor | None:
    """What a gradient scaler, and accumulation with it, multiply the host's loss with; None without a scaler."""
    trainer = trainer_of(module)
    scaler = getattr(getattr(trainer, "precision_plugin", None), "scaler", None)
    if scaler is None:
        return None
    factor: Tensor = scaler.scale(torch.ones((), device=loss.device))
    return factor / trainer.accumulate_grad_batches if module.automatic_optimization else factor


def tell(module: Any, line: str) -> None:
    """Log a line, and print it as the progress bar does, once for all processes."""
    trainer = trainer_of(module)
    if trainer is None or trainer.is_global_zero:
        _LOG.info(line)
    if trainer is not None and trainer.state.fn == "fit":
        module.print(line)


def in_swa_update(module: Any) -> bool:
    """Whether the trainer passes over the data only to refresh batch-norm statistics."""
    trainer = trainer_of(module)
    return trainer is not None and trainer.fit_loop._skip_backward


def hands_back(module: Any) -> bool:
    """Whether this is a spawned or forked process after its fit, of which the module's `state_dict` alone returns."""
    trainer = trainer_of(module)
    launcher = getattr(getattr(trainer, "strategy", None), "launcher", None)
    # The process that started the others has this launcher, too, but no part in their group.
    started = hasattr(launcher, "_start_method") and dist.is_available() and dist.is_initialized()
    return started and trainer.state.fn == "fit" and trainer.state.finished


def check_strategy(module: Any) -> None:
    """Raise a `TypeError` under a strategy whose own hooks on the backward pass SEAL would set off too early."""
    trainer = trainer_of(module)
    if trainer is None or trainer.state.fn != "fit":
        return
    strategy = type(trainer.strategy)
    for base in strategy.__mro__:
        if base.__name__ in _REFUSED:
            raise TypeError(
                f"Expected the trainer's `strategy` to be one that SEAL trains under, but got {strategy.__name__}: "
                f"{_REFUSED[base.__name__]} hooks the backward pass, ahead of which SEAL takes the gradient at the "
                "prediction. Use `strategy='ddp'`; for a host too large for one device, "
                "`ModelParallelStrategy(data_parallel_size=..., tensor_parallel_size=1)` with "
                "`torch.distributed.fsdp.fully_shard` in the host's `configure_model`."
            )


def step_key(module: Any) -> tuple[int, int, int] | None:
    """Trainer, epoch and batch; the same key twice is the same step, evaluated again by the optimizer's closure."""
    trainer = trainer_of(module)
    return None if trainer is None else (id(trainer), trainer.current_epoch, trainer.fit_loop.batch_idx)


def check_bases(cls: type, mixin: type, ours: tuple[str, ...]) -> None:
    """Raise a `TypeError` unless the mixin comes first and the host leaves its names alone."""
    before = cls.__mro__[: cls.__mro__.index(mixin)]
    hosts = cls.__mro__[len(before) + 1 :]
    wrong = [base for base in before if not issubclass(base, mixin) and "training_step" in vars(base)]
    if wrong:
        raise TypeError(
            f"Expected {mixin.__name__} before the host, but {wrong[0].__name__} comes first; write "
            f"`class {cls.__name__}({mixin.__name__}, {wrong[0].__name__})`."
        )
    for base in hosts:
        names = [name for name in vars(base) if name in ours or name.startswith("_seal")]
        init = vars(base).get("__init__")
        if inspect.isfunction(init) and "seal" in inspect.signature(init).parameters:
            names.append("seal")
        if names:
            raise TypeError(
                f"Expected the host not to use the mixin's names, but {base.__name__} defines {sorted(names)}."
            )


class class_call:  # noqa: N801 - a decorator, like `classmethod`
    """A classmethod of the mixin that goes before the host's; called on an instance, the host's own is what answers.

    Lightning refuses `model.load_from_checkpoint(...)`, but not where TorchScript looks at the method.
    """

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method
        self.__doc__ = method.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner, self.name = owner, name

    def __get__(self, instance: Any, cls: type) -> Callable[..., Any]:
        if instance is not None:
            theirs: Callable[..., Any] = getattr(super(self.owner, instance), self.name)
            return theirs
        return MethodType(self.method, cls)


def hide_from_torchscript(cls: type, names: Sequence[str]) -> None:
    """Tell TorchScript to leave attributes and properties of a module class alone."""
    for name in names:
        value = getattr(cls, name, None)
        if isinstance(value, property) and name not in vars(cls):
            setattr(cls, name, value)  # a property is left alone only in the class that holds it
    for listed in ("__jit_ignored_attributes__", "__jit_unused_properties__"):
        known = getattr(cls, listed, [])
        setattr(cls, listed, [*known, *(name for name in names if name not in known)])
