"""One HTML page that holds everything it shows: text, tables and plotly figures, with plotly.js inside."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from seal_lightning._extras import require

__all__ = ["figures", "page", "paragraphs", "section", "table"]

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 1rem; background: #fff; color: #222;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
p { margin: .5rem 0; max-width: 75ch; }
.verdict { border-left: 6px solid #777; background: #f6f6f6; padding: .6rem 1rem; margin: 1rem 0; }
.verdict strong { font-size: 1.3rem; }
.helps { border-color: #2ca02c; } .harms, .never { border-color: #d62728; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #e5e5e5; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr.block td { font-weight: 600; padding-top: .8rem; }
th:first-child, td:first-child { position: sticky; left: 0; background: #fff; }
@media (max-width: 600px) {
  table { font-size: .8rem; } th, td { padding: .25rem .4rem; }
  th:first-child, td:first-child { white-space: normal; min-width: 6.5rem; }
}
.figures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); }
.figures.two { grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); }
.figure { min-width: 0; }
details { margin: 1rem 0; } summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; background: #f6f6f6; padding: .7rem; font-size: .82rem; }
dt { font-weight: 600; } dd { margin: 0 0 .5rem 0; max-width: 75ch; }
footer { margin: 2rem 0; color: #555; font-size: .88rem; }
"""

_DRAW = """
for (const source of document.querySelectorAll("script[data-figure]")) {
  const figure = JSON.parse(source.textContent);
  Plotly.newPlot(source.previousElementSibling, figure.data, figure.layout,
    {responsive: true, displaylogo: false, displayModeBar: false});
}
"""


def page(title: str, parts: Sequence[str]) -> str:
    """Put parts together to a page that needs no other file and no network.

    Args:
        title: What stands in the title bar.
        parts: The parts, as HTML.

    Returns:
        The page.

    Raises:
        ModuleNotFoundError: If plotly is not installed.
    """
    library = require("plotly.offline", "a report for the browser").get_plotlyjs()
    return "\n".join([
        "<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',  # or a browser asks the server for one
        f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>", f"<script>{library}</script>", "</head>",
        "<body>", *parts, f"<script>{_DRAW}</script>", "</body>", "</html>", "",
    ])  # fmt: skip


def section(title: str, *parts: str) -> str:
    """A section with a heading."""
    return "\n".join(["<section>", f"<h2>{escape(title)}</h2>", *parts, "</section>"])


def paragraphs(*strings: str) -> str:
    """A paragraph for each string."""
    return "\n".join(f"<p>{escape(string)}</p>" for string in strings)


def table(head: Sequence[str], blocks: Sequence[tuple[str, Sequence[Sequence[str]]]]) -> str:
    """A table that scrolls by itself where it is wider than the page.

    Args:
        head: The cells of its head.
        blocks: For each block its title, or an empty string, and its rows.
    """
    rows = []
    for title, block in blocks:
        if title:
            rows.append(f'<tr class="block"><td colspan="{len(head)}">{escape(title)}</td></tr>')
        rows += [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in block]
    cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "\n".join(rows)
    return f'<div class="wide"><table>\n<thead><tr>{cells}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def figures(drawn: Sequence[Any], *, wide: bool = False) -> str:
    """Plotly figures beside each other, as many as there is room for.

    Args:
        drawn: The figures.
        wide: Whether there are two beside each other at most.
    """
    boxes = []
    for figure in drawn:
        content = figure.to_json().replace("</", "<\\/")  # or a string in it could end the script
        boxes.append(
            f'<div class="figure"><div></div><script type="application/json" data-figure>{content}</script></div>'
        )
    return "\n".join([f'<div class="figures{" two" if wide else ""}">', *boxes, "</div>"])
