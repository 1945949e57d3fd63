"""Drawings of the site: SVG files are put into the page itself, where they follow its light and dark colours."""

from __future__ import annotations

import posixpath
import re
from html import escape
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

DRAWING = re.compile(r"^!\[([^\]]*)\]\(([^)]+\.svg)\)$", flags=re.MULTILINE)
WIDTH = re.compile(r'viewBox="0 0 ([\d.]+)')
STYLE = re.compile(r"<style>.*?</style>\s*", flags=re.DOTALL)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Hook of MkDocs: put drawings that stand in a line of their own in place of their links."""

    def drawing(found: re.Match[str]) -> str:
        path = Path(config.docs_dir, posixpath.dirname(page.file.src_uri), found[2])
        svg = STYLE.sub("", path.read_text(encoding="utf-8")).replace("\n", "")
        width = 1.2 * float(WIDTH.findall(svg)[0])
        look = f'class="drawing" style="max-width:{width:.0f}px" role="img" aria-label="{escape(found[1])}"'
        return f"<figure {look}>{svg}</figure>"

    return DRAWING.sub(drawing, markdown)
