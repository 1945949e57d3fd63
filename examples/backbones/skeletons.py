"""Human3.6M's joint order as plain data: the default skeleton of the backbones that need one."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["H36M_LEFT", "H36M_PARENTS", "H36M_RIGHT", "adjacency"]

H36M_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
H36M_LEFT = (4, 5, 6, 11, 12, 13)
H36M_RIGHT = (1, 2, 3, 14, 15, 16)


def adjacency(parents: Sequence[int]) -> Tensor:
    """Neighbours along the bones, shape (J, J), bool, symmetric; no joint is its own neighbour.

    Args:
        parents: Parent index per joint; -1 where a joint has none.

    Raises:
        ValueError: If a parent is not a joint, or a joint is its own ancestor.

    Example:
        >>> adjacency([-1, 0, 1]).int().tolist()
        [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    """
    neighbours = torch.zeros(len(parents), len(parents), dtype=torch.bool, device="cpu")
    for joint, parent in enumerate(parents):
        if not -1 <= parent < len(parents):
            raise ValueError(f"Expected `parents` to be joints below {len(parents)} or -1, but got {tuple(parents)}.")
        if parent >= 0:
            neighbours[joint, parent] = neighbours[parent, joint] = True
    for joint in range(len(parents)):
        ancestors = {joint}
        while (joint := parents[joint]) >= 0:
            if joint in ancestors:
                raise ValueError(f"Expected `parents` to have no cycle, but joint {joint} is its own ancestor.")
            ancestors.add(joint)
    return neighbours
