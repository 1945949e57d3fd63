"""Wrapping the steps of a host, so that SEAL sees them from outside."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch

from seal_lightning.training import host
from seal_lightning.training.reading.step import RecordedIterator

__all__ = ["watched_step"]


def watched_step(step: Callable[..., Any], training: bool) -> Callable[..., Any]:
    """Let SEAL see a step; only the outermost of nested steps (an override that calls super) is looked at."""
    signature = inspect.signature(step)
    first = [*signature.parameters.values()][1]  # the batch, or the iterator that it is drawn from

    # Where the module is compiled as a whole, its forward stays so and the rest is left alone.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._seal_step is not None or (training and (not torch.is_grad_enabled() or host.in_swa_update(self))):
            return step(self, *args, **kwargs)
        bound = signature.bind(self, *args, **kwargs)
        source = bound.arguments[first.name]
        if first.kind is first.VAR_POSITIONAL:
            source = source[0]
        elif first.name == "dataloader_iter":
            source = bound.arguments[first.name] = RecordedIterator(source)
        run = functools.partial(step, *bound.args, **bound.kwargs)
        self._seal_step = current = self._seal_watch(source)
        try:
            return (self._seal_training_step if training else self._seal_other_step)(current, run)
        finally:
            self._seal_step = None

    wrapper: Any = functools.wraps(step)(watched)  # outermost: Lightning looks past one `__wrapped__` only
    wrapper._seal_wrapped = True
    # Torch 2.6 would call what `disable` was given, without the instance, where the module is compiled as a whole.
    vars(wrapper).pop("_torchdynamo_orig_callable", None)
    return wrapper  # type: ignore[no-any-return]
