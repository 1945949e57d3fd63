"""Watching a host's step from outside: which modules it calls, with what, and what comes out."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from seal_lightning.training import _host as host

__all__ = ["ModuleCall", "RecordedIterator", "record_calls", "replaced", "tensors_in", "watched_step"]


class ModuleCall(NamedTuple):
    """One outermost call of the host's own forward or of a direct child."""

    inputs: Any
    output: Any


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists and mappings."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            yield from tensors_in(item)


@contextmanager
def record_calls(module: nn.Module) -> Iterator[list[ModuleCall]]:
    """Record the outermost calls of a module's own forward and of its direct children while in force.

    ``self(x)`` and ``self.forward(x)`` are caught by shadowing `forward` on the instance, since forward hooks miss the
    latter and fire twice under DDP; ``self.model(x)`` by hooks on the children.
    """
    calls: list[ModuleCall] = []
    depth = 0
    own_forward = module.forward
    handles: list[RemovableHandle] = []

    def attach() -> None:
        for child in module.children():
            handles.append(child.register_forward_pre_hook(enter))
            handles.append(child.register_forward_hook(after, with_kwargs=True, always_call=True))

    def detach() -> None:
        while handles:
            handles.pop().remove()

    def enter(*_: Any) -> None:
        nonlocal depth
        depth += 1

    def leave(inputs: Any, output: Any) -> None:
        nonlocal depth
        depth -= 1
        if depth == 0 and output is not None:
            calls.append(ModuleCall(inputs, output))

    def forward(*args: Any, **kwargs: Any) -> Any:
        if depth:
            return own_forward(*args, **kwargs)
        enter()
        detach()  # within, they say nothing new, and a compiled forward would be compiled anew for each step's hooks
        output = None
        try:
            output = own_forward(*args, **kwargs)
        finally:
            attach()
            leave((*args, kwargs) if kwargs else args, output)
        return output

    def after(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        leave((*args, kwargs) if kwargs else args, output)

    attach()
    try:
        with replaced(module, "forward", forward):
            yield calls
    finally:
        detach()


class RecordedIterator:
    """The iterator that a step with ``dataloader_iter`` draws from, with what was drawn so far."""

    def __init__(self, iterator: Any) -> None:
        self.iterator = iterator
        self.batches: list[Any] = []

    @property
    def batch(self) -> Any:
        """The batch that was drawn; all of them where they are several."""
        return self.batches[0] if len(self.batches) == 1 else self.batches

    def __iter__(self) -> RecordedIterator:
        return self

    def __next__(self) -> Any:
        item = next(self.iterator)
        self.batches.append(item[0])
        return item

    def __getattr__(self, name: str) -> Any:
        return getattr(self.iterator, name)


@contextmanager
def replaced(module: nn.Module, name: str, value: Any) -> Iterator[None]:
    """Shadow a method on the instance for a while."""
    own = vars(module)
    had, before = name in own, own.get(name)
    own[name] = value
    try:
        yield
    finally:
        if had:
            own[name] = before
        else:
            del own[name]


def watched_step(step: Callable[..., Any], training: bool) -> Callable[..., Any]:
    """Let SEAL see a step; only the outermost of nested steps (an override that calls super) is looked at."""
    signature = inspect.signature(step)
    first = [*signature.parameters.values()][1]  # the batch, or the iterator that it is drawn from

    # Where the module is compiled as a whole, its forward stays so and the rest is left alone.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._seal_calls is not None or (training and (not torch.is_grad_enabled() or host.in_swa_update(self))):
            return step(self, *args, **kwargs)
        bound = signature.bind(self, *args, **kwargs)
        source = bound.arguments[first.name]
        if first.kind is first.VAR_POSITIONAL:
            source = source[0]
        elif first.name == "dataloader_iter":
            source = bound.arguments[first.name] = RecordedIterator(source)
        run = functools.partial(step, *bound.args, **bound.kwargs)
        self._seal_calls, self._seal_last = [], None
        try:
            if training:
                return self._seal_training_step(run, source)
            with record_calls(self) as calls:
                output = run()
            self._seal_last = (source, calls)
            return output
        finally:
            self._seal_calls = None

    wrapper: Any = functools.wraps(step)(watched)  # outermost: Lightning looks past one `__wrapped__` only
    wrapper._seal_wrapped = True
    # Torch 2.6 would call what `disable` was given, without the instance, where the module is compiled as a whole.
    vars(wrapper).pop("_torchdynamo_orig_callable", None)
    return wrapper  # type: ignore[no-any-return]
