"""The work of a SEAL step as two CUDA graphs, which are captured once and replayed in every step after that.

A step of a small host takes a GPU less time than Python needs to launch its operations, and most of these are SEAL's. A
graph launches all operations of a computation at once. It repeats them on the same memory with the same numbers, so
everything that changes from step to step has to lie in that memory. Two computations are captured:

- the *update*: from a batch to the gradient of every parameter of the loss-nets;
- the *pull*: from the updated loss-nets to value and gradient of the energy at the prediction.

Between them the loss-nets' optimizer takes its step as ever, so learning rates, schedules and skipped steps are no
numbers of a graph. Both call `SealLoss.ranking_loss` and `SealLoss.energy_loss`, as every other step does.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from seal_lightning.loss.criterion import SealLoss
from seal_lightning.loss.forces import Pull
from seal_lightning.loss.random import handed_out, seed_of
from seal_lightning.training._guard import finite_with
from seal_lightning.training._repeatable import reason_against
from seal_lightning.training._tape import Rules, Tape
from seal_lightning.training.batch import SealBatch

__all__ = ["RECORDERS", "GraphedStep"]

_EAGER = 3  # steps of a kind before it is captured: it occurs again, and the optimizers have made their state by then
_KINDS = 2  # that are captured; the ragged last batch of an epoch is not to be


class Recorder(Protocol):
    """Records the operations of a computation on the memory that they work on, and runs them again."""

    def record(self, run: Callable[[], Any]) -> Any:
        """Return what ``run`` returns, in the memory that `replay` writes to; leave all other memory as it was."""

    def replay(self) -> None:
        """Run the recorded operations."""


class _CudaGraph:
    def __init__(self) -> None:
        self._graph = torch.cuda.CUDAGraph()

    def record(self, run: Callable[[], Any]) -> Any:
        # Other threads, such as one that pins the batches of a loader, may go on with what a capture forbids.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            return run()

    def replay(self) -> None:
        self._graph.replay()


RECORDERS: dict[str, Callable[[], Recorder]] = {"cuda": _CudaGraph}


class Inputs(NamedTuple):
    """All that a step brings."""

    prediction: Tensor
    target: Tensor
    keypoints_2d: Tensor
    gradient: Tensor
    """Of the host's loss at the prediction."""
    loss: Tensor

    @property
    def kind(self) -> tuple[Any, ...]:
        """What has to be the same in two steps for one graph to serve both, as far as the batch has a say."""
        device = self.prediction.device.type
        autocast = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        return (*((tensor.shape, tensor.stride(), tensor.dtype, tensor.device) for tensor in self), *autocast)


class GraphedStep:
    """Captures and replays the update of the loss-nets and the pull of the energies where it can; else runs them.

    The first steps of a kind run as ever. Where something that a graph takes for fixed has changed, graphs are dropped
    and captured anew.
    """

    def __init__(self) -> None:
        self.replays = 0
        self._forget(())
        self._refused: str | None = None
        self._told = False

    def __reduce__(self) -> tuple[type[GraphedStep], tuple[()]]:
        """Copies, and processes that are spawned, capture graphs of their own."""
        return type(self), ()

    def __call__(
        self,
        model: Any,
        used: SealBatch,
        loss: Tensor,
        gradient: Tensor,
        moved: bool,
        eager: Callable[[], Tensor | None],
    ) -> Tensor | None:
        """The energy that joins the loss, after an update of the loss-nets.

        Args:
            model: The host with its mixin.
            used: What is scored.
            loss: The host's loss.
            gradient: Its gradient at the prediction.
            moved: Whether forces are compared elsewhere than at the prediction.
            eager: The same without a graph.
        """
        reason = self._refused or reason_against(model, used, moved, RECORDERS)
        if reason is not None:
            self._tell(reason)
            return eager()
        assumed = _assumed(model)
        if assumed != self._assumed:
            self._forget(assumed)
        inputs = Inputs(used.prediction, used.target, used.keypoints, gradient, loss)  # type: ignore[arg-type]
        kind = inputs.kind
        if kind not in self._graphs:
            if len(self._graphs) == _KINDS:
                return eager()
            self._seen[kind] = self._seen.get(kind, 0) + 1
            if self._seen[kind] < _EAGER:
                return eager()
            if kind not in self._tapes:
                self._tapes[kind] = Tape()
                with self._tapes[kind]:
                    return eager()
            try:
                self._graphs[kind] = _Graphs(model, inputs, self._tapes[kind])
            except RuntimeError as error:
                self._refused = str(error).partition("\n")[0]
                self._tell(self._refused)
                return eager()
        self.replays += 1
        return self._graphs[kind](model, inputs)

    def _forget(self, assumed: tuple[Any, ...]) -> None:
        self._assumed = assumed
        self._graphs: dict[tuple[Any, ...], _Graphs] = {}
        self._seen: dict[tuple[Any, ...], int] = {}
        self._tapes: dict[tuple[Any, ...], Tape] = {}

    def _tell(self, reason: str) -> None:
        if not self._told:
            self._told = True
            warnings.warn(
                f"SEAL's work is not captured as CUDA graphs: {reason}. Steps stay correct, and slower.", stacklevel=2
            )


class _Graphs:
    """Update and pull of one kind of step, captured with the numbers of the next one.

    Raises:
        RuntimeError: If something cannot be part of a graph. Nothing has changed then.
    """

    def __init__(self, model: Any, inputs: Inputs, tape: Tape) -> None:
        seal, optimization = model.seal, model._seal_optimization
        self._inputs = Inputs(*(_memory_like(tensor) for tensor in inputs))
        self._inputs.prediction.requires_grad_()
        self._tape = tape
        draws, device = seal.draws, inputs.prediction.device
        tape.hand_out(seed_of(seal.seed, draws), device)
        self._update, self._pull = (RECORDERS[device.type]() for _ in range(2))
        self._parameters = optimization.parameters
        try:
            self._finite, self._gradients = self._record(self._update, lambda: self._learned(seal, optimization))
            self._value, self._force = self._record(self._pull, lambda: self._felt(seal))
        finally:
            seal.draws = draws  # counted in a replay
            for parameter in self._parameters:
                parameter.grad = None
        self._noted = seal.noted.pending()

    def __call__(self, model: Any, inputs: Inputs) -> Tensor:
        """Replay both, with a step of the loss-nets' optimizer between them."""
        seal, optimization = model.seal, model._seal_optimization
        with torch.no_grad():
            torch._foreach_copy_([*self._inputs], [*inputs])
        self._tape.refill(seed_of(seal.seed, seal.draws))
        seal.draws += 1
        self._update.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        optimization.take(self._finite)
        optimization.schedule()
        self._pull.replay()
        seal.noted.put_back(self._noted)
        # Copies: the host's backward pass may run after the next replay.
        joined: Tensor = Pull.apply(inputs.prediction, self._value.clone(), self._force.clone())  # type: ignore[no-untyped-call]
        return joined

    def _record(self, recorder: Recorder, run: Callable[[], Any]) -> Any:
        def ruled() -> Any:
            with handed_out(), self._tape, Rules():  # type: ignore[no-untyped-call]
                return run()

        return recorder.record(ruled)

    def _learned(self, seal: SealLoss, optimization: Any) -> tuple[Tensor, list[Tensor | None]]:
        prediction, target, keypoints_2d, gradient, loss = self._inputs
        ranking_loss = seal.ranking_loss(prediction, target, keypoints_2d)
        finite, _ = optimization.gradients(finite_with(ranking_loss, loss, gradient))
        return finite, [parameter.grad for parameter in self._parameters]

    def _felt(self, seal: SealLoss) -> tuple[Tensor, Tensor]:
        prediction, _, keypoints_2d, gradient, _ = self._inputs
        energy = seal.energy_loss(prediction, keypoints_2d, gradient)
        return energy.detach(), torch.autograd.grad(energy, prediction)[0]


def _memory_like(tensor: Tensor) -> Tensor:
    """Memory for a tensor in its layout, in float32 as far as SEAL computes in it.

    The pull in half precision would lose what the scale of the host's loss is there to keep.
    """
    return torch.empty_like(tensor, dtype=torch.float32 if tensor.dim() else None, requires_grad=False)


def _assumed(model: Any) -> tuple[Any, ...]:
    """All that a graph takes for fixed beside the batch."""
    seal, optimization = model.seal, model._seal_optimization
    tensors = [(tensor.data_ptr(), tensor.requires_grad) for tensor in (*seal.parameters(), *seal.buffers())]
    modules = [(module, module.training) for module in seal.modules()]
    options = seal.update, seal.loss_nets.precision, seal.frame.surely_known, optimization.config.gradient_clip_val
    return (tensors, modules, dict(seal.energies), seal.forces.weights, seal.skeleton, *options)
