"""Text files whose errors say in which file and at which line."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

__all__ = ["TextFile", "as_path", "regular_file"]

_COMMENT = re.compile(r"(?:^|(?<=\s))(?:#|//).*")
# Far beyond any recording, and small enough that sums and products of such numbers stay finite in float32.
_LARGEST = 1e12


def as_path(path: str | os.PathLike[str]) -> Path:
    """The path.

    Raises:
        TypeError: If it is none.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"Expected the path of a file or folder, but got {path!r}.")
    return Path(path)


def regular_file(path: str | os.PathLike[str]) -> Path:
    """The path, if a file of finite size lies there; reading ``/dev/zero`` or a pipe would never end.

    Raises:
        FileNotFoundError: If nothing lies there.
        TypeError: If it is no path.
        ValueError: If it is a folder or a device.
    """
    path = as_path(path)
    if not path.exists():
        raise FileNotFoundError(f"Expected a file at {str(path)!r}, but there is none.")
    if not path.is_file():
        raise ValueError(f"Expected a file at {str(path)!r}, but got a {'folder' if path.is_dir() else 'device'}.")
    return path


class TextFile:
    """The lines of a text file, without blank lines and comments, which run from ``#`` or ``//`` to the end of a line.

    Args:
        path: A file in UTF-8 or ASCII, with any line ends.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a folder or a device, or not in UTF-8.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = regular_file(path)
        content = self.path.read_bytes()
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = 1 + content.count(b"\n", 0, error.start)
            raise self.error(line, "Expected text in UTF-8, but got other bytes.") from error
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self.rows = [
            (number, row) for number, line in enumerate(lines, start=1) if (row := _COMMENT.sub("", line).strip())
        ]
        self.last_line = self.rows[-1][0] if self.rows else 1

    def error(self, line: int, message: str) -> ValueError:
        """Return an error that names the file and the line."""
        return ValueError(f"{self.path}, line {line}: {message}")

    def number(self, line: int, word: str) -> float:
        """Read one finite number."""
        try:
            number = math.nan if "_" in word else float(word)  # Python would read 1_000 as a number
        except ValueError:
            number = math.nan
        if not abs(number) < _LARGEST:
            raise self.error(line, f"Expected a finite number, but got {word!r}.")
        return number

    def numbers(self, line: int, words: Sequence[str], count: int, what: str) -> list[float]:
        """Read exactly ``count`` finite numbers."""
        if len(words) != count:
            raise self.error(line, f"Expected {count} numbers {what}, but got {len(words)}.")
        try:
            numbers = list(map(float, words))
        except ValueError:
            numbers = [math.nan]
        if all(-_LARGEST < number < _LARGEST for number in numbers) and "_" not in "".join(words):
            return numbers
        return [self.number(line, word) for word in words]

    def count(self, line: int, word: str) -> int:
        """Read one whole number, 0 or more."""
        if not (word.isascii() and word.isdigit() and len(word) < 10):
            raise self.error(line, f"Expected a whole number, but got {word!r}.")
        return int(word)
