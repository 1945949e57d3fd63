"""`SealMixin`: SEAL training for an existing LightningModule, by inheritance."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from seal_lightning.loss.criterion import SealLoss
from seal_lightning.training import host, reload
from seal_lightning.training._first_look import FirstLook
from seal_lightning.training._logging import logs_this_step
from seal_lightning.training.batch import SealBatch
from seal_lightning.training.capture import watched_step
from seal_lightning.training.config import SealConfig
from seal_lightning.training.host import hide_from_torchscript
from seal_lightning.training.joining import Joining
from seal_lightning.training.optimization import LossNetOptimization
from seal_lightning.training.reading.calls import Call
from seal_lightning.training.reading.record import Record
from seal_lightning.training.reading.replay import Replay
from seal_lightning.training.reading.step import Found, WatchedStep
from seal_lightning.training.signature import own_init
from seal_lightning.training.stored import settings_in

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule as _Host
else:
    _Host = object

__all__ = ["SealMixin"]

_STEPS = ("training_step", "validation_step", "test_step")
_PROPERTIES = ("seal_calls", "seal_captured", "seal_optimizer", "seal_reading", "seal_replay_keypoints")
_OURS = ("seal", "seal_batch", "seal_replay", "seal_step", *_PROPERTIES)


class SealMixin(_Host):
    """Adds a learned loss to the LightningModule that comes after it among the base classes.

    The host is not edited and keeps its optimization mode, so clipping, accumulation, precision, schedulers, callbacks
    and checkpoints are what they were. During each training step the loss-nets take one step of their own optimizer,
    and the weighted energy of the prediction joins the host's loss. Loss-nets and their optimizer live in the
    checkpoint under the key ``seal``, outside the ``state_dict``.

    Keypoints, prediction and target are found where there is one way to read the step; otherwise override `seal_batch`.

    Args:
        seal: Configuration of the SEAL training.

    Raises:
        TypeError: When a class is made that lists the host before the mixin, or whose host uses the mixin's names.

    Example:
        >>> import lightning as L
        >>> class LitLifter(L.LightningModule):  # a host: knows nothing of SEAL
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.net = torch.nn.Linear(34, 51)
        ...     def training_step(self, batch, batch_idx):
        ...         x, y = batch
        ...         return (self.net(x) - y).abs().mean()
        ...     def configure_optimizers(self):
        ...         return torch.optim.SGD(self.parameters(), lr=0.01)
        >>> class SealLifter(SealMixin, LitLifter):
        ...     pass
        >>> model = SealLifter(seal=SealConfig(skeleton="h36m17"))
        >>> loss = model.training_step((torch.randn(4, 34), torch.randn(4, 51)), 0)
        >>> sorted(model.seal.stats)
        ['energy', 'force_ratio', 'loss_net_loss', 'ranking_accuracy', 'weight']
    """

    seal: SealLoss

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        host.check_bases(cls, SealMixin, _OURS)
        own_init(cls, SealMixin)
        hide_from_torchscript(cls, ("seal", *_PROPERTIES))
        for name in _STEPS:
            step = getattr(cls, name, None)
            if step is not None and host.defines_step(cls, name) and not hasattr(step, "_seal_wrapped"):
                setattr(cls, name, watched_step(step, training=name == "training_step"))

    def __init__(self, *args: Any, seal: SealConfig | None = None, **kwargs: Any) -> None:
        restored = reload.take_restored()
        (stored,) = restored or (None,)
        config = SealConfig.of(stored if seal is None else seal)
        # Lightning may hand in what the checkpoint says as an argument: it is no less the checkpoint's.
        asked = seal is not None and (stored is None or stored.plain() != config.plain())
        # The host's `save_hyperparameters` reads this frame: it must find plain data under the argument's name.
        seal = reload.for_loggers(config)  # type: ignore[assignment]
        super().__init__(*args, **kwargs)
        if not host.defines_step(type(self), "training_step"):
            raise TypeError(f"Expected {type(self).__name__} to have a host with a `training_step` of its own.")
        names = {*vars(self), *self._modules, *self._parameters, *self._buffers}
        if taken := sorted(name for name in names if name in _OURS or name.startswith("_seal")):
            raise TypeError(f"Expected the host not to use the mixin's names, but it sets {taken}.")
        self._seal_asked = asked
        self._seal_step: WatchedStep | None = None
        self._seal_joining: Joining | None = None
        self._seal_last: SealBatch | Exception | None = None
        self._seal_replay: Replay | str | None = None
        self._seal_key: tuple[int, int, int] | None = None
        self._seal_overridden = type(self).seal_batch is not SealMixin.seal_batch
        self._seal_build(config, warm=restored is None)

    def _seal_build(self, config: SealConfig, *, warm: bool) -> None:
        """Make the loss-nets; `warm` reads the file at ``checkpoint``, not needed where others are about to come."""
        criterion = SealLoss(
            config.skeleton, config.terms(), update=config.update, precision=config.precision, seed=config.seed
        )
        # Past nn.Module's registry: the loss-nets are no part of the host's parameters, state_dict or DDP.
        object.__setattr__(self, "seal", criterion)
        self._seal_config = config
        self._seal_optimization = LossNetOptimization(criterion, config, read=warm)
        self._seal_look = FirstLook(criterion.skeleton)
        self._seal_record = Record(criterion.skeleton)
        reload.keep_settings(self, config)

    def save_hyperparameters(self, *args: Any, frame: Any = None, **options: Any) -> None:
        """Lightning's; SEAL's settings are kept as plain data, with every default written out.

        Args:
            *args: As in Lightning, like all that follow.
            frame: The frame whose arguments are saved.
            **options: ``ignore`` and ``logger``.
        """
        caller = inspect.currentframe()
        super().save_hyperparameters(*args, frame=frame or (caller and caller.f_back), **options)
        if "seal" in vars(self):  # otherwise the constructor has not come to it
            reload.keep_settings(self, self._seal_config)

    def seal_batch(self, batch: Any, inputs: Any, output: Any) -> SealBatch | None:
        """Say what are keypoints, prediction and target of a step; override where they cannot be read.

        Args:
            batch: The batch as the step received it.
            inputs: Arguments of the call that made the prediction: the outermost call of a network, of the host's own
                forward as a rule. None where no network was called.
            output: What that call returned, or None likewise.

        Returns:
            The batch for SEAL, whose prediction must be part of the graph of the host's loss. None in a step that
            trains no pose.

        Raises:
            ValueError: If there is no way to read the step, or more than one.
            RuntimeError: Outside of a step.
        """
        if self._seal_step is None:
            raise RuntimeError("Expected `seal_batch` of SealMixin to be called in a step of the host alone.")
        return self._seal_step.read()

    @property
    def seal_calls(self) -> Sequence[Call]:
        """The outermost calls of networks in the step that is running, with name, inputs and output; else none."""
        return [] if self._seal_step is None else self._seal_step.calls

    @property
    def seal_reading(self) -> str | None:
        """One line on what is read of a training step; None before the first."""
        return self._seal_record.line

    @property
    def seal_captured(self) -> SealBatch:
        """Keypoints, prediction and target of the last step that has them, without the graph.

        Raises:
            RuntimeError: If there was none yet.
            ValueError: If the last step, of a validation or test, cannot be read.
        """
        if isinstance(self._seal_last, Exception):
            raise self._seal_last
        if self._seal_last is None:
            raise RuntimeError("Expected a training, validation or test step before `seal_captured` is read.")
        return self._seal_last

    def seal_replay(self, keypoints_2d: Tensor, *, eval_mode: bool = False) -> Tensor:
        """Predict poses from other keypoints, by the network's call of the last step, once more.

        Nothing is left behind: training flags, buffers and random state are restored bit for bit.

        Args:
            keypoints_2d: Keypoints of the shape that the network was given in the step (`seal_replay_keypoints`).
            eval_mode: Whether the network runs in evaluation mode, rather than in that of the step.

        Returns:
            Poses (..., J, 3), without a gradient.

        Raises:
            ValueError: If the last step changes the keypoints before the call or the poses after it, so that the call
                alone is not what predicts; or if the keypoints have another shape.
            RuntimeError: If there was no step yet.
        """
        return self._seal_recorded()(keypoints_2d, eval_mode=eval_mode)

    @property
    def seal_replay_keypoints(self) -> Tensor:
        """What the network was given in the last step: keypoints, or windows of them; raises as `seal_replay`."""
        return self._seal_recorded().keypoints_2d

    def _seal_recorded(self) -> Replay:
        if self._seal_replay is None:
            raise RuntimeError("Expected a training, validation or test step before `seal_replay`.")
        if isinstance(self._seal_replay, str):
            raise ValueError(f"Expected a step whose network can be run once more, but {self._seal_replay}.")
        return self._seal_replay

    @property
    def seal_optimizer(self) -> Optimizer:
        """The loss-nets' own optimizer: one parameter group an energy, made at the first step or after a restore.

        Raises:
            RuntimeError: In static mode, where there is none.
            TypeError: If the energies ask for optimizers of different classes.
        """
        return self._seal_optimization.optimizer

    def seal_step(self, ranking_loss: Tensor) -> None:
        """One update of the loss-nets: zero_grad, backward, average over processes, clip, step. May be overridden.

        The update is skipped, on all processes, where the loss or the gradient is not finite on one of them.

        Args:
            ranking_loss: Scalar from `SealLoss.ranking_loss`, whose graph holds loss-nets alone; NaN where the host's
                loss or its gradient at the prediction is not finite.
        """
        self._seal_optimization.step(ranking_loss)

    def __dir__(self) -> list[str]:
        """Leave out the properties that may have no value yet: TorchScript asks for all that is listed."""
        return sorted({*super().__dir__()} - {*_PROPERTIES})  # type: ignore[no-untyped-call]

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Refuse to train under a strategy that SEAL does not work with.

        Raises:
            TypeError: If the trainer's strategy is FSDP (the first; `ModelParallelStrategy` works) or DeepSpeed.
        """
        host.check_strategy(self)
        super().setup(*args, **kwargs)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The host's; and SEAL's state under the key ``seal`` where a spawned process hands its work back."""
        state = super().state_dict(*args, **kwargs)
        if host.hands_back(self):
            state["seal"] = self._seal_optimization.state_dict()
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load the host's; and SEAL's state where a spawned process handed it back."""
        if "seal" in state_dict:
            state_dict = copy(state_dict)  # with the versions of the host's modules, an attribute of it
            self._seal_optimization.load_state_dict(state_dict.pop("seal"))  # type: ignore[attr-defined]
        return super().load_state_dict(state_dict, *args, **kwargs)

    @host.class_call
    def load_from_checkpoint(  # type: ignore[override]
        cls: Any,  # noqa: N805
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Lightning's `load_from_checkpoint`, with the settings in the file checked before any of them is followed.

        Args:
            checkpoint_path: As in Lightning, like all that follow.
            map_location: Where the tensors go.
            hparams_file: A file of settings of your own, which is trusted.
            strict: Whether the keys of the `state_dict` have to match.
            weights_only: Whether the file may hold tensors and plain data alone. False runs what is in the file.
            **kwargs: Arguments of the model that go over those in the file.

        Raises:
            ValueError: If the settings name what they are not for, or what is not imported.
        """
        kwargs, config = reload.arguments_for(cls, checkpoint_path, hparams_file, weights_only, kwargs)
        options = {"strict": strict, "weights_only": weights_only, **kwargs}
        with reload.restoring(config):
            return super().load_from_checkpoint(checkpoint_path, map_location, hparams_file, **options)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add settings, loss-nets, running statistics, optimizer and scheduler under the key ``seal``."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["seal"] = self._seal_optimization.state_dict()
        reload.without_settings(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the entry ``seal`` where there is one; a checkpoint without it is a plain host's.

        Settings in the checkpoint are followed where this model was made without any.

        Raises:
            ValueError: If the entry does not belong to these loss-nets.
        """
        super().on_load_checkpoint(checkpoint)
        self._seal_key = None
        if not self._seal_asked:
            settings = settings_in(checkpoint, reload.host_settings(checkpoint))
            config = self._seal_config if settings is None else SealConfig.of(settings)
            if config.plain() != self._seal_config.plain():
                device = self.seal.frame.bone_length.device
                self._seal_build(config, warm=False)
                self.seal.to(device).train(self.training and self._seal_optimization.trains)
        if "seal" in checkpoint:
            self._seal_optimization.load_state_dict(checkpoint["seal"])
        elif self._seal_optimization.awaited and not self._seal_asked:
            raise ValueError(
                "Expected `seal` to be given anew, since the checkpoint has no entry `seal` and takes the loss-nets "
                f"from another file, {str(self._seal_config.checkpoint)!r}, which is not opened. "
                "Pass `seal=SealConfig(checkpoint=...)` if you trust it."
            )
        else:
            if self._seal_optimization.awaited:
                self._seal_optimization.warm_start()
            warnings.warn("The checkpoint has no entry `seal`: the loss-nets start as they are.", stacklevel=2)

    def train(self, mode: bool = True) -> Any:
        """Set training mode, of the loss-nets too unless they are frozen."""
        if "seal" in vars(self):
            self.seal.train(mode and self._seal_optimization.trains)
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        result = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if "seal" in vars(self):  # the loss-nets follow to another device, never to another precision
            self.seal.to(fn(torch.empty(0, device=self.seal.frame.bone_length.device)).device)
        return result

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """The host's; the energy joins a loss that compares a predicted pose with a true one."""
        if self._seal_joining is None:
            super().manual_backward(loss, *args, **kwargs)
            return
        with self._seal_joining.step.unseen():
            super().manual_backward(self._seal_joining.backward(loss), *args, **kwargs)

    def _seal_watch(self, source: Any) -> WatchedStep:
        options = dict[str, Any](trusted=self._seal_look.trusts, all_kept=self._seal_overridden)
        return WatchedStep(self, self.seal.skeleton.num_joints, source, root=self.seal.skeleton.root_joints, **options)

    def _seal_training_step(self, step: WatchedStep, run: Callable[[], Any]) -> Any:
        if not self._seal_optimization.acts(host.update_index(self)):
            output = run()
            self._seal_log()
            return output
        joining = self._seal_joining = Joining(self, step)
        try:
            with step.recorded():
                output = run()
            if self.automatic_optimization:
                output = joining.output(output)
            joining.finish()
        finally:
            self._seal_joining = None
        self._seal_log()
        return output

    def _seal_other_step(self, step: WatchedStep, run: Callable[[], Any]) -> Any:
        with step.recorded():
            output = run()
        try:
            read = self._seal_read(step, step.find(None), None)
            self._seal_last = None if read is None else read.complete().detach()
        except Exception as error:  # raised again for who asks: a step that is not trained may be what it wants
            self._seal_last = error.with_traceback(None)
        return output

    def _seal_read(self, step: WatchedStep, found: Found, loss: Tensor | None) -> SealBatch | None:
        call = step.call_of(found, loss)
        step.current = found
        read = self.seal_batch(step.batch, *((None, None) if call is None else (call.inputs, call.output)))
        if read is not None and not isinstance(read, SealBatch):
            raise TypeError(f"Expected `seal_batch` to return a SealBatch or None, but got {type(read).__name__}.")
        if read is not None:
            self._seal_replay, self._seal_upstream = step.replay(), step.upstream()
        return read

    def _seal_again(self) -> bool:
        """Whether this step was seen before: an optimizer's closure evaluates it again."""
        before, self._seal_key = self._seal_key, host.step_key(self)
        return self._seal_key is not None and self._seal_key == before

    def _seal_log(self) -> None:
        if logs_this_step(self) and isinstance(self._seal_last, SealBatch):
            stats = {**self.seal.stats, "skipped_updates": self._seal_optimization.guard.skipped.float()}
            values = {f"seal/{name}": value for name, value in stats.items()}
            self.log_dict(values, batch_size=len(self._seal_last.prediction))
