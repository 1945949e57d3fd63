"""Left and right partners, found by the names of joints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

__all__ = ["partners_by_name", "unique_names"]

# A word; or a single letter that stands alone (`arm_l`) or begins the name (`LHipJoint`, `rfemur`, `rig:lThigh`).
_MARK = re.compile(r"left|right|(?<![a-z])[lr](?![a-z])|(?:^|(?<=:))[lr](?=[a-z])", re.IGNORECASE)
_OTHER = {"l": "r", "r": "l", "left": "right", "right": "left"}


def partners_by_name(names: Sequence[str], parents: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Find left/right partners: joints whose names become each other's when one mark of a side is swapped.

    Marks are the words left and right anywhere in a name, and the letters L and R where they stand alone or begin the
    name, in upper or lower case. Joints with more than one possible partner get none. Nor do two joints whose parents
    are neither partners nor the same joint.

    Args:
        names: Different names.
        parents: Parent index per joint, smaller than the joint's own; -1 for the root.

    Returns:
        The left joints, and their right partners in the same order.

    Example:
        >>> partners_by_name(["hip", "lfemur", "rfemur", "LeftHand", "lip"], [-1, 0, 0, 1, 0])
        ((1,), (2,))
    """
    index = {name: joint for joint, name in enumerate(names)}
    candidates = [{index[other] for other, _ in _swapped(name) if other in index} for name in names]
    partner = list(range(len(names)))
    left, right = [], []
    for joint, name in enumerate(names):
        if len(candidates[joint]) != 1:
            continue
        (other,) = candidates[joint]
        mirrored = _parent(partner, parents[joint]) == parents[other]
        if other > joint and candidates[other] == {joint} and mirrored:
            partner[joint], partner[other] = other, joint
            is_left = dict(_swapped(name))[names[other]]
            left.append(joint if is_left else other)
            right.append(other if is_left else joint)
    return tuple(left), tuple(right)


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Number joints of the same name: the second ``Site`` becomes ``Site_2``, the third ``Site_3``, in order.

    A number is skipped if another joint has that name already.

    Example:
        >>> unique_names(["Hips", "Site", "Site", "Site_2", "Site"])
        ('Hips', 'Site', 'Site_3', 'Site_2', 'Site_4')
    """
    taken, result, numbers = set(names), [], dict.fromkeys(names, 1)
    for name in names:
        unique = name
        if numbers[name] > 1:
            while (unique := f"{name}_{numbers[name]}") in taken:
                numbers[name] += 1
            taken.add(unique)
        numbers[name] += 1
        result.append(unique)
    return tuple(result)


def _swapped(name: str) -> Iterator[tuple[str, bool]]:
    """Yield the name with one of its marks swapped, and whether that mark was a left one, for every mark."""
    for mark in _MARK.finditer(name):
        word = mark[0]
        other = _OTHER[word.lower()]
        cased = other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other
        yield name[: mark.start()] + cased + name[mark.end() :], word[0] in "lL"


def _parent(partner: Sequence[int], parent: int) -> int:
    return parent if parent < 0 else partner[parent]
