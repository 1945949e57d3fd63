"""The outermost calls of networks in a step."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

from seal_lightning.loss.criterion import SealLoss
from seal_lightning.training.reading.containers import modules_in, tensors_in
from seal_lightning.training.reading.watch import BATCH, BY_AXIS, NETWORK, NOISE, OPAQUE, Watch

__all__ = ["Call", "Calls"]


@dataclass(eq=False)
class Call:
    """One outermost call of a module with parameters.

    Args:
        inputs: Positional arguments, and as the last of them a dict of those by name, if there are any.
        output: What came out.
        module: The module.
        host: The module whose step it is.
        bit: The call's bit: what comes out is made from it.
        named: Whether the last of the inputs is a dict of arguments by name.
        autocast: Type of the device and, where autocast was on, its dtype.
        hooked: Whether a hook was registered within it.
        made_of: Bits of all that what went in is made from.
    """

    inputs: Any
    output: Any
    module: nn.Module
    host: nn.Module
    bit: int
    named: bool
    autocast: tuple[str, torch.dtype | None]
    hooked: bool
    made_of: int

    @property
    def name(self) -> str:
        """Name of the module in the host; "forward" for the host itself."""
        names = (name for name, other in self.host.named_modules() if other is self.module)
        return next(names, type(self.module).__name__) or "forward"


class Calls:
    """Records the outermost calls of networks while it is in force, and lets the watch look away within them.

    One hook for all modules notices a call. Within it there is no watch and no hook but one on the module that was
    called, which notices the end: a network runs, and is compiled, as it is without SEAL, and copies carry nothing.

    Args:
        host: The module whose step it is.
        watch: The watch of the step.
        all_kept: Whether to keep what calls that no pose goes into or comes out of were given and returned.
    """

    def __init__(self, host: nn.Module, watch: Watch, all_kept: bool) -> None:
        self.host, self.watch, self.all_kept = host, watch, all_kept
        self.found: list[Call] = []
        self._thread = threading.get_ident()
        self._handle: RemovableHandle | None = None

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Watch, and record, what runs in this context."""
        with ExitStack() as stack:
            for module in modules_in(self.host):
                if "_orig_mod" in module._modules:
                    _expect_our_hook()
                if (compiled := module._compiled_call_impl) is not None:
                    stack.callback(vars(module).__setitem__, "_compiled_call_impl", compiled)
                    vars(module)["_compiled_call_impl"] = self._around(module, compiled)
            stack.callback(self._look_away)
            self._look()
            yield

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Look away for a while."""
        watched = self.watch.active
        on_top = self._look_away()
        try:
            yield
        finally:
            if watched:
                self._look(on_top)

    def _look(self, enter: bool = True) -> None:
        self._handle = register_module_forward_pre_hook(self._before)
        if enter:
            self.watch.__enter__()  # type: ignore[no-untyped-call]
        self.watch.active = True

    def _look_away(self) -> bool:
        """Return whether the watch could be taken from the stack of modes, which it can where it lies on top."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        active, self.watch.active = self.watch.active, False
        on_top = active and torch.overrides._get_current_function_mode() is self.watch  # type: ignore[no-untyped-call]
        if on_top:
            self.watch.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        return on_top

    def _before(self, module: nn.Module, args: Any) -> None:
        if is_compiling() or not self.watch.active or threading.get_ident() != self._thread:
            return
        if isinstance(module, SealLoss) or next(module.parameters(), None) is None:
            return
        # Away before the inputs are looked at, and back after what came out: each look would be an operation, too.
        on_top = self._look_away()
        if self._compares(args):
            self._look(on_top)
            return

        def after(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            hooked = RemovableHandle.next_id > hooks
            handle.remove()
            try:
                if output is not None:
                    self._record(module, (*args, kwargs) if kwargs else args, output, bool(kwargs), hooked)
            finally:
                self._look(on_top)

        # By the class, since a scripted module refuses the method.
        handle = nn.Module.register_forward_hook(module, after, with_kwargs=True, always_call=True)
        hooks = RemovableHandle.next_id  # torch counts all hooks that were ever registered

    def _around(self, module: nn.Module, compiled: Callable[..., Any]) -> Callable[..., Any]:
        """The call of a module that was compiled in place: hooks on it would be compiled, too."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if not self.watch.active or threading.get_ident() != self._thread:
                return compiled(*args, **kwargs)
            with self.unseen():
                output = compiled(*args, **kwargs)
            self._record(module, (*args, kwargs) if kwargs else args, output, bool(kwargs), False)
            return output

        return call

    def _compares(self, inputs: Any) -> bool:
        """Whether a truth goes in beside what it may be compared with: such a call has to be looked into."""
        watch = self.watch
        given = [tensor for tensor in tensors_in(inputs) if tensor.is_floating_point()]
        truth = next((tensor for tensor in given if _may_be_truth(watch, tensor)), None)
        if truth is None:
            return False
        return any(
            watch.made_of(tensor) & NETWORK
            or _is_image(tensor)
            or any(watch.shapes.leading(tensor, n) is not None for n in (2, 3))
            for tensor in given
            if tensor is not truth
        )

    def _record(self, module: nn.Module, inputs: Any, output: Any, named: bool, hooked: bool) -> None:
        watch = self.watch
        made_of, went_in, posed, given = NETWORK, 0, False, list(tensors_in(inputs))
        for tensor in given:
            if not watch.made_of(tensor):
                watch.note(tensor, 0)  # keypoints that the step made of an array, say
            went_in |= watch.made_of(tensor)
            made_of |= watch.made_of(tensor) & ~BY_AXIS
            posed = posed or (id(tensor) in watch.poses and bool(watch.made_of(tensor) & BATCH))
        if any(_may_be_truth(watch, tensor) for tensor in given) and any(_predicted(watch, tensor) for tensor in given):
            made_of |= OPAQUE  # a loss that was not looked into, since it was given its arguments by name
        bit = watch.new_bit()
        # A network that is given its labels by name, which a hook on all modules is not told of, compares them unseen.
        compares = named and any(_may_be_truth(watch, tensor) for tensor in tensors_in(inputs[-1]))
        for tensor in tensors_in(output):
            bits = watch.made_of(tensor) & ~OPAQUE
            bits |= OPAQUE if compares and tensor.requires_grad and not tensor.dim() else 0
            if bits & BATCH and not tensor.requires_grad and not bits & NETWORK:
                continue  # handed through
            known = watch.poses.get(id(tensor))
            watch.note(tensor, bits | made_of | bit, 0 if known is None else known.bit)
            posed = posed or id(tensor) in watch.poses
        watch.layers.note(module, bit, batch=_of_batch_alone(watch, given, went_in), network=bool(went_in & NETWORK))
        posed = posed or self.all_kept or _of_more_joints(given, output)
        kept = (inputs, output) if posed else (None, None)
        self.found.append(Call(kept[0], kept[1], module, self.host, bit, named, _autocast(output), hooked, went_in))


def _expect_our_hook() -> None:
    """Keep torch from warning that a hook on all modules fires twice in a compiled one: ours is gone by then."""
    message = "Using `torch.compile\\(module\\)` when there are global hooks"
    if not any(pattern is not None and pattern.pattern == message for _, pattern, *_ in warnings.filters):
        warnings.filterwarnings("ignore", message)


def _is_image(tensor: Tensor) -> bool:
    """Whether it is a batch of images, or one of them."""
    return tensor.dim() > 3 or (tensor.dim() == 3 and tensor.shape[0] in (1, 3) and min(tensor.shape[1:]) > 3)


def _of_batch_alone(watch: Watch, given: Sequence[Tensor], made_of: int) -> bool:
    """Whether these are tensors of the batch from which no pose has to be predicted, as true rotations are."""
    if not made_of & BATCH or made_of & NETWORK:
        return False
    return not any(watch.leading(tensor, 2) is not None or min(tensor.shape[2:], default=0) > 3 for tensor in given)


def _may_be_truth(watch: Watch, tensor: Tensor) -> bool:
    made_of = watch.made_of(tensor)
    if made_of == 0 or made_of & (NETWORK | NOISE):
        return False
    return watch.leading(tensor) is not None or tuple(tensor.shape) == (watch.shapes.joints, 3)


def _of_more_joints(given: Sequence[Tensor], output: Any) -> bool:
    """Whether these may be keypoints, and poses of the same joints, of which the loss may compare a part."""
    joints = {tensor.shape[-2] for tensor in tensors_in(output) if tensor.dim() > 2 and tensor.shape[-1] == 3}
    return any(tensor.dim() > 2 and tensor.shape[-1] in (2, 3) and tensor.shape[-2] in joints for tensor in given)


def _predicted(watch: Watch, tensor: Tensor) -> bool:
    return bool(watch.made_of(tensor) & NETWORK) and watch.leading(tensor) is not None


def _autocast(output: Any) -> tuple[str, torch.dtype | None]:
    tensor = next(tensors_in(output), None)
    device = "cpu" if tensor is None else tensor.device.type
    return device, torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
