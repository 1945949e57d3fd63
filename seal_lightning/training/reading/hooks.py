"""Hooks and custom backward passes of the host between its loss and its prediction: SEAL's look sets none off twice.

The gradient at the prediction is looked at before the host's own backward pass. What the host has asked to be told of
gradients would then be told twice. So each such function is run in the look, and what it returned is handed out again
in the backward pass, where the same gradient comes by.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor

__all__ = ["Gates"]

_NODE = torch.autograd.function.BackwardCFunction
_REFUSED = {
    "BackwardHookFunctionBackward": "a full backward hook on a module",
    "CheckpointFunctionBackward": "a reentrant `torch.utils.checkpoint` (`use_reentrant=False` works)",
}


class Gates:
    """Keeps the host's hooks of one step from firing twice."""

    def __init__(self) -> None:
        self._hooks: list[_Once] = []
        self._retained: list[Tensor] = []

    def register(self, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Run `Tensor.register_hook`, with a hook that fires once, or `Tensor.retain_grad`."""
        tensor, *more = args
        if function.__name__ == "retain_grad":
            self._retained.append(tensor)
            return function(*args, **kwargs)
        once = _Once(more[0] if more else kwargs["hook"], tensor)
        self._hooks.append(once)
        return function(tensor, once)

    @contextmanager
    def looking(self, loss: Tensor, at: Tensor, walk: bool, hooked: Sequence[str] = ()) -> Iterator[None]:
        """A context in which a gradient may be looked at.

        Args:
            loss: What is differentiated.
            at: With respect to what.
            walk: Whether the graph between them may hold what was not seen to be made, and has to be searched.
            hooked: Networks between them that register hooks when they are called, which is not seen either.

        Raises:
            ValueError: If something lies between them that cannot be kept from firing twice.
        """
        nodes = [_once_in_look(node) for node in _custom_nodes(loss, at)] if walk else []
        if hooked:
            _refuse(f"a hook that `{hooked[0]}` registers when it is called")
        before = [tensor.grad for tensor in self._retained]
        gates = [*self._hooks, *nodes]
        for gate in gates:
            gate.looked_at = at
        try:
            yield
        finally:
            for gate in gates:
                gate.looked_at = None
            for tensor, gradient in zip(self._retained, before, strict=True):
                tensor.grad = gradient


class _Once:
    """A function of gradients that runs in the look, and is skipped when the same gradients come again.

    Args:
        function: The host's function.
        tensor: Whose gradient it is told; at the prediction itself the energy is still to be added, so that the look
            leaves its hooks out.
    """

    def __init__(self, function: Callable[..., Any], tensor: Tensor | None) -> None:
        self.function, self.tensor = function, tensor
        self.looked_at: Tensor | None = None
        self.kept: list[Any] = []
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *gradients: Any) -> Any:
        if self.looked_at is None:
            return self.kept.pop() if self.kept else self.function(*gradients)
        if self.tensor is self.looked_at:
            return None
        self.kept = [self.function(*gradients)]
        return self.kept[0]


def _once_in_look(node: Any) -> _Once:
    if not isinstance(vars(node).get("apply"), _Once):
        here, backward = weakref.ref(node), type(node).apply  # held weakly, or node and function would hold each other
        # The engine asks the node itself for `apply`, so that its class stays as it is.
        node.apply = _Once(lambda *gradients: backward(here(), *gradients), None)
    return node.apply  # type: ignore[no-any-return]


def _custom_nodes(loss: Tensor, at: Tensor) -> list[Any]:
    """Nodes of custom functions on the way from the loss to a tensor."""
    goal, stack = at.grad_fn, [loss.grad_fn]
    reached_from: dict[Any, list[Any]] = {loss.grad_fn: []}
    while stack:
        node = stack.pop()
        for following, _ in node.next_functions if node is not None and node is not goal else ():
            if following is not None and following not in reached_from:
                reached_from[following] = []
                stack.append(following)
            if following is not None:
                reached_from[following].append(node)
    on_the_way, stack = set[Any](), [goal]
    while stack:
        node = stack.pop()
        new = [before for before in reached_from.get(node, ()) if before not in on_the_way]
        on_the_way.update(new)
        stack.extend(new)
    for node in on_the_way:
        if (name := node.name()) in _REFUSED:
            _refuse(_REFUSED[name])
    return [node for node in on_the_way if isinstance(node, _NODE)]


def _refuse(what: str) -> NoReturn:
    raise ValueError(
        f"Expected nothing between the loss and the prediction that must not run twice, but got {what}: SEAL looks at "
        "the gradient there before the backward pass. Move it out of the way from the prediction to the loss, or use "
        "weight 0."
    )
