"""What a recording must not hold: random numbers, and whatever waits for the device or comes from the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Rules", "Tape"]

_DRAWS = (torch.rand, torch.randn, torch.randperm)
_WAITS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


class _Draw(NamedTuple):
    """A call that draws random numbers, without its generator."""

    function: Callable[..., Tensor]
    args: tuple[Any, ...]
    options: dict[str, Any]

    def __call__(self, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        return self.function(*self.args, **{**self.options, "dtype": dtype, "generator": generator})


class Tape(TorchFunctionMode):
    """Notes what a step draws from a generator; later hands out fixed memory in place of new random numbers.

    The random numbers of a step are drawn on the host, which a graph leaves out. So they are drawn outside of it, in
    the same order and from the same seed, and brought into the memory that the graph reads.
    """

    def __init__(self) -> None:
        super().__init__()
        self._draws: list[_Draw] = []
        self._dtypes: list[torch.dtype] = []
        self._memory: list[Tensor] | None = None
        self._next = 0
        self._generator = torch.Generator()

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Take note of a call that draws, or answer it from memory."""
        options = dict(kwargs or {})
        if options.pop("generator", None) is None:
            return function(*args, **options)
        draw = _Draw(function, args, options)
        if self._memory is None:
            numbers: Tensor = function(*args, **(kwargs or {}))
            self._draws.append(draw)
            self._dtypes.append(numbers.dtype)
            return numbers
        if self._next >= len(self._draws) or self._draws[self._next] != draw or function not in _DRAWS:
            raise RuntimeError("the random numbers of a step are not those of the step before")
        self._next += 1
        return self._memory[self._next - 1]

    def hand_out(self, seed: int, device: torch.device) -> None:
        """From now on answer from memory on a device, which is filled for a first time."""
        self._generator.manual_seed(seed)
        self._memory = [numbers.to(device) for numbers in self._drawn()]

    def refill(self, seed: int) -> None:
        """Bring the random numbers of another step into the memory."""
        self._generator.manual_seed(seed)
        for memory, numbers in zip(self._memory or (), self._drawn(), strict=True):
            memory.copy_(numbers, non_blocking=True)

    def _drawn(self) -> list[Tensor]:
        return [draw(self._generator, dtype) for draw, dtype in zip(self._draws, self._dtypes, strict=True)]


class Rules(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses operations that a graph would not repeat as they were meant, or that cannot be part of one."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, or say why not."""
        name = function.overloadpacket.__name__
        # Attention is tagged for its dropout, which draws its numbers elsewhere if there is any.
        if torch.Tag.nondeterministic_seeded in function.tags and "sdp" not in name and "dot_product" not in name:
            raise RuntimeError(f"`{name}` draws random numbers inside of it")
        if any(tag in function.tags for tag in _WAITS):
            raise RuntimeError(f"`{name}` waits for the device")
        result = function(*args, **(kwargs or {}))
        if any(tensor.device.type != "cpu" for tensor in _tensors(result)) and any(
            tensor.device.type == "cpu" for tensor in _tensors((args, kwargs))
        ):
            raise RuntimeError(f"`{name}` reads memory of the host")
        return result


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
