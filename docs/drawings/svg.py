"""Pieces of a drawing. Colours are variables: light and dark by themselves, or those of the site (site/site.css)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise
from math import hypot

__all__ = ["arrow", "box", "dot", "drawing", "line", "path", "stick", "text"]

Point = tuple[float, float]

STYLE = """<style>:root{--ink:#1f2328;--soft:#59636e;--line:#8c959f;--paper:#ffffff;--panel:#f3f5f8;--blue:#0b5cad;\
--orange:#b04a00;--green:#1a7f37}@media (prefers-color-scheme:dark){:root{--ink:#e8eaee;--soft:#b4bac4;--line:#7d8590;\
--paper:#1e2129;--panel:#2a2e38;--blue:#79b8ff;--orange:#ffab70;--green:#7ee2a0}}</style>"""


def drawing(width: float, height: float, parts: Iterable[str]) -> str:
    """The whole SVG file."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {number(width)} {number(height)}" '
    head += 'font-family="system-ui, sans-serif" font-size="13">'
    sheet = '<rect width="100%" height="100%" rx="8" style="fill:var(--paper)"/>'
    return "\n".join([head, STYLE, sheet, *parts, "</svg>"]) + "\n"


def number(value: float) -> str:
    """A coordinate, short and the same on every machine."""
    short = f"{value:.1f}".rstrip("0").rstrip(".")
    return "0" if short == "-0" else short


def line(start: Point, end: Point, colour: str = "ink", width: float = 2, dash: str = "") -> str:
    """A straight line; `dash` as SVG writes it, e.g. "5 4"."""
    (x1, y1), (x2, y2) = start, end
    dashed = f";stroke-dasharray:{dash}" if dash else ""
    places = f'x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"'
    return f'<line {places} style="stroke:var(--{colour});stroke-width:{width};stroke-linecap:round{dashed}"/>'


def path(points: Sequence[Point], colour: str = "ink", width: float = 2, fill: str = "") -> str:
    """A line through several points, or the area within."""
    joined = " ".join(f"{number(x)},{number(y)}" for x, y in points)
    if fill:
        return f'<polygon points="{joined}" style="fill:var(--{fill});opacity:.25"/>'
    return f'<polyline points="{joined}" style="fill:none;stroke:var(--{colour});stroke-width:{width}"/>'


def dot(at: Point, colour: str = "ink", radius: float = 4, hollow: bool = False) -> str:
    """A joint, or with `hollow` a circle around a place."""
    look = f"fill:none;stroke:var(--{colour});stroke-width:1.5" if hollow else f"fill:var(--{colour})"
    return f'<circle cx="{number(at[0])}" cy="{number(at[1])}" r="{number(radius)}" style="{look}"/>'


def text(
    at: Point, words: str, colour: str = "ink", anchor: str = "start", size: float = 13, bold: bool = False
) -> str:
    """A line of words."""
    look = f"fill:var(--{colour});font-size:{size}px" + (";font-weight:600" if bold else "")
    place = f'x="{number(at[0])}" y="{number(at[1])}" text-anchor="{anchor}"'
    return f'<text {place} style="{look}">{escape(words)}</text>'


def box(at: Point, size: Point, words: Sequence[str], colour: str = "ink", fill: str = "panel") -> str:
    """A box with lines of words in its middle."""
    (x, y), (width, height) = at, size
    look = f"fill:var(--{fill});stroke:var(--{colour});stroke-width:1.5"
    place = f'x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}"'
    frame = f'<rect {place} rx="6" style="{look}"/>'
    top = y + height / 2 + 4.5 - 8 * (len(words) - 1)
    return frame + "".join(text((x + width / 2, top + 16 * i), word, anchor="middle") for i, word in enumerate(words))


def arrow(points: Sequence[Point], colour: str = "ink", width: float = 2, dash: str = "") -> str:
    """Lines through the points that end in a head."""
    *before, (x, y) = points
    px, py = before[-1]
    length = hypot(x - px, y - py)
    ux, uy = (x - px) / length, (y - py) / length
    size = 5 + width
    base = (x - ux * size, y - uy * size)
    sides = [(base[0] - uy * size / 2, base[1] + ux * size / 2), (base[0] + uy * size / 2, base[1] - ux * size / 2)]
    head = " ".join(f"{number(a)},{number(b)}" for a, b in [(x, y), *sides])
    stops = [*before, base]
    lines = [line(a, b, colour, width, dash) for a, b in pairwise(stops)]
    return "".join(lines) + f'<polygon points="{head}" style="fill:var(--{colour})"/>'


def stick(joints: Sequence[Point], parents: Sequence[int], colour: str, dash: str = "") -> str:
    """A figure of sticks: its bones and joints."""
    bones = [line(joints[i], joints[parent], colour, 3, dash) for i, parent in enumerate(parents) if parent >= 0]
    return "".join(bones) + "".join(dot(joint, colour) for joint in joints)
