"""`SealLoss`: a task loss plus learned energies, for any training loop."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.overrides import handle_torch_function, has_torch_function_unary

from seal_lightning import _distributed as ranks
from seal_lightning.functional import mpjpe
from seal_lightning.loss.checks import (
    check_eval_prediction,
    check_gradient,
    check_options,
    check_poses,
    energies_by_name,
)
from seal_lightning.loss.forces import ForceControl, Pull, felt, row_norm
from seal_lightning.loss.passes import LossNets, SharedPass, SharedPasses
from seal_lightning.loss.random import own_random_numbers
from seal_lightning.loss.statistics import Statistics, energy_statistics, ranking_statistics
from seal_lightning.loss.terms import EnergyTerm, default_energies
from seal_lightning.loss_nets.frame import BodyFrame, FramedPoses, weighted_mean
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["SealLoss"]


class SealLoss(nn.Module):
    r"""Task loss plus learned energies (SEAL), with the training loss of the energies beside it.

    For the pose-net, ``criterion(prediction, target, keypoints_2d)`` is

    .. math:: L_{task}(\hat y, y) + \sum_k w_k \, \mathrm{mean}_i E_k(x_i, \hat y_i)

    whose gradient reaches the prediction and never a loss-net; for the loss-nets,
    ``criterion.ranking_loss(prediction, target, keypoints_2d)`` reaches the loss-nets and never the prediction.

    Poses are brought to the loss-nets' frame: aligned at the skeleton's root (differentiably) and divided by the
    running mean of the true bone lengths, so energies do not depend on the unit of the poses. All shapes may carry a
    frame axis, ``(B, J, .)`` or ``(B, T, J, .)``; a clip's energy is the mean over its frames.

    All of this is computed in float32. ``.double()``, ``.half()`` and the like leave the loss-nets as they are: poses
    of another precision are converted, and the gradient at a prediction has the dtype of the prediction.

    In evaluation mode the running statistics stay as they are: the bone length, and the usual pull and weight of
    `ForceRatio`.

    Args:
        skeleton: Name of a built-in skeleton, or a `Skeleton`.
        energies: The learned energies; by default the one of `default_energies`.
        task_loss: Called with prediction and target; returns one value per sample or per pose, or a scalar. Defaults to
            `mpjpe` per pose.
        update: ``"simultaneous"`` takes the pull at a prediction from the backward pass of its `ranking_loss`, where
            that was run before on the same prediction, keypoints and visibility: one pass through a loss-net serves
            both nets, which feel the same state of it.
        precision: ``"bfloat16"`` runs the loss-nets, and them alone, under bfloat16 autocast.
        seed: Seed of the negatives and of dropout in the loss-nets; the global random state is never touched.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If shapes do not fit together, or a loss-net does not return one energy per pose.

    Example:
        >>> criterion = SealLoss("h36m17")
        >>> prediction, target = torch.randn(8, 17, 3, requires_grad=True), torch.randn(8, 17, 3)
        >>> keypoints_2d = torch.randn(8, 17, 2)
        >>> criterion.ranking_loss(prediction, target, keypoints_2d).backward()  # trains the loss-nets
        >>> criterion(prediction, target, keypoints_2d).backward()  # trains the pose-net
        >>> {name: tuple(energy.shape) for name, energy in criterion.energy(target, keypoints_2d).items()}
        {'energy_0': (8,)}

    References:
        Lee et al., "Structured Energy Network As a Loss", NeurIPS 2022.
        Kim et al., "SEAL-pose", arXiv 2602.20051, 2026.
    """

    def __init__(
        self,
        skeleton: str | Skeleton = "h36m17",
        energies: Sequence[EnergyTerm] | None = None,
        *,
        task_loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        update: Literal["alternating", "simultaneous"] = "alternating",
        precision: Literal["float32", "bfloat16"] = "float32",
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_options(update, precision, seed, task_loss)
        self.skeleton = get_skeleton(skeleton)
        self.energies = energies_by_name(default_energies() if energies is None else energies)
        self.task_loss = task_loss
        self.update = update
        self.seed = seed
        self.draws = 1  # the first draw was the loss-nets' initialisation
        self.noted = Statistics()
        # The same on all ranks, whether the process group is initialised by now or not: without `SealMixin` nothing
        # else makes the loss-nets equal.
        with own_random_numbers(seed, 0, torch.get_default_device(), same_on_all_ranks=True):
            nets = {name: term.loss_net(self.skeleton) for name, term in self.energies.items()}
            self.loss_nets = LossNets(nets, precision)
            self.frame = BodyFrame(self.skeleton)
            self.forces = ForceControl([term.weight for term in self.energies.values()])
        self._passes: SharedPasses | None = None

    def forward(
        self,
        prediction: Tensor,
        target: Tensor,
        keypoints_2d: Tensor,
        visibility: Tensor | None = None,
        labelled: Tensor | None = None,
    ) -> Tensor:
        """Task loss plus weighted energies, a scalar, for the pose-net.

        Under `torch.no_grad`, and for a prediction that requires no gradient, the energies count with the weights of
        the last training step.

        Args:
            prediction: Predicted poses (B, J, 3) or (B, T, J, 3).
            target: True poses of the same shape and unit; rows that are not ``labelled`` are never read.
            keypoints_2d: Keypoints (..., J, 2), or (..., J, 3) with a confidence.
            visibility: Bool (..., J); an invisible joint counts nowhere.
            labelled: Bool (B,); False for a sample that feels the energies alone.
        """
        if has_torch_function_unary(prediction):
            given = (self, prediction, target, keypoints_2d, visibility, labelled)
            return handle_torch_function(SealLoss.forward, (prediction,), *given)
        check_poses(self.skeleton, prediction, keypoints_2d, visibility, labelled, target)
        task = self._task(prediction, target, visibility, labelled)
        if torch.is_grad_enabled() and prediction.requires_grad:
            gradient = None
            if task.requires_grad:
                (gradient,) = torch.autograd.grad(task, prediction, retain_graph=True, allow_unused=True)
            gradient = torch.zeros_like(prediction) if gradient is None else gradient
            return task + self.energy_loss(prediction, keypoints_2d, gradient, visibility=visibility, labelled=labelled)
        with torch.no_grad():  # or the backward pass of this loss would reach the loss-nets
            energies = self.energy(prediction, keypoints_2d, visibility).values()
            means = torch.stack([energy.sum() / max(1, energy.numel()) for energy in energies])
        return task + (self.forces.weight * means).sum()

    def energy_loss(
        self,
        prediction: Tensor,
        keypoints_2d: Tensor,
        task_gradient: Tensor,
        *,
        at: Tensor | Sequence[Tensor | GradientEdge] | None = None,
        visibility: Tensor | None = None,
        labelled: Tensor | None = None,
    ) -> Tensor:
        """The weighted energies alone, a scalar, to be added to your own task loss.

        Its value is that of the weighted energies, and its gradient at the prediction is the weighted pull. The pull is
        computed at once: the backward pass, which comes later, does not enter a loss-net.

        Args:
            prediction: Predicted poses (B, J, 3) or (B, T, J, 3).
            keypoints_2d: Keypoints (..., J, 2), or (..., J, 3) with a confidence.
            task_gradient: Gradient of the task loss at the prediction, or at ``at``.
            at: The tensor that ``prediction`` was made from and at which `ForceRatio` compares the forces, if it is not
                the prediction itself; one row per sample. If the prediction was made from several tensors, all of them,
                or their edges in the graph; ``task_gradient`` then holds their gradients side by side.
            visibility: Bool (..., J); an invisible joint counts nowhere.
            labelled: Bool (B,); the task's mean force is taken over these samples.
        """
        if has_torch_function_unary(prediction):  # so that who watches a step sees one operation
            given = (self, prediction, keypoints_2d, task_gradient)
            options: dict[str, Any] = {"at": at, "visibility": visibility, "labelled": labelled}
            return handle_torch_function(SealLoss.energy_loss, (prediction,), *given, **options)
        check_poses(self.skeleton, prediction, keypoints_2d, visibility, labelled)
        check_gradient(task_gradient, prediction)
        batch = prediction.shape[0]
        task_norm = row_norm(task_gradient, batch)
        task_force = ranks.mean_over_ranks(task_norm, None if labelled is None else labelled.to(task_norm))
        with torch.no_grad():
            poses = self.frame(prediction.detach(), keypoints_2d, visibility)
        counted = None
        if poses.masked:
            counted = (poses.valid.view(batch, len(poses.valid) // max(1, batch)).sum(1) > 0).to(task_norm)
        passes = {} if self._passes is None else self._passes.of(prediction, keypoints_2d, visibility)
        self._passes = None
        factors, pulls, energies, values, forces = [], [], [], [], []
        for i, name in enumerate(self.energies):
            energy, slope = poses.per_sample(*self._slope(name, poses, passes.get(name)), batch)
            pull = self.frame.pull(slope, poses).view(prediction.shape)
            length = row_norm(pull if at is None else _moved(pull, prediction, at), batch)
            # NaN where the energy is not finite: such a sample then feels nothing of it.
            factor = self.forces(i, torch.add(length, energy, alpha=0), task_force, counted)
            factors.append(factor)
            pulls.append(length)
            energies.append(energy)
            values.append(felt(factor, energy).sum())
            forces.append(felt(_as_rows(factor, pull), pull))
        weight = ranks.sum_over_ranks(_vector([factor.sum() for factor in factors]))
        weight = weight / ranks.world_size() if ranks.world_size() > 1 else weight
        if self.forces.training:
            self.forces.weight.copy_(weight)
        self.noted.note(energy_statistics, factors, pulls, energies, weight, task_force)
        # The pull is a constant of this graph: its gradient reaches the prediction, and never a loss-net, since it was
        # computed with the loss-nets of now, which may be others when the backward pass runs.
        joined: Tensor = Pull.apply(prediction, _total(values), _total(forces))  # type: ignore[no-untyped-call]
        return joined

    def ranking_loss(
        self,
        prediction: Tensor,
        target: Tensor,
        keypoints_2d: Tensor,
        visibility: Tensor | None = None,
        labelled: Tensor | None = None,
        *,
        eval_prediction: Tensor | None = None,
    ) -> Tensor:
        """The loss that the loss-nets minimise, summed over the energies.

        In training mode it also updates the running mean of the bone length. Every call draws other random numbers,
        except in evaluation mode under `torch.no_grad`, where nothing changes: a validation curve uses the same random
        numbers from epoch to epoch and does not alter the training.

        Args:
            prediction: Predicted poses (B, J, 3) or (B, T, J, 3).
            target: True poses of the same shape and unit; rows that are not ``labelled`` are never read.
            keypoints_2d: Keypoints (..., J, 2), or (..., J, 3) with a confidence.
            visibility: Bool (..., J); an invisible joint counts nowhere.
            labelled: Bool (B,); only these samples are ranked.
            eval_prediction: What the pose-net predicts in evaluation mode, of the shape of ``prediction``; for
                ``PredictionNegatives(eval=True)``.

        Returns:
            Scalar loss, with gradients for the loss-nets alone, or its value under `torch.no_grad`; its mean over ranks
            is that over all their poses. Zero where there are no poses.
        """
        if torch.is_inference_mode_enabled():
            # The slope of an energy takes a graph, which tensors of inference mode cannot be part of: copies can.
            with torch.inference_mode(False), torch.no_grad():
                masks = (visibility, labelled, eval_prediction)
                *copies, copy = (None if tensor is None else tensor.clone() for tensor in masks)
                poses = (prediction.clone(), target.clone(), keypoints_2d.clone())
                return self.ranking_loss(*poses, *copies, eval_prediction=copy)
        check_poses(self.skeleton, prediction, keypoints_2d, visibility, labelled, target)
        evaluated = eval_prediction if self.needs_eval_prediction else None
        check_eval_prediction(self.needs_eval_prediction, eval_prediction, prediction)
        given, prediction, target = prediction, prediction.detach().float(), target.detach().float()
        if labelled is not None:
            target = torch.where(_as_rows(labelled, target), target, prediction)
        if self.training:
            self.frame.update(target, visibility, labelled)
        truth = self.frame(target, keypoints_2d, visibility)
        predicted = self.frame(prediction, keypoints_2d, visibility, truth.unit).pose
        if evaluated is not None:
            evaluated = self.frame(evaluated.detach().float(), keypoints_2d, visibility, truth.unit).pose
        weights = truth.weights(labelled)
        passes: dict[str, SharedPass] = {}
        if self.update == "simultaneous" and torch.is_grad_enabled():
            passes = {name: SharedPass(predicted, term.row_of_prediction) for name, term in self.energies.items()}
        losses, energies = [], []
        with own_random_numbers(self.seed, self.draws, prediction.device) as generator:
            for name, term in self.energies.items():
                negatives = term.draw(truth, predicted, evaluated, self.skeleton, generator)
                probe = term.probe(truth, negatives, self.skeleton, generator)
                true, negative, penalty = self.loss_nets.rank(name, truth, negatives, probe, passes.get(name))
                loss = term.loss(true, negative, truth, negatives)
                losses.append(weighted_mean(loss if penalty is None else loss + penalty, weights))
                energies.append((true.detach(), negative.detach()))
        self.draws += self.training or torch.is_grad_enabled()  # what is learned from meets new random numbers
        self._passes = SharedPasses(passes, given, keypoints_2d, visibility) if passes else None
        total = _total(losses)
        self.noted.note(ranking_statistics, total.detach(), energies, weights)
        return total

    def energy(self, pose: Tensor, keypoints_2d: Tensor, visibility: Tensor | None = None) -> dict[str, Tensor]:
        """Every energy of some poses, low for a plausible pose.

        Args:
            pose: Poses (B, J, 3) or (B, T, J, 3), in the unit that the criterion is trained on.
            keypoints_2d: Keypoints (..., J, 2), or (..., J, 3) with a confidence.
            visibility: Bool (..., J); an invisible joint counts nowhere.

        Returns:
            By the name of the energy, values (B,) or (B, T); zero where the root is invisible.
        """
        check_poses(self.skeleton, pose, keypoints_2d, visibility, None)
        poses = self.frame(pose.float(), keypoints_2d, visibility)
        with own_random_numbers(self.seed, self.draws, pose.device):
            return {
                name: (self.loss_nets.score(name, poses) * poses.valid).view(pose.shape[:-2]) for name in self.energies
            }

    @property
    def needs_eval_prediction(self) -> bool:
        """Whether `ranking_loss` needs what the pose-net predicts in evaluation mode."""
        return any(term.needs_eval_prediction for term in self.energies.values())

    @property
    def shared_poses(self) -> list[Tensor]:
        """Poses whose gradient `energy_loss` takes from the backward pass of the ranking loss, if there are any.

        A backward pass that is restricted to some ``inputs`` has to name them beside the parameters.
        """
        return [] if self._passes is None else self._passes.leaves

    @property
    def stats(self) -> dict[str, Tensor]:
        """Values of the last step, over all ranks: ``energy``, ``weight``, ``force_ratio``, ``loss_net_loss``, ..."""
        return self.noted.read()

    @torch.no_grad()
    def observe(self, prediction: Tensor, keypoints_2d: Tensor, visibility: Tensor | None = None) -> None:
        """Take the energy into `stats` in a step in which the pose-net does not feel it."""
        energies = [energy.flatten() for energy in self.energy(prediction, keypoints_2d, visibility).values()]
        zero = torch.zeros_like(self.forces.weight)
        factors = [torch.zeros_like(energy) for energy in energies]
        self.noted.note(energy_statistics, factors, factors, energies, zero, zero[0])

    def get_extra_state(self) -> dict[str, Any]:
        """The position in the stream of random numbers."""
        return {"draws": self.draws}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the position in the stream of random numbers."""
        self.draws = state["draws"]
        self._passes = None  # made by the loss-nets that are now overwritten

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SealLoss:
        """Follow to another device, never to another precision.

        In half precision small differences of energies vanish, and `double` says nothing of the poses: these are
        brought to float32 whatever they come in.
        """

        def keep_precision(tensor: Tensor) -> Tensor:
            asked = fn(tensor.new_empty(0))
            return fn(tensor) if asked.dtype == tensor.dtype else tensor.to(asked.device)

        return super()._apply(keep_precision, recurse)  # type: ignore[no-untyped-call, no-any-return]

    def _slope(self, name: str, poses: FramedPoses, shared: SharedPass | None) -> tuple[Tensor, Tensor]:
        """Energies (N,) of poses and their gradients (N, J, 3) there, from the shared pass if there is one."""
        if shared is not None and shared.done:
            return shared.energy, shared.slope
        with own_random_numbers(self.seed, self.draws, poses.pose.device):
            return self.loss_nets.slope(name, poses)

    def _task(self, prediction: Tensor, target: Tensor, visibility: Tensor | None, labelled: Tensor | None) -> Tensor:
        if labelled is not None:
            target = torch.where(_as_rows(labelled, target), target, prediction.detach().to(target))
        if self.task_loss is None:
            loss = mpjpe(prediction, target, visibility=visibility, reduction="none")
            counted = torch.ones_like(loss) if visibility is None else visibility.bool().any(-1).to(loss)
        else:
            loss = self.task_loss(prediction, target)
            if not isinstance(loss, Tensor):
                raise TypeError(f"Expected `task_loss` to return a tensor, but got {type(loss).__name__}.")
            counted = torch.ones_like(loss)
        if labelled is not None:
            if loss.dim() == 0:
                raise ValueError(
                    "Expected `task_loss` to return one value per sample to go with `labelled`, got a scalar."
                )
            counted = counted * _as_rows(labelled, loss)
        return torch.where(counted > 0, loss, 0.0).sum() / counted.sum().clamp(min=1)


def _as_rows(sample: Tensor, like: Tensor) -> Tensor:
    """One value per sample, (B,), in a shape that broadcasts over the axes of `like`."""
    return sample.view(-1, *[1] * (like.dim() - 1))


def _moved(pull: Tensor, prediction: Tensor, at: Tensor | Sequence[Tensor | GradientEdge]) -> Tensor:
    """The pull on a prediction, as it arrives at what the prediction was made from; one row a sample."""
    places: Any = (at,) if isinstance(at, Tensor) else tuple(at)
    parts = torch.autograd.grad(prediction, places, pull.to(prediction.dtype), retain_graph=True)
    rows = len(prediction)
    return torch.cat([part.reshape(rows, part.numel() // max(1, rows)) for part in parts], 1)


def _vector(values: Sequence[Tensor]) -> Tensor:
    """One or more scalars as a vector."""
    return torch.stack([*values]) if len(values) > 1 else values[0][None]


def _total(values: Sequence[Tensor]) -> Tensor:
    """Sum of one or more tensors of a shape."""
    return functools.reduce(torch.add, values)
