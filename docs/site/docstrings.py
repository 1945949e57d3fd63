"""The docstrings' section "Example", which griffe calls "Examples": it makes code of what it finds there."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"^( *)Example:$", flags=re.MULTILINE)


class ExampleSections(Extension):
    """Rename the section in every docstring."""

    def on_instance(self, *, obj: Object, **kwargs: Any) -> None:
        """Hook of griffe, called for every module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(r"\1Examples:", obj.docstring.value)
