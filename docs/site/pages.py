"""Pages of the site that lie elsewhere in the repository, such as README and tutorial, and files that are linked."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/README.md": "examples.md",
    "benchmarks/README.md": "benchmarks.md",
    "examples/tutorial.py": "tutorial.md",
}
SOURCES = {page: source for source, page in PAGES.items()}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Hook of MkDocs: add the pages, and the files that pages link to outside of docs/."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=notebook(text) if source.endswith(".py") else text))
    for file in list(files.documentation_pages()):
        for link in LINK.findall(file.content_string):
            target = in_repository(link, file.src_uri)
            outside = target not in PAGES and not target.startswith("docs/") and (ROOT / target).is_file()
            if outside and files.get_file_from_path(f"files/{target}") is None:
                files.append(File.generated(config, f"files/{target}", abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Hook of MkDocs: make links, which are right in the repository, right in the site."""
    return LINK.sub(lambda found: in_site(found[1], page.file.src_uri), markdown)


def in_repository(link: str, page: str) -> str:
    """Where a link of a page leads in the repository; of a folder the README in it.

    Args:
        link: The link, relative to the place of the page in the repository.
        page: The page, relative to docs/.
    """
    folder = posixpath.dirname(SOURCES.get(page, f"docs/{page}"))
    target = posixpath.normpath(posixpath.join(folder, link))
    return f"{target}/README.md" if f"{target}/README.md" in PAGES else target


def in_site(link: str, page: str) -> str:
    """The link of a page (relative to docs/) in the site; a link that leads nowhere stays as it is."""
    target = in_repository(link, page)
    if target in PAGES:
        place = PAGES[target]
    elif target.startswith("docs/"):
        place = target.removeprefix("docs/")
    elif (ROOT / target).is_file():
        place = f"files/{target}"
    else:
        return link
    return posixpath.relpath(place, posixpath.dirname(page) or ".")


def notebook(script: str) -> str:
    """Markdown of a script with cells: those that begin with ``# %% [markdown]`` are text, the others are code."""
    parts = []
    for cell in re.split(r"^# %%", script, flags=re.MULTILINE)[1:]:
        head, _, body = cell.partition("\n")
        if head.strip() == "[markdown]":
            parts.append(re.sub(r"^# ?", "", body.strip(), flags=re.MULTILINE))
        else:
            parts.append(f"```python\n{body.strip()}\n```")
    return "\n\n".join(parts) + "\n"
