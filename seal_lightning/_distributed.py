"""The collective operations that SEAL needs; on a single rank each of them returns what it was given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = [
    "alone",
    "average_gradients",
    "broadcast",
    "mean_over_ranks",
    "rank",
    "several",
    "sum_of_numbers",
    "sum_over_ranks",
    "unshare",
    "world_size",
]


_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


@contextmanager
def alone(condition: bool = True) -> Iterator[None]:
    """Where the condition holds, go on as the only process: the others may not be where this one is."""
    token = _ALONE.set(condition or _ALONE.get())
    try:
        yield
    finally:
        _ALONE.reset(token)


def world_size() -> int:
    """Number of processes that train together."""
    together = dist.is_available() and dist.is_initialized() and not _ALONE.get()
    return dist.get_world_size() if together else 1


def several() -> bool:
    """Whether there are other ranks, even while this one goes on `alone`."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Index of this process."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def sum_over_ranks(value: Tensor) -> Tensor:
    """Sum a tensor over all processes; without gradient."""
    value = value.detach()
    if world_size() > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def sum_of_numbers(*numbers: float) -> list[float]:
    """Sums of numbers over all processes, which this process waits for."""
    device = "cuda" if world_size() > 1 and dist.get_backend() == "nccl" else "cpu"
    return sum_over_ranks(torch.tensor(numbers, device=device)).tolist()


def mean_over_ranks(value: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean of the values, or of those that are counted, over all ranks; zero where there is none."""
    if counted is None and world_size() == 1 and value.numel():
        return value.detach().mean()
    counted = torch.ones_like(value) if counted is None else counted
    total = sum_over_ranks(torch.stack([(value * counted).sum(), counted.sum()]))
    return total[0] / total[1].clamp(min=1)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace the gradients by their means over all processes, in one collective call.

    A parameter that has no gradient counts as one with a gradient of zero: another process may have one for it.
    The gradients come in the memory layout of their parameters, which a fused optimizer relies on.
    """
    if world_size() == 1:
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        return
    gradients = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in trained]
    flat = sum_over_ranks(torch.cat([gradient.flatten() for gradient in gradients])) / world_size()
    for parameter, mean in zip(trained, torch.split(flat, [parameter.numel() for parameter in trained]), strict=True):
        mean = mean.view(parameter.shape)
        parameter.grad = mean if parameter.is_contiguous() else torch.empty_like(parameter).copy_(mean)


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Overwrite the tensors with those of the first process."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor.detach(), src=0)


def unshare(tensors: Iterable[Tensor]) -> None:
    """Give each tensor memory of its own: those of a spawned process lie in that of the process that spawned it."""
    for tensor in tensors:
        if tensor.is_shared():  # type: ignore[no-untyped-call]
            tensor.data = tensor.data.clone()
