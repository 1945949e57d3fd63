"""What docstrings write in reStructuredText, in Markdown: the section "Example", tables, code after `::`."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"^( *)Example:$", flags=re.MULTILINE)
CODE_FOLLOWS = re.compile(r"(?<=\w)::$", flags=re.MULTILINE)
RULE = r" *=+(?: +=+)+\n"
TABLE = re.compile(rf"^({RULE})((?:.+\n)+?)\1((?:.+\n)+?)\1?(?![^\n])", flags=re.MULTILINE)


class Docstrings(Extension):
    """Rewrite every docstring before its sections are read."""

    def on_instance(self, *, obj: Object, **kwargs: Any) -> None:
        """Hook of griffe, called for every module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """The docstring in Markdown; a section "Examples" is one that griffe finds code in."""
    text = CODE_FOLLOWS.sub(":", EXAMPLE.sub(r"\1Examples:", text))
    return TABLE.sub(lambda found: table(*found.groups()), text + "\n").removesuffix("\n")


def table(rule: str, head: str, body: str) -> str:
    """A table; a line whose first cell is empty goes on with the row before it."""
    starts = [found.start() for found in re.finditer("=+", rule)]
    bounds = list(zip(starts, [*starts[1:], None], strict=True))
    rows: list[list[str]] = []
    for line in (head + body).splitlines():
        cells = [line[start:end].strip().replace("|", r"\|") for start, end in bounds]
        if cells[0]:
            rows.append(cells)
        else:
            rows[-1] = [f"{before} {more}".strip() for before, more in zip(rows[-1], cells, strict=True)]
    rows.insert(1, ["---"] * len(bounds))
    indent = " " * starts[0]
    return "".join(f"{indent}| {' | '.join(cells)} |\n" for cells in rows)
