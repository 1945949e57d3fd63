"""The loss-nets' own optimization: optimizer, scheduler, clipping, averaging over ranks, and their checkpoint."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from seal_lightning import _distributed as ranks
from seal_lightning._values import is_whole
from seal_lightning._version import __version__
from seal_lightning.loss.criterion import SealLoss
from seal_lightning.training._fused import as_made, fuse
from seal_lightning.training._graph import GraphedStep
from seal_lightning.training._guard import Guard
from seal_lightning.training.config import SealConfig
from seal_lightning.training.reading.containers import tensors_in
from seal_lightning.training.stored import FORMAT, check_entry, differences, read_entry

__all__ = ["LossNetOptimization"]

_PARTS = ("optimizer", "lr_scheduler")


class LossNetOptimization:
    """Trains the loss-nets of a criterion, outside of any trainer.

    Args:
        criterion: Holder of the loss-nets.
        config: Configuration of the SEAL training.
        read: Whether the file at ``checkpoint`` is read; otherwise `load_state_dict` is to follow.

    Raises:
        FileNotFoundError: If there is no file at ``checkpoint``.
        ValueError: If the checkpoint cannot be read, or holds other loss-nets.
    """

    def __init__(self, criterion: SealLoss, config: SealConfig, *, read: bool = True) -> None:
        self.criterion = criterion
        self.config = config
        self.trains = config.mode == "dynamic"
        self.guard = Guard(config.max_skipped_updates)
        self.graphed = GraphedStep() if config.cuda_graph else None
        self.reads = True  # whether this process has poses to learn from; where none has, no step is due
        self._optimizer: Optimizer | None = None
        self._fused = False
        self._steps = 0  # of a host whose trainer does not count its updates
        self._scheduler: Any = None
        self._restored: dict[str, Any] = {}
        self.awaited = not read and config.checkpoint is not None
        if read:
            self.warm_start()
        if not self.trains:
            criterion.requires_grad_(False).eval()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the tensors out of memory that spawned processes share; Lightning does so for modules alone."""
        vars(self).update(state)
        optimizer = None if self._optimizer is None else self._optimizer.state
        ranks.unshare(
            (*self.criterion.parameters(), *self.criterion.buffers(), *tensors_in((optimizer, self._restored)))
        )

    def warm_start(self) -> None:
        """Take the loss-nets from the file at ``checkpoint``, where the configuration names one."""
        if self.config.checkpoint is not None:
            self._load_criterion(read_entry(str(self.config.checkpoint)))
            if broken := self._not_finite():
                raise ValueError(
                    f"Expected `checkpoint` to hold loss-nets of finite numbers, but {broken!r} in "
                    f"{str(self.config.checkpoint)!r} holds NaN or infinity. Take an earlier checkpoint of that run."
                )
        self.awaited = False

    @property
    def optimizer(self) -> Optimizer:
        """One optimizer with one parameter group per energy, made when it is first asked for.

        By then the loss-nets are on their device and the process group is initialised.

        Raises:
            RuntimeError: In static mode, where there is none.
            TypeError: If the optimizers of the energies are of different classes.
        """
        if not self.trains:
            raise RuntimeError("Expected `mode='dynamic'`: frozen loss-nets have no optimizer.")
        return self.prepare()

    def prepare(self) -> Optimizer:
        """Before the first step, make the loss-nets equal on all ranks, and create the optimizer.

        Raises:
            TypeError: If `lr_scheduler` makes something that does not step by itself, such as `ReduceLROnPlateau`.
        """
        if self._optimizer is None:
            ranks.broadcast((*self.criterion.parameters(), *self.criterion.buffers()))
            optimizer = self._make_optimizer()
            if self.config.lr_scheduler is not None:
                self._scheduler = _expect_schedule(self.config.lr_scheduler(optimizer))
            self._optimizer = optimizer
            if self._restored:
                self._restore(self._optimizer)
            self._fused = fuse(self._optimizer)  # after all that compares or loads its options as they were made
        return self._optimizer

    def _restore(self, optimizer: Optimizer) -> None:
        try:
            changed = _changed(optimizer.param_groups, self._restored["optimizer"]["param_groups"], self._scheduler)
            if not changed:
                optimizer.load_state_dict(self._restored["optimizer"])
                if self._scheduler is not None and self._restored.get("lr_scheduler") is not None:
                    self._scheduler.load_state_dict(self._restored["lr_scheduler"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                "Expected the state of the loss-nets' optimizer in the checkpoint to fit `optimizer` of `seal`; pass "
                f"the configuration of the run that wrote it. {error}"
            ) from error
        if changed:  # a state brings its options along, which would go over those that are asked for
            warnings.warn(
                f"The loss-nets' optimizer starts anew: `seal` asks for another {changed} than the checkpoint has.",
                stacklevel=2,
            )
        self._restored = {}

    def step(self, ranking_loss: Tensor) -> None:
        """One update: zero_grad, backward, average over ranks, clip, step.

        Where the loss or its gradient is not finite on any rank, all of them skip the update.

        Raises:
            RuntimeError: If ``max_skipped_updates`` in a row were skipped.
        """
        self.take(*self.gradients(ranking_loss))

    @property
    def parameters(self) -> list[Tensor]:
        """The parameters that are trained."""
        return [parameter for parameter in self.criterion.parameters() if parameter.requires_grad]

    def gradients(self, ranking_loss: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give the parameters their gradients: backward, average over ranks, clip.

        Returns:
            Whether loss and gradients are finite, and whether an update is due, which it is where there is None.
        """
        parameters = self.parameters
        _forget_gradients(parameters)
        if ranking_loss.requires_grad or ranks.world_size() == 1:  # one rank may have nothing to learn from
            # Towards these alone: the poses at which a gradient penalty takes the slope require a gradient, too, which
            # nobody reads and which takes two fifths of the operations of a whole backward pass.
            torch.autograd.backward(ranking_loss, inputs=[*parameters, *self.criterion.shared_poses])
        loss, due = ranking_loss.detach(), None
        if ranks.world_size() > 1:
            loss, due = self._average(parameters, loss)
        # `torch.nn.utils.get_total_norm`, which looks for devices and types first, for gradients that share both.
        gradients = [p.grad for p in parameters if p.grad is not None] or [torch.zeros_like(loss)]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        if self.config.gradient_clip_val is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.config.gradient_clip_val, norm)
        # A norm is not negative; adding zero times the loss makes it NaN where the loss is not finite.
        return torch.add(norm, loss, alpha=0) < torch.inf, due

    def take(self, finite: Tensor, due: Tensor | None = None) -> None:
        """Take the optimizer's step with these gradients, unless they are not finite, and forget them.

        Raises:
            RuntimeError: If ``max_skipped_updates`` in a row were skipped.
        """
        self.guard.step(self.optimizer, finite, due)
        _forget_gradients(self.parameters)

    def _average(self, parameters: Sequence[Tensor], loss: Tensor) -> tuple[Tensor, Tensor]:
        """Average gradients over all ranks; return the mean loss, and whether any rank read poses.

        All of it takes one collective call: what is to be averaged poses as the gradient of a parameter.
        """
        mean, readers = (torch.zeros_like(loss, requires_grad=True) for _ in range(2))
        mean.grad, readers.grad = loss, torch.full_like(loss, float(self.reads))
        ranks.average_gradients([*parameters, mean, readers])
        return mean.grad, readers.grad > 0

    def acts(self, index: int | None) -> bool:
        """Whether loss-nets and energy take part in a training step, which ``every_n_steps`` decides.

        Args:
            index: How many updates of the host came before; None where only its training steps can be counted.
        """
        every = self.config.every_n_steps
        if index is None:
            index, self._steps = self._steps, self._steps + 1
        return index % every == 0

    def schedule(self) -> None:
        """Advance the learning-rate scheduler, if there is one."""
        if self._scheduler is not None:
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Settings, loss-nets, running statistics, optimizer and scheduler, as plain data and tensors."""
        entry = {"format": FORMAT, "version": __version__, "settings": self.config.plain()}
        entry["criterion"] = self.criterion.state_dict()
        entry |= self._restored
        entry["guard"] = self.guard.state_dict()
        entry["steps"] = self._steps
        if self._optimizer is not None:
            state = self._optimizer.state_dict()
            entry["optimizer"] = as_made(state) if self._fused else state
            entry["lr_scheduler"] = None if self._scheduler is None else self._scheduler.state_dict()
        return entry

    def load_state_dict(self, entry: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: If the entry is of another format or describes other loss-nets.
        """
        self._load_criterion(entry)
        if broken := self._not_finite():  # the host beside them may be sound, and may be all that is wanted
            warnings.warn(
                f"{broken!r} of the loss-nets in the checkpoint holds NaN or infinity: no training can go on with "
                "them. Take an earlier checkpoint to train on.",
                stacklevel=3,
            )
        self.awaited = False
        guard = {**Guard(None).state_dict(), **_counts(entry.get("guard", {}))}
        self.guard.load_state_dict(guard)
        self._steps = _steps(entry.get("steps", 0))
        # The optimizer is made anew when it is next asked for, on the device that the loss-nets are on by then.
        self._optimizer = self._scheduler = None
        self._restored = {key: entry[key] for key in _PARTS if key in entry}

    def _load_criterion(self, entry: Mapping[str, Any]) -> None:
        check_entry(entry, {*self.state_dict(), *_PARTS})
        try:
            self.criterion.load_state_dict(entry["criterion"])
        except (RuntimeError, KeyError, TypeError) as error:
            raise ValueError(
                "Expected the checkpoint's loss-nets to be those that `seal` describes; pass the configuration of the "
                f"run that wrote it{differences(self.config.plain(), entry.get('settings'))}. {error}"
            ) from error

    def _not_finite(self) -> str | None:
        """The first of the loss-nets' tensors that holds NaN or infinity."""
        tensors = (*self.criterion.named_parameters(), *self.criterion.named_buffers())
        return next((name for name, one in tensors if not bool(one.isfinite().all())), None)

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


def _changed(asked: Sequence[Mapping[str, Any]], stored: Sequence[Mapping[str, Any]], scheduler: Any) -> list[str]:
    """Names of the options in which an optimizer differs from a stored one, before any schedule changed them."""
    names: set[str] = set()
    for mine, theirs in zip(asked, stored, strict=True):
        names |= {*theirs} - {*mine} - {"initial_lr"}  # those that only the optimizer has may be of another torch
        # A scheduler changes what it likes; what it started from it keeps as `initial_lr`.
        compared = ["initial_lr"] if scheduler is not None else [name for name in mine if name != "params"]
        for name in compared:
            value = theirs.get("initial_lr", theirs.get("lr")) if name in ("lr", "initial_lr") else theirs.get(name)
            if name in theirs and _listed(value) != _listed(mine[name]):
                names.add("lr" if name == "initial_lr" else name)
    return sorted(names)


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _counts(guard: Any) -> dict[str, Tensor]:
    if not isinstance(guard, Mapping) or not all(isinstance(value, Tensor) for value in guard.values()):
        raise ValueError(
            "Expected `guard` of the checkpoint's `seal` entry to be the counts of skipped updates, but got "
            f"{type(guard).__name__}. Take it out of the entry to count anew."
        )
    return dict(guard)


def _steps(steps: Any) -> int:
    if not is_whole(steps):
        raise ValueError(
            "Expected `steps` of the checkpoint's `seal` entry to be the number of steps that were counted, but got "
            f"{steps!r}. Take it out of the entry to count anew."
        )
    return int(steps)


def _expect_schedule(scheduler: Any) -> Any:
    step = getattr(scheduler, "step", None)
    if not callable(step) or any(
        parameter.default is parameter.empty and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        for parameter in inspect.signature(step).parameters.values()
    ):
        raise TypeError(
            "Expected `lr_scheduler` of SealConfig to make a scheduler whose `step()` takes no argument, but got "
            f"{type(scheduler).__name__}. What the loss-nets learn from are the pose-net's errors, so that their loss "
            "has no plateau to wait for: take a schedule by steps, such as `CosineAnnealingLR` or `StepLR`."
        )
    return scheduler


def _forget_gradients(parameters: Iterable[Tensor]) -> None:
    """`Optimizer.zero_grad` of these, without what it tells a profiler."""
    for parameter in parameters:
        parameter.grad = None
