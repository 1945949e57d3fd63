"""Where the force of the host's loss and that of an energy on one prediction can be compared."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

__all__ = ["Place", "as_rows", "find_place", "gradient_at"]

_NEAR = 6  # operations between the tensor that was compared and another view of it
_RESHAPES = ("ViewBackward", "ReshapeAliasBackward", "UnsafeViewBackward", "SqueezeBackward", "UnsqueezeBackward")


class Place(NamedTuple):
    """Where forces are compared.

    Args:
        edges: Edges of the graph through which the prediction enters the loss; none where it does not.
        own: Whether the one edge is that of the prediction itself, or of the same values in another shape.
        trains: Whether the loss trains all that the prediction is made from behind these edges.
    """

    edges: tuple[GradientEdge, ...] = ()
    own: bool = False
    trains: bool = True


def find_place(loss: Tensor, prediction: Tensor, compared: Any) -> Place:
    """Find all edges at which the graph of a prediction enters that of a loss.

    Args:
        loss: The host's loss.
        prediction: What is said to be the prediction.
        compared: Edge of the tensor that the loss compared with the truth, where it is known.
    """
    if not prediction.requires_grad:
        return Place()
    start = get_gradient_edge(prediction)
    if compared is not None:
        if _same(start, compared):
            return Place((compared,), own=True)
        way = _way(start, compared)
        if way is not None:
            return Place((compared,), own=all(name.startswith(_RESHAPES) for name in way))
    return _enters(get_gradient_edge(loss), start)


def gradient_at(loss: Tensor, prediction: Tensor, place: Place) -> Tensor:
    """The gradient of a loss at a place: shaped as the prediction where the place is its own, else one row a sample.

    Raises:
        ValueError: If what the prediction is made from there has not the samples of the prediction.
    """
    gradients = torch.autograd.grad(loss, place.edges, retain_graph=True)
    if place.own:
        return gradients[0].reshape(prediction.shape)
    rows = len(prediction)
    shapes = [tuple(gradient.shape) for gradient in gradients]
    if any(gradient.numel() % max(1, rows) for gradient in gradients):
        raise ValueError(
            f"Expected what the prediction of `seal_batch` is made from in the loss to have its {rows} samples, but "
            f"got {shapes}. Return a prediction that is nearer to what the loss compares."
        )
    return torch.cat([as_rows(gradient, rows) for gradient in gradients], 1)


def as_rows(gradient: Tensor, rows: int) -> Tensor:
    """A gradient with one row a sample."""
    return gradient.reshape(rows, gradient.numel() // max(1, rows))


def _same(one: GradientEdge, other: GradientEdge) -> bool:
    return one.node is other.node and one.output_nr == other.output_nr


def _way(start: GradientEdge, goal: GradientEdge) -> list[str] | None:
    """The operations that lead straight from one place up to another, as a reshape or two; None where none do."""
    node: Any = start.node
    way = []
    for _ in range(_NEAR):
        following = [(after, number) for after, number in node.next_functions if after is not None]
        if len(following) != 1 or isinstance(node, torch.autograd.function.BackwardCFunction):
            return None
        way.append(node.name())
        node, number = following[0]
        if node is goal.node and number == goal.output_nr:
            return way
    return None


def _enters(loss: GradientEdge, start: GradientEdge) -> Place:
    reached = {(loss.node, loss.output_nr)}
    stack: list[Any] = [loss.node]
    while stack:
        for following in stack.pop().next_functions:
            if following[0] is not None and following not in reached:
                reached.add(following)
                stack.append(following[0])
    edges: list[GradientEdge] = []
    trains, seen, stack = True, set[Any](), [(start.node, start.output_nr)]
    while stack:
        place = stack.pop()
        if place in seen or place[0] is None:
            continue
        seen.add(place)
        if hasattr(place[0], "variable"):  # a parameter: prediction and loss part before any pose was made
            trains = False
        elif place in reached:
            edges.append(GradientEdge(*place))
        else:
            stack.extend(place[0].next_functions)
    return Place(tuple(edges), own=len(edges) == 1 and _same(edges[0], start), trains=trains)
