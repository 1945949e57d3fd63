"""Tables and code of the site: which cells hold prose, which therefore need width, and which code stays in one line."""

from __future__ import annotations

import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

CELL = re.compile(r"<td>(.*?)</td>", flags=re.DOTALL)  # those with numbers have a style, which aligns them
CODE = re.compile(r"<code>([^<\n]+)</code>")
TAG = re.compile(r"<[^>]+>")
WORDS, PROSE, LONGEST = 24, 80, 32


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Hook of MkDocs: mark cells and code for the style sheet."""
    return CODE.sub(_code, CELL.sub(_cell, html))


def _cell(found: re.Match[str]) -> str:
    length = len(TAG.sub("", found[1]))
    if length <= WORDS:
        return found[0]
    return f'<td class="{"prose" if length > PROSE else "words"}">{found[1]}</td>'


def _code(found: re.Match[str]) -> str:
    return found[0] if len(found[1]) > LONGEST else f'<code class="word">{found[1]}</code>'
