"""How the benchmarks measure: interleaved rounds, arithmetic, memory."""

from __future__ import annotations

import platform
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from statistics import median
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten
from torch.utils.flop_counter import flop_registry

__all__ = ["Meter", "interleaved", "matmul_rate", "metered", "products_alone", "versions"]

WARM_UP = 2


def interleaved(programs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every program in every round, each once a round: what slows the machine down meets all alike.

    With one thread these are seconds of the processor, to which other programs on the machine add little.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(WARM_UP + rounds):
        for name, program in programs.items():
            start = clock()
            program()
            if turn >= WARM_UP:
                seconds[name].append(clock() - start)
    return seconds


def matmul_rate(rows: int, width: int, columns: int, dtype: torch.dtype, rounds: int = 10) -> float:
    """Floating-point operations a second in the product of (rows, width) and (width, columns)."""
    left, right = torch.randn(rows, width).to(dtype), torch.randn(width, columns).to(dtype)
    (seconds,) = interleaved({"matmul": lambda: left @ right}, rounds).values()
    return 2 * rows * width * columns / median(seconds)


_FREE = ("empty", "new_empty", "_unsafe_view", "lift_fresh")  # no work for a device, like views


class Meter(TorchDispatchMode):
    """Counts the operations, the arithmetic and the memory of what runs inside.

    An operation is what PyTorch dispatches, other than views and the reservation of memory: on a GPU, about a kernel.
    The arithmetic is that of matrix products and convolutions, backward passes included; the memory is the most bytes
    that were alive at once, beyond what was there before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.flops = self.peak = self._now = 0
        self.products: Counter[tuple[Any, ...]] = Counter()
        self._known: weakref.WeakValueDictionary[int, torch.UntypedStorage] = weakref.WeakValueDictionary()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and take note of what it cost."""
        kwargs = kwargs or {}
        given = {tensor.untyped_storage().data_ptr() for tensor in _tensors((args, kwargs))}
        result = function(*args, **kwargs)
        self.operations += not (function.is_view or function.overloadpacket.__name__.startswith(_FREE))
        if function.overloadpacket in flop_registry:
            self.flops += flop_registry[function.overloadpacket](*args, **kwargs, out_val=result)
            leaves, tree = tree_flatten((args, kwargs))
            self.products[function, tree, tuple(_Layout.of(leaf) for leaf in leaves)] += 1
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in given and storage.data_ptr() not in self._known:
                self._known[storage.data_ptr()] = storage
                self._now += storage.nbytes()
                weakref.finalize(storage, self._free, storage.nbytes())
        self.peak = max(self.peak, self._now)
        return result

    def _free(self, size: int) -> None:
        self._now -= size


def metered(program: Callable[[], object]) -> Meter:
    """Run a program once under a meter."""
    with Meter() as meter:
        program()
    return meter


def products_alone(products: Mapping[tuple[Any, ...], int], rounds: int) -> float:
    """Seconds that products counted by a `Meter` take by themselves, each on tensors of the same layout."""
    total = 0.0
    for (function, tree, leaves), count in products.items():
        made = [leaf.make() if isinstance(leaf, _Layout) else leaf for leaf in leaves]
        args, kwargs = tree_unflatten(made, tree)
        (seconds,) = interleaved({"product": partial(function, *args, **kwargs)}, rounds).values()
        total += count * median(seconds)
    return total


class _Layout(NamedTuple):
    """What the speed of a product depends on in a tensor."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, leaf: Any) -> Any:
        """Layout of a tensor; anything else stays what it is."""
        return cls(tuple(leaf.shape), leaf.stride(), leaf.dtype) if isinstance(leaf, torch.Tensor) else leaf

    def make(self) -> torch.Tensor:
        """Return a tensor of this layout."""
        return torch.empty_strided(self.size, self.stride, dtype=self.dtype).normal_()


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def versions() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    packages = {name: version(name) for name in ("torch", "lightning", "numpy", "seal_lightning")}
    return {"python": platform.python_version(), **packages, "threads": torch.get_num_threads()}
