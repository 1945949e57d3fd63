"""What the names of joints tell: left and right, and whether two names mean one joint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

__all__ = ["misnamed_joint", "partners_by_name", "unique_names"]

# A word; or a single letter that stands alone (`arm_l`) or begins the name (`LHipJoint`, `rfemur`, `rig:lThigh`).
_MARK = re.compile(r"left|right|(?<![a-z])[lr](?![a-z])|(?:^|(?<=:))[lr](?=[a-z])", re.IGNORECASE)
_OTHER = {"l": "r", "r": "l", "left": "right", "right": "left"}
# Words of a name: `RKnee`, `right_knee`, `rknee` and `right knee` have the same two.
_WORD = re.compile(
    r"(?:^|(?<=[^A-Za-z]))[lrLR](?=hip|knee|ankle|shoulder|elbow|wrist|eye|ear)|[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+"
)
_SIDES = {"l": "left", "r": "right"}
# By the name that a skeleton has for a joint, what files call it too.
_ALSO = {
    **{"hip": {"pelvis", "root"}, "pelvis": {"hip", "root"}, "ankle": {"foot"}, "wrist": {"hand"}},
    **{"thorax": {"neck", "chest"}, "neck": {"nose"}, "spine": {"torso", "belly"}, "index": {"forefinger"}},
}


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


def misnamed_joint(names: Sequence[str], expected: Sequence[str]) -> int | None:
    """The first joint whose name in a file means another joint than the one expected in its place; None if all agree.

    Names agree where they say the same side, the same numbers, and one part of the body in common, whatever their
    spelling; and one that is spelled like a joint in another place agrees with that joint alone. Joints without a real
    name, ``joint_0``, agree with any.

    Example:
        >>> misnamed_joint(["pelvis", "right_hip", "left knee"], ["Hip", "RHip", "LKnee"])
        >>> misnamed_joint(["nose", "left_eye", "head_top"], ["nose", "left_eye", "right_eye"])
        2
    """
    stated, wanted = [_words(name) for name in names], [_words(name) for name in expected]
    for place, (found, want) in enumerate(zip(stated, wanted, strict=True)):
        if found == want or want[2] == {"joint"}:
            continue
        also = set().union(*(_ALSO.get(part, set()) for part in want[2]))
        shared = found[2] & want[2] and found not in wanted
        if found[:2] != want[:2] or not (shared or found[2] & also):
            return place
    return None


def _words(name: str) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The sides, the numbers and the parts of the body that a name says."""
    words = [_SIDES.get(word.lower(), word.lower()) for word in _WORD.findall(name)]
    sides, digits = frozenset(words) & {"left", "right"}, frozenset(word for word in words if word.isdigit())
    return sides, digits, frozenset(words) - sides - digits


def _swapped(name: str) -> Iterator[tuple[str, bool]]:
    """Yield the name with one of its marks swapped, and whether that mark was a left one, for every mark."""
    for mark in _MARK.finditer(name):
        word = mark[0]
        other = _OTHER[word.lower()]
        cased = other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other
        yield name[: mark.start()] + cased + name[mark.end() :], word[0] in "lL"


def _parent(partner: Sequence[int], parent: int) -> int:
    return parent if parent < 0 else partner[parent]
