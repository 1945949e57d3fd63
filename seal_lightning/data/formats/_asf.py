"""The skeleton of an ASF file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from seal_lightning.data.formats.motion import rotations
from seal_lightning.skeleton.text import TextFile

__all__ = ["Bone", "read_asf"]

Array = npt.NDArray[np.float64]

_RADIANS = {"deg": np.pi / 180, "rad": 1.0}
_ROOT_ORDER = ("tx", "ty", "tz", "rx", "ry", "rz")


@dataclass(frozen=True)
class Bone:
    """One bone. The root counts as a bone of length zero.

    Args:
        name: Its name.
        parent: Index of its parent; -1 for the root.
        vector: From its start to its end at rest, in the file's unit.
        axes: Its own axes as columns, shape (3, 3).
        dof: Degrees of freedom as declared, e.g. ``("rx", "rz")``.
        radians: Radians in the ASF file's unit of angles.
    """

    name: str
    parent: int
    vector: Array
    axes: Array
    dof: tuple[str, ...]
    radians: float


@dataclass
class _Entries:
    """The keywords of one bone or of one section, each with its line and the words after it."""

    file: TextFile
    line: int
    where: str
    words: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def put(self, line: int, keyword: str, words: list[str]) -> None:
        if keyword in self.words:
            raise self.file.error(line, f"Expected {keyword} once, but got it again.")
        self.words[keyword] = (line, words)

    def get(self, keyword: str, count: int) -> tuple[int, list[str]]:
        if keyword not in self.words:
            raise self.file.error(self.line, f"Expected {keyword} {self.where}, but got none.")
        line, words = self.words[keyword]
        if len(words) != count:
            raise self.file.error(line, f"Expected {count} words after {keyword}, but got {len(words)}.")
        return line, words

    def numbers(self, keyword: str, count: int) -> Array:
        line, words = self.get(keyword, count)
        return np.array(self.file.numbers(line, words, count, f"after {keyword}"))


@dataclass
class _Sections:
    """The contents of an ASF file by section; ``children`` holds the line and the name of each child by its parent."""

    units: _Entries
    root: _Entries
    bones: dict[str, _Entries] = field(default_factory=dict)
    children: dict[str, list[tuple[int, str]]] = field(default_factory=dict)


def read_asf(path: str | os.PathLike[str]) -> list[Bone]:
    """Read the root and all bones of an ASF file, parents first.

    Args:
        path: An ASF file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is malformed; the message names file and line.
    """
    file = TextFile(path)
    sections = _read_sections(file)
    line, (angle,) = sections.units.get("angle", 1)
    if angle.lower() not in _RADIANS:
        raise file.error(line, f"Expected angle deg or rad, but got {angle!r}.")
    radians = _RADIANS[angle.lower()]
    bones = [Bone("root", -1, np.zeros(3), np.eye(3), _root_order(sections.root), radians)]
    waiting = [(line, name, 0) for line, name in reversed(sections.children.pop("root", []))]
    while waiting:
        line, name, parent = waiting.pop()
        if name not in sections.bones:
            raise file.error(line, f"Expected the name of a bone, each once, but got {name!r}.")
        place = len(bones)
        bones.append(_bone(name, parent, sections.bones.pop(name), radians))
        waiting += [(line, child, place) for line, child in reversed(sections.children.pop(name, []))]
    loose = [(entries.line, name) for name, entries in sections.bones.items()]
    loose += [(links[0][0], name) for name, links in sections.children.items() if links]
    if loose:
        line, name = min(loose)
        raise file.error(line, f"Expected every bone to hang from the root in :hierarchy, but {name!r} does not.")
    return bones


def _read_sections(file: TextFile) -> _Sections:
    sections = _Sections(_Entries(file, file.last_line, "in :units"), _Entries(file, file.last_line, "in :root"))
    bone: _Entries | None = None
    section = ""
    for line, row in file.rows:
        # The format counts commas and parentheses as blanks. Rows that begin with one go on with `limits`.
        words = row.replace("(", " ").replace(")", " ").replace(",", " ").split()
        if not words or row[0] in "(),":
            continue
        keyword, words = words[0], words[1:]
        if keyword.startswith(":"):
            section = keyword[1:].lower()
        elif section in ("units", "root"):
            (sections.units if section == "units" else sections.root).put(line, keyword.lower(), words)
        elif section == "bonedata":
            if (keyword == "begin") == (bone is not None):
                raise file.error(line, f"Expected begin and end around every bone, but got {keyword!r} here.")
            if bone is None:
                bone = _Entries(file, line, "in the bone that begins here")
            elif keyword == "end":
                named, (name,) = bone.get("name", 1)
                if name in sections.bones or name == "root":
                    raise file.error(named, f"Expected bones of different names, but got {name!r} again.")
                sections.bones[name], bone = bone, None
            else:
                bone.put(line, keyword, words)
        elif section == "hierarchy" and keyword not in ("begin", "end"):
            sections.children.setdefault(keyword, []).extend((line, word) for word in words)
    if bone is not None:
        raise file.error(bone.line, "Expected an end to the bone that begins here, but got none.")
    return sections


def _root_order(root: _Entries) -> tuple[str, ...]:
    line, words = root.get("order", 6)
    order = tuple(word.lower() for word in words)
    if sorted(order) != sorted(_ROOT_ORDER):
        raise root.file.error(line, f"Expected an order of TX TY TZ RX RY RZ, but got {' '.join(words)}.")
    for keyword in ("position", "orientation"):
        if keyword in root.words and root.numbers(keyword, 3).any():
            raise root.file.error(
                root.words[keyword][0],
                f"Expected {keyword} 0 0 0 of the root, since programs read others in different ways, "
                f"but got {' '.join(root.words[keyword][1])}.",
            )
    return order


def _bone(name: str, parent: int, entries: _Entries, radians: float) -> Bone:
    direction, length = entries.numbers("direction", 3), entries.numbers("length", 1)[0]
    norm = float(np.linalg.norm(direction))
    if length < 0 or (norm < 1e-6 and length > 0):
        line = entries.words["length"][0]
        raise entries.file.error(line, f"Expected a length from 0 on along some direction for bone {name!r}.")
    line, (*angles, letters) = entries.get("axis", 4)
    order = letters.lower()
    if sorted(order) != ["x", "y", "z"]:
        raise entries.file.error(line, f"Expected the order of axis to be like XYZ, but got {letters!r}.")
    # The first letter turns first, about a fixed axis, and so stands rightmost.
    turns = np.array(entries.file.numbers(line, angles, 3, "after axis")) * radians
    axes = rotations(order[::-1], turns[::-1])
    line, dof = entries.words.get("dof", (entries.line, []))
    kinds = tuple(word.lower() for word in dof)
    if not set(kinds) <= {"rx", "ry", "rz"} or len(set(kinds)) < len(kinds):
        raise entries.file.error(
            line, f"Expected dof of bones to be rx, ry and rz, each once, but got {' '.join(dof)}."
        )
    return Bone(name, parent, direction / max(norm, 1e-6) * length, axes, kinds, radians)
