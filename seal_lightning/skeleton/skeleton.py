"""Skeletons: joint names, the kinematic tree, and the quantities derived from them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from seal_lightning._values import did_you_mean, is_whole
from seal_lightning.skeleton.bvh_tree import read_hierarchy
from seal_lightning.skeleton.catalogue import BUILT_IN

__all__ = ["Skeleton", "get_skeleton"]


@dataclass(frozen=True)
class Skeleton:
    r"""A kinematic tree of joints with left/right partners.

    Joints are numbered from 0 in the order of ``names``, which is the order of the joint axis of every pose.
    A bone is a joint together with its parent, so a tree of J joints has J - 1 bones.

    Args:
        names: One name per joint, all different.
        parents: Parent index per joint; -1 marks the one tree root.
        left: Left joints, in the order of their partners in ``right``.
        right: Right joints.
        root: The joint, or the several joints whose mean, poses are aligned to. Defaults to the tree root.
        limbs: Chains of joints along the tree, e.g. hip-knee-ankle; limb length error is measured over these.

    Raises:
        ValueError: If the joints do not form one tree, or the partners are not symmetric in it.

    Example:
        >>> arm = Skeleton(("neck", "l", "r", "l2", "r2"), (-1, 0, 0, 1, 2), left=(1, 3), right=(2, 4))
        >>> arm.bones
        ((1, 0), (2, 0), (3, 1), (4, 2))
        >>> arm.paired_bones
        ((0, 1), (2, 3))
        >>> arm.hops[3].tolist()
        [2, 1, 3, 0, 4]
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    left: tuple[int, ...] = ()
    right: tuple[int, ...] = ()
    root: int | tuple[int, ...] | None = None
    limbs: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", _as_tuple("names", self.names))
        for field in ("parents", "left", "right"):
            object.__setattr__(self, field, _as_indices(field, getattr(self, field)))
        limbs = _as_tuple("limbs", self.limbs)
        object.__setattr__(self, "limbs", tuple(_as_indices("limbs", limb) for limb in limbs))
        if self.root is not None:
            single = is_whole(self.root)
            root = _as_indices("root", (self.root,) if single else self.root)
            object.__setattr__(self, "root", root[0] if single else root)
        self._check_tree()
        self._check_partners()
        self._check_root()
        self._check_limbs()
        # Before Python 3.12 a cached property takes a lock when it is first read, which breaks the graph of
        # torch.compile. The properties that are read in a training step are cached here.
        _ = self.order, self.paired_bones, self.limb_bones

    @classmethod
    def from_parents(
        cls,
        parents: Sequence[int],
        names: Sequence[str] | None = None,
        left: Sequence[int] = (),
        right: Sequence[int] = (),
        root: int | Sequence[int] | None = None,
        limbs: Sequence[Sequence[int]] = (),
    ) -> Skeleton:
        """Build a skeleton from parent indices alone; unnamed joints are called ``joint_0``, ``joint_1``, ...

        Example:
            >>> Skeleton.from_parents([-1, 0, 1]).names
            ('joint_0', 'joint_1', 'joint_2')
        """
        names = [f"joint_{i}" for i, _ in enumerate(_as_tuple("parents", parents))] if names is None else names
        return cls(names, parents, left, right, root, limbs)  # type: ignore[arg-type]

    @classmethod
    def from_bvh(cls, path: str | os.PathLike[str]) -> Skeleton:
        """Read the joints of a BVH file, in the order of the file; it may have no motion.

        An End Site is a joint too, ``Head_end`` below ``Head``. The second joint of the same name becomes ``name_2``.
        Left/right partners are joints whose names differ only in the words left and right, or in an L and R that stand
        alone or begin the name. Joints with several possible partners, or with parents that are neither partners nor
        the same joint, have no partner.

        Args:
            path: A BVH file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the hierarchy is malformed; the message names file and line.

        Example:
            >>> from pathlib import Path
            >>> from tempfile import mkdtemp
            >>> path = Path(mkdtemp(), "legs.bvh")
            >>> site = "OFFSET 0 -4 0 CHANNELS 1 Xrotation End Site { OFFSET 0 -4 0 } }"
            >>> legs = f"JOINT LeftLeg {{ {site} JOINT RightLeg {{ {site}"
            >>> _ = path.write_text("HIERARCHY ROOT Hips { OFFSET 0 0 0 CHANNELS 0 " + legs + " }")
            >>> skeleton = Skeleton.from_bvh(path)
            >>> skeleton.names
            ('Hips', 'LeftLeg', 'LeftLeg_end', 'RightLeg', 'RightLeg_end')
            >>> skeleton.left, skeleton.right, skeleton.parents
            ((1, 2), (3, 4), (-1, 0, 1, 0, 3))
        """
        hierarchy = read_hierarchy(path)
        return cls(hierarchy.names, hierarchy.parents, *hierarchy.partners)

    def __getstate__(self) -> dict[str, Any]:
        # What follows from the fields is found again where it is needed: a data loader's worker gets the fields alone.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def num_joints(self) -> int:
        """Number of joints J."""
        return len(self.names)

    @property
    def tree_root(self) -> int:
        """The joint without a parent."""
        return self.parents.index(-1)

    @cached_property
    def root_joints(self) -> tuple[int, ...]:
        """The joints whose mean poses are aligned to."""
        if self.root is None:
            return (self.tree_root,)
        return (self.root,) if isinstance(self.root, int) else self.root

    @cached_property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """All bones as (child, parent), in the order of the child joints."""
        return tuple((child, parent) for child, parent in enumerate(self.parents) if parent >= 0)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """All joints from the tree root outwards: every joint comes after its parent."""
        children: list[list[int]] = [[] for _ in self.parents]
        for child, parent in self.bones:
            children[parent].append(child)
        found: list[int] = []
        level = [self.parents.index(-1)]
        while level:
            found += level
            level = sorted(child for joint in level for child in children[joint])
        return tuple(found)

    @cached_property
    def partners(self) -> tuple[int, ...]:
        """Per joint its mirror image: the left/right partner, or the joint itself."""
        partner = list(range(self.num_joints))
        for left, right in zip(self.left, self.right, strict=True):
            partner[left], partner[right] = right, left
        return tuple(partner)

    @cached_property
    def paired_bones(self) -> tuple[tuple[int, int], ...]:
        """Indices (left, right) into ``bones`` of every bone whose child joint has a left/right partner."""
        index = {child: i for i, (child, _) in enumerate(self.bones)}
        pairs = zip(self.left, self.right, strict=True)
        return tuple((index[left], index[right]) for left, right in pairs if left in index and right in index)

    @cached_property
    def limb_bones(self) -> tuple[tuple[int, ...], ...]:
        """Per limb the indices into ``bones`` of its segments."""
        index = {frozenset(bone): i for i, bone in enumerate(self.bones)}
        return tuple(tuple(index[frozenset(pair)] for pair in pairwise(limb)) for limb in self.limbs)

    @cached_property
    def hops(self) -> Tensor:
        """Number of bones between every two joints, shape (J, J), int64."""
        neighbours: list[list[int]] = [[] for _ in self.names]
        for child, parent in self.bones:
            neighbours[child].append(parent)
            neighbours[parent].append(child)
        rows = []
        for start in range(self.num_joints):
            hops, frontier = {start: 0}, [start]
            while frontier:
                joint = frontier.pop()
                for other in neighbours[joint]:
                    if other not in hops:
                        hops[other] = hops[joint] + 1
                        frontier.append(other)
            rows.append([hops[joint] for joint in range(self.num_joints)])
        return torch.tensor(rows, dtype=torch.long, device="cpu")

    def _check_tree(self) -> None:
        count = len(self.names)
        if any(not isinstance(name, str) for name in self.names):
            raise TypeError(f"Expected `names` to be strings, but got {self.names}.")
        if count == 0 or len(set(self.names)) != count:
            raise ValueError(f"Expected `names` to be one different name per joint, but got {self.names}.")
        if len(self.parents) != count:
            raise ValueError(f"Expected `parents` to hold {count} indices, one per name, but got {len(self.parents)}.")
        if any(not is_whole(p) or not -1 <= p < count for p in self.parents):
            raise ValueError(f"Expected `parents` to be joint indices below {count} or -1, but got {self.parents}.")
        roots = [joint for joint, parent in enumerate(self.parents) if parent == -1]
        if len(roots) != 1:
            raise ValueError(f"Expected `parents` to have exactly one tree root (-1), but got {len(roots)}: {roots}.")
        if loose := {*range(count)} - {*self.order}:
            raise ValueError(f"Expected `parents` to be a tree, but joint {min(loose)} runs into a cycle.")

    def _check_partners(self) -> None:
        if len(self.left) != len(self.right):
            raise ValueError(
                f"Expected `left` and `right` to have the same length, but got {len(self.left)} and {len(self.right)}."
            )
        self._check_joints("left", self.left)
        self._check_joints("right", self.right)
        if both := sorted(set(self.left) & set(self.right)):
            raise ValueError(f"Expected `left` and `right` to be disjoint, but both hold joints {both}.")
        for left, right in zip(self.left, self.right, strict=True):
            above = self.parents[left], self.parents[right]
            if -1 not in above and self.partners[above[0]] != above[1]:
                raise ValueError(
                    f"Expected `left` and `right` to mirror the tree, but {self.names[left]!r} hangs from "
                    f"{self.names[above[0]]!r} and its partner {self.names[right]!r} from {self.names[above[1]]!r}."
                )

    def _check_root(self) -> None:
        if not self.root_joints:
            raise ValueError("Expected `root` to be a joint or several joints, but got an empty sequence.")
        self._check_joints("root", self.root_joints)

    def _check_limbs(self) -> None:
        neighbours = {frozenset(bone) for bone in self.bones}
        for limb in self.limbs:
            self._check_joints("limbs", limb)
            steps = [frozenset(pair) for pair in pairwise(limb)]
            if not steps or not neighbours.issuperset(steps):
                raise ValueError(f"Expected every limb to be a chain of bones of the tree, but got {limb}.")

    def _check_joints(self, argument: str, joints: tuple[int, ...]) -> None:
        if any(not is_whole(joint) or not 0 <= joint < self.num_joints for joint in joints):
            raise ValueError(
                f"Expected `{argument}` to hold joint indices from 0 to {self.num_joints - 1}, but got {joints}."
            )
        if len(set(joints)) != len(joints):
            raise ValueError(f"Expected `{argument}` to hold every joint once, but got {joints}.")


def _as_tuple(argument: str, values: object) -> tuple[Any, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"Expected `{argument}` to be a sequence, but got {values!r}.")
    return tuple(values)


def _as_indices(argument: str, values: object) -> tuple[Any, ...]:
    """Return a tuple in which integers of NumPy have become Python's; the checks find what is no integer."""
    return tuple(int(value) if is_whole(value) else value for value in _as_tuple(argument, values))


def get_skeleton(skeleton: str | Skeleton) -> Skeleton:
    """Return the built-in skeleton of that name; a `Skeleton` is returned as it is.

    Args:
        skeleton: ``"h36m17"``, ``"mpi_inf_3dhp17"``, ``"coco17"``, ``"h3wb133"``, ``"smpl24"``, ``"openpose25"``,
            ``"hand21"``, ``"plug_in_gait39"``, or a `Skeleton`.

    Raises:
        ValueError: If no built-in skeleton has that name.

    Example:
        >>> len(get_skeleton("h36m17").bones), len(get_skeleton("h36m17").paired_bones)
        (16, 6)
    """
    if isinstance(skeleton, Skeleton):
        return skeleton
    if not isinstance(skeleton, str) or skeleton not in _BUILT_IN:
        hint = did_you_mean(skeleton, _BUILT_IN)
        raise ValueError(f"Expected `skeleton` to be one of {sorted(_BUILT_IN)}, but got {skeleton!r}.{hint}")
    return _BUILT_IN[skeleton]


_BUILT_IN = {name: Skeleton(**table) for name, table in BUILT_IN.items()}
