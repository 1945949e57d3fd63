"""A step of any LightningModule, seen from outside: what it was given, what it predicted, and its network once more."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from seal_lightning.functional import mirror_keypoints, mirror_poses
from seal_lightning.skeleton import Skeleton, get_skeleton
from seal_lightning.training._first_look import FirstLook
from seal_lightning.training.batch import SealBatch
from seal_lightning.training.mixin import SealMixin
from seal_lightning.training.reading.containers import tensors_in
from seal_lightning.training.reading.keypoints import find_keypoints
from seal_lightning.training.reading.replay import Replay, call_upstream, recorded_call
from seal_lightning.training.reading.shapes import PoseShapes
from seal_lightning.training.reading.step import RecordedIterator, WatchedStep

__all__ = ["Observed", "StepName", "StepObserver", "flip_averaged"]

StepName: TypeAlias = Literal["training_step", "validation_step", "test_step", "predict_step"]

_TOLERANCE = 1e-4  # of the size of the poses: what a network's rounding may differ by from one call to the next
_REMEDY = "Do all that makes the poses in the host's `forward`, but for the mean with the mirror image."


@dataclass(frozen=True)
class Observed:
    """One step of a host, and the call of its network.

    Args:
        read: Keypoints, prediction, target and masks, without the graph. The target is None in `predict_step`.
        skeleton: The joints.
        replay: The network's call, to be run once more; or why it cannot be.
    """

    read: SealBatch
    skeleton: Skeleton
    replay: Replay | str

    @property
    def keypoints_2d(self) -> Tensor:
        """What the network was given: keypoints (B, J, 2 or 3), or windows of them (B, T, J, 2 or 3).

        Raises:
            ValueError: If the network cannot be run once more.
        """
        given, shapes = self._recorded().keypoints_2d, PoseShapes(self.skeleton.num_joints)
        return shapes.batch(given, 3 if shapes.leading(given, 2) is None else 2)

    def predict(self, keypoints_2d: Tensor) -> Tensor:
        """Predict from other keypoints by the network's call of this step, in evaluation mode.

        There is no gradient, and nothing is left behind: training flags, buffers and random state are restored.

        Args:
            keypoints_2d: Keypoints of the shape of `keypoints_2d`.

        Returns:
            Poses of the shape of the step's prediction.

        Raises:
            ValueError: If the network cannot be run once more, or the keypoints have another shape.
        """
        return self._recorded()(keypoints_2d, eval_mode=True).reshape(self.read.prediction.shape)

    def mirrored(self, keypoints_2d: Tensor, *, image_width: float | None = None) -> Tensor:
        """Predict from the mirror image of keypoints, and mirror the poses back; otherwise as `predict`.

        Args:
            keypoints_2d: Keypoints of the shape of `keypoints_2d`.
            image_width: As in `mirror_keypoints`: None where x is zero on the pictures' middle line.
        """
        replay = self._recorded().mirrored(self.skeleton.partners)  # a mask of joints changes sides, too
        pose = replay(mirror_keypoints(keypoints_2d, self.skeleton, image_width=image_width), eval_mode=True)
        return mirror_poses(pose.reshape(self.read.prediction.shape), self.skeleton)

    def check(self, pose: Tensor, mirrored: Tensor) -> None:
        """Check, after a step in evaluation mode, that the step predicted what its network does once more.

        Args:
            pose: What `predict` makes of the keypoints of the step.
            mirrored: What `mirrored` makes of them.

        Raises:
            ValueError: If the step predicted neither the pose nor the mean of the two.
        """
        if not self.predicted(pose) and not self.predicted((pose.float() + mirrored.float()) / 2):
            raise ValueError(
                "Expected the network's call to predict once more what the step predicted, but it does not: the step "
                f"changes the poses after the call, or the network draws random numbers. {_REMEDY}"
            )

    def predicted(self, pose: Tensor) -> bool:
        """Whether the step predicted this pose, up to rounding; NaN, of a host that has diverged, is equal to NaN.

        Args:
            pose: Poses of the shape of the prediction.
        """
        one, other = pose.float(), self.read.prediction.float()
        size = float(torch.where(other.isfinite(), other, 0.0).abs().mean())
        return torch.allclose(one, other, rtol=0.0, atol=_TOLERANCE * size, equal_nan=True)

    def _recorded(self) -> Replay:
        if isinstance(self.replay, str):
            raise ValueError(f"Expected a step whose network can be run once more, but {self.replay}. {_REMEDY}")
        return self.replay


def flip_averaged(observed: Observed, *, image_width: float | None = None) -> Tensor:
    """The mean of what a network predicts and the mirror image of what it predicts for the mirrored keypoints.

    It runs the network of the step twice, in evaluation mode. A prediction that the host has averaged stays what it is.

    Args:
        observed: A step in evaluation mode.
        image_width: Width of the pictures in the unit of the keypoints, where x counts from their left edge. None where
            x is zero on the middle line, as `seal_lightning.data.normalize_screen` makes it.

    Returns:
        Poses of the shape of the step's prediction.

    Raises:
        ValueError: If the network cannot be run once more, or predicts something else than the step.
    """
    keypoints = observed.keypoints_2d
    pose, mirrored = observed.predict(keypoints), observed.mirrored(keypoints, image_width=image_width)
    observed.check(pose, mirrored)
    return (pose + mirrored) / 2


def _nothing() -> None: ...


class StepObserver:
    """Looks at steps of any LightningModule, one at a time, and leaves the module and its results as they are.

    Call `watch` before a step and `read` after it, as from a callback's ``on_..._batch_start`` and
    ``on_..._batch_end``. A `SealMixin` has read its training, validation and test steps itself.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`.

    Example:
        >>> class Lifter(nn.Module):  # stands in for a LightningModule
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.net = nn.Linear(34, 51)
        ...     def predict_step(self, batch, batch_idx):
        ...         return self.net(batch.flatten(1)).view(-1, 17, 3)
        >>> module, observer = Lifter(), StepObserver("h36m17")
        >>> observer.watch(module, "predict_step")
        >>> poses = module.predict_step(torch.zeros(4, 17, 2), 0)
        >>> observed = observer.read(module)
        >>> torch.equal(observed.read.prediction, poses), observed.keypoints_2d.shape
        (True, torch.Size([4, 17, 2]))
        >>> flip_averaged(observed).shape
        torch.Size([4, 17, 3])
    """

    def __init__(self, skeleton: str | Skeleton) -> None:
        self.skeleton = get_skeleton(skeleton)
        self._look = FirstLook(self.skeleton)
        self._found: Observed | Exception | None = None
        self._last: SealBatch | Exception | None = None  # of a SEAL host
        self._restore: Callable[[], None] = _nothing

    def watch(self, module: nn.Module, name: StepName) -> None:
        """Look at the next call of a step, and at no other.

        Args:
            module: The host.
            name: The step.
        """
        self.close()
        self._found = None
        if isinstance(module, SealMixin) and name != "predict_step":
            return
        before = vars(module).get(name)
        others: list[StepObserver] | None = getattr(before, "observers", None)
        if others is not None and others[0].skeleton == self.skeleton:
            others.append(self)  # of another callback: the step is looked at once for all
            return
        step, observers = getattr(module, name), [self]

        def restore() -> None:  # unless somebody else has set another by now
            if vars(module).get(name) is not wrapper:
                return
            if before is None:
                del vars(module)[name]
            else:  # the step of a compiled module
                vars(module)[name] = before

        # An attribute of the instance, which Lightning calls as it would call the method.
        def once(*args: Any, **kwargs: Any) -> Any:
            self.close()
            output = self._observe(module, step, name, args, kwargs)
            for other in observers:
                other._found = self._found
            return output

        wrapper: Any = functools.update_wrapper(once, step)
        # Lightning asks for the signature of what is wrapped, past one layer, and takes its first argument for `self`.
        plain = getattr(step, "__func__", step)
        wrapper.__wrapped__ = getattr(plain, "__wrapped__", plain)
        wrapper.observers = observers
        vars(module)[name], self._restore = wrapper, restore

    def close(self) -> None:
        """Leave a step alone that was to be looked at and was never called, as where a hook skips a batch."""
        self._restore()
        self._restore = _nothing

    def read(self, module: nn.Module) -> Observed | None:
        """What the step that was watched did; None where it compared no pose with a true one.

        Raises:
            ValueError: If there is no one way to read the step.
        """
        found, self._found = self._found, None
        if isinstance(found, Exception):
            raise found
        return self._of_seal(module) if isinstance(module, SealMixin) and found is None else found

    def _of_seal(self, module: SealMixin) -> Observed | None:
        """What a SEAL host read of its step; None where it has read none since the last time."""
        last, self._last = self._last, module._seal_last
        if self._last is None or self._last is last or module._seal_replay is None:
            return None
        replay: Replay | str = module._seal_replay
        if isinstance(replay, str) and not module.training:  # the mean with the mirror image, perhaps; `check` tells
            replay = module._seal_upstream or replay
        return Observed(module.seal_captured, self.skeleton, replay)

    def _observe(self, module: nn.Module, step: Callable[..., Any], name: StepName, args: Any, kwargs: Any) -> Any:
        signature = inspect.signature(step)
        bound, first = signature.bind(*args, **kwargs), next(iter(signature.parameters.values()))
        source = bound.arguments[first.name]
        if first.kind is first.VAR_POSITIONAL:
            source = source[0]
        elif first.name == "dataloader_iter":
            source = bound.arguments[first.name] = RecordedIterator(source)
        watched = WatchedStep(module, self.skeleton.num_joints, source, trusted=self._look.trusts)
        with watched.recorded():
            output = step(*bound.args, **bound.kwargs)
        try:
            if name == "predict_step":
                self._found = self._predicted(watched, output)
            else:
                self._found = self._compared(watched, output, name)
        except ValueError as error:  # raised for who asks: the step itself went well
            self._found = error.with_traceback(None)
        return output

    def _compared(self, step: WatchedStep, output: Any, name: StepName) -> Observed | None:
        """What a step that compares predictions with a truth did."""
        loss = output.get("loss") if isinstance(output, Mapping) else output
        trains = name == "training_step" and isinstance(loss, Tensor) and loss.requires_grad
        step.current = step.find(loss if trains else None)
        if not step.current:
            return None
        read, replay = step.read().complete().detach(), step.replay()
        if isinstance(replay, str) and name != "training_step":
            replay = step.upstream() or replay
        return Observed(read, self.skeleton, replay)

    def _predicted(self, step: WatchedStep, output: Any) -> Observed:
        """What a step that returns its prediction did."""
        shapes, watch = step.watch.shapes, step.watch
        poses = [tensor for tensor in tensors_in(output) if shapes.leading(tensor) is not None]
        if len(poses) != 1:
            raise ValueError(
                f"Expected `predict_step` to return one tensor of poses (..., {shapes.joints}, 3), but got "
                f"{len(poses)} of them."
            )
        (prediction,) = poses
        pose, made_of = shapes.batch(prediction), watch.made_of(prediction)
        fit = find_keypoints(watch, step.calls, made_of, (0, 0), tuple(pose.shape[:-2]), self._look.trusts)
        keypoints, given, _ = fit[0] if fit else (None, None, False)
        read = SealBatch(None if keypoints is None else keypoints.float(), pose.detach()).complete()
        replay = recorded_call(watch, step.calls, prediction, given)
        if isinstance(replay, str):  # the mean with the mirror image, perhaps; `check` tells
            replay = call_upstream(watch, step.calls, prediction, given) or replay
        return Observed(read, self.skeleton, replay)
