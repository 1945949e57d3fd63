"""Formulas of the site as MathML, which browsers show by themselves: no script, no font, nothing to fetch.

Pages write ``$...$`` and ``$$...$$``, which repository pages show too; docstrings write ``:math:`` and ``.. math::``.
"""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.blockprocessors import BlockProcessor
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from mkdocs.config.defaults import MkDocsConfig

INLINE = (r":math:`([^`]+)`", r"(?<![\\\w$])\$(?![\s$])([^$\n]*[^$\s\\])\$(?![\w$])")
BLOCK = re.compile(r"\.\. math::(?P<docstring>.*)|\$\$(?P<page>.*)\$\$", flags=re.DOTALL)


class Inline(InlineProcessor):
    """A formula within a line."""

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:  # noqa: N802
        """Return the formula, and where it stood."""
        return self.md.htmlStash.store(convert(m.group(1))), m.start(0), m.end(0)


class Block(BlockProcessor):
    """A formula in a paragraph of its own."""

    def test(self, parent: Element, block: str) -> bool:
        """Whether a paragraph is a formula; an indented one is code."""
        return not block.startswith(" " * 4) and BLOCK.fullmatch(block.strip()) is not None

    def run(self, parent: Element, blocks: list[str]) -> None:
        """Put the formula in place of the paragraph."""
        found = BLOCK.fullmatch(blocks.pop(0).strip())
        formula = " ".join((found["docstring"] or found["page"]).split())
        place = SubElement(parent, "div", {"class": "formula"})
        place.text = self.parser.md.htmlStash.store(convert(formula, display="block"))


class MathML(Extension):
    """Both, ahead of what else would read a backslash, an underscore or a backtick."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Add the two to a Markdown converter."""
        md.parser.blockprocessors.register(Block(md.parser), "mathml", 200)
        for number, pattern in enumerate(INLINE):
            md.inlinePatterns.register(Inline(pattern, md), f"mathml-{number}", 195 if number == 0 else 185)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Hook of MkDocs: add the extension to those of the configuration."""
    config.markdown_extensions.append(MathML())
    return config
