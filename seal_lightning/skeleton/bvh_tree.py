"""The hierarchy of a BVH file; the lines of the motion that follow it are left unread."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from seal_lightning.skeleton.sides import partners_by_name, unique_names
from seal_lightning.skeleton.text import TextFile

__all__ = ["Hierarchy", "Joint", "read_hierarchy"]

_AXES = ("x", "y", "z")
_CHANNELS = tuple(f"{axis}{kind}" for kind in ("position", "rotation") for axis in _AXES)


@dataclass
class Joint:
    """One joint or End Site.

    Args:
        name: Its name, as in the file.
        parent: Index of its parent; -1 for the root.
        line: Line of the file in which it begins.
        is_end: Whether it is an End Site, which has no channels and no children.
        offset: Its position relative to the parent, in the unit of the file.
        channels: Columns of the motion and their kinds, e.g. ``(3, "zrotation")``, in order.
    """

    name: str
    parent: int
    line: int
    is_end: bool = False
    offset: tuple[float, ...] = ()
    channels: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Hierarchy:
    """The joints of a BVH file, parents first, and the lines of its motion.

    Args:
        file: The file.
        motion: Number and content of every line from MOTION on.
        joints: Joints and End Sites in the order of the file.
        columns: Number of channels of all joints together.
    """

    file: TextFile
    motion: list[tuple[int, str]]
    joints: list[Joint] = field(default_factory=list)
    columns: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """A name for every joint, all different."""
        return unique_names([joint.name for joint in self.joints])

    @property
    def parents(self) -> tuple[int, ...]:
        """Parent index per joint."""
        return tuple(joint.parent for joint in self.joints)

    @property
    def partners(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Left joints and their right partners, found by name."""
        return partners_by_name(self.names, self.parents)


def read_hierarchy(path: str | os.PathLike[str]) -> Hierarchy:
    """Read the HIERARCHY of a BVH file.

    Args:
        path: A BVH file; its motion may be missing.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the hierarchy is malformed; the message names file and line.
    """
    file = TextFile(path)
    is_motion = (place for place, (_, row) in enumerate(file.rows) if row.split()[0].upper() == "MOTION")
    end = next(is_motion, len(file.rows))
    hierarchy = Hierarchy(file, file.rows[end:])
    _Parser(hierarchy, file.rows[:end]).parse()
    return hierarchy


class _Parser:
    """Reads the hierarchy word by word, since line breaks have no meaning in it except after a name.

    ``open`` holds the joints whose closing brace has not come yet, the innermost last, and ``due`` what each of them
    still has to have.
    """

    def __init__(self, hierarchy: Hierarchy, rows: list[tuple[int, str]]) -> None:
        self.hierarchy, self.joints, self.file = hierarchy, hierarchy.joints, hierarchy.file
        self.words = deque(_words(rows))
        self.line = 1
        self.open: list[int] = []
        self.due: list[set[str]] = []

    def parse(self) -> None:
        if self.take("HIERARCHY").upper() != "HIERARCHY":
            raise self.error("Expected a BVH file to begin with HIERARCHY.")
        while self.words:
            word = self.take()
            match word.lower():
                case "root" | "joint":
                    self.begin(word, self.name(word))
                case "end":
                    self.name(word)
                    self.begin(word, self.inner(word).name + "_end")
                case "offset":
                    self.read_offset()
                case "channels":
                    self.read_channels()
                case "}":
                    self.close()
                case _:
                    raise self.error(f"Expected ROOT, JOINT, End Site, OFFSET, CHANNELS or a brace, but got {word!r}.")
        if self.open:
            name = self.joints[self.open[-1]].name
            raise self.error(f"Expected a closing brace for joint {name!r}, but the hierarchy ends.")
        if not self.joints:
            raise self.error("Expected a ROOT joint, but the hierarchy ends.")

    def take(self, what: str = "more") -> str:
        if not self.words:
            raise self.error(f"Expected {what}, but the hierarchy ends.")
        self.line, word = self.words.popleft()
        return word

    def name(self, keyword: str) -> str:
        """Take the rest of the line up to a brace: names may hold blanks."""
        line, words = self.line, []
        while self.words and self.words[0][0] == line and self.words[0][1] != "{":
            words.append(self.take())
        if not words:
            raise self.error(f"Expected a name after {keyword}.")
        return " ".join(words)

    def begin(self, keyword: str, name: str) -> None:
        if (keyword.lower() == "root") == bool(self.joints):
            raise self.error("Expected one ROOT, before all other joints.")
        parent = -1 if keyword.lower() == "root" else self.open[-1] if self.open else None
        if parent is None:
            raise self.error(f"Expected {keyword} inside a joint, but all joints are closed.")
        if parent >= 0 and self.joints[parent].is_end:
            raise self.error("Expected no joint inside an End Site.")
        is_end = keyword.lower() == "end"
        self.joints.append(Joint(name, parent, self.line, is_end))
        self.open.append(len(self.joints) - 1)
        self.due.append({"OFFSET"} if is_end else {"OFFSET", "CHANNELS"})
        if self.take("an opening brace") != "{":
            raise self.error(f"Expected an opening brace after {name!r}.")

    def inner(self, keyword: str) -> Joint:
        if not self.open:
            raise self.error(f"Expected {keyword} inside a joint.")
        return self.joints[self.open[-1]]

    def once(self, keyword: str) -> Joint:
        joint = self.inner(keyword)
        if keyword not in self.due[-1]:
            wanted = "an End Site without CHANNELS" if joint.is_end and keyword == "CHANNELS" else f"one {keyword}"
            raise self.error(f"Expected {wanted}, but got another in joint {joint.name!r}.")
        self.due[-1].remove(keyword)
        return joint

    def read_offset(self) -> None:
        joint = self.once("OFFSET")
        words = ((self.take("three numbers"), self.line) for _ in _AXES)
        joint.offset = tuple(self.file.number(line, word) for word, line in words)

    def read_channels(self) -> None:
        joint = self.once("CHANNELS")
        count = self.take("a number")
        for _ in range(self.file.count(self.line, count)):
            channel = self.take("a channel")
            kind = channel.lower()
            if kind not in _CHANNELS:
                raise self.error(f"Expected a channel like Xposition or Zrotation, but got {channel!r}.")
            if kind.endswith("position") and kind in (name for _, name in joint.channels):
                raise self.error(f"Expected {channel} of joint {joint.name!r} once, but got it twice.")
            joint.channels.append((self.hierarchy.columns, kind))
            self.hierarchy.columns += 1

    def close(self) -> None:
        joint = self.inner("a closing brace")
        if due := sorted(self.due[-1]):
            raise self.error(f"Expected {due[0]} in joint {joint.name!r}, but it ends without.")
        self.open.pop()
        self.due.pop()

    def error(self, message: str) -> ValueError:
        return self.file.error(self.line, message)


def _words(rows: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    for line, row in rows:
        for word in row.replace("{", " { ").replace("}", " } ").split():
            yield line, word
