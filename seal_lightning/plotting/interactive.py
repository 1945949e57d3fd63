"""Figures for a browser, as plotly figures: poses to turn around, curves, bars and distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from seal_lightning._extras import require
from seal_lightning.skeleton import Skeleton

__all__ = ["COLOURS", "bars", "distribution", "lines", "turnable_pose"]

COLOURS = ("#1f77b4", "#d9541e")  # host and SEAL
TRUTH = "#9a9a9a"
_SEEDS = ("#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#17becf")  # not those of the methods

_MARGIN = {"l": 10, "r": 10, "t": 40, "b": 10}
_FONT = {"family": "system-ui, sans-serif", "size": 13, "color": "#222"}


def turnable_pose(poses: Mapping[str, Tensor], skeleton: Skeleton, title: str) -> Any:
    """Draw one pose as several methods see it, in one space; a click on a name hides it.

    Args:
        poses: For each name its pose (J, 3), in the camera frame (x right, y down, z forward). The first is the truth.
        skeleton: The skeleton of the poses.
        title: What stands above.

    Returns:
        A plotly figure.
    """
    figure = _graphs().Figure()
    joints = [joint for bone in skeleton.bones for joint in (*bone, None)]  # None lifts the pen between two bones
    names = ["" if joint is None else skeleton.names[joint] for joint in joints]
    for colour, (name, pose) in zip((TRUTH, *COLOURS), poses.items(), strict=False):
        x, depth, down = (  # upright: the camera's z points away from it, its y down
            [None if joint is None else round(sign * float(pose[joint, axis]), 2) for joint in joints]
            for axis, sign in ((0, 1), (2, 1), (1, -1))
        )
        look = {"line": {"color": colour, "width": 5}, "marker": {"color": colour, "size": 2.5}}
        hover = f"%{{text}}<extra>{name}</extra>"
        figure.add_scatter3d(
            x=x, y=depth, z=down, name=name, mode="lines+markers", text=names, hovertemplate=hover, **look
        )
    axis_look = {"showticklabels": False, "title": "", "showspikes": False}
    axis_look |= {"backgroundcolor": "#f6f6f6", "gridcolor": "#ddd"}
    camera = {"eye": {"x": 0.7, "y": -1.7, "z": 0.4}, "projection": {"type": "orthographic"}}
    axes = {"xaxis": axis_look, "yaxis": axis_look, "zaxis": axis_look}
    figure.update_layout(
        title={"text": title, "font": {"size": 14}, "x": 0.5},
        scene={**axes, "aspectmode": "data", "camera": camera},
        legend={"orientation": "h", "x": 0.5, "xanchor": "center", "y": 0.0},
        height=420, margin=_MARGIN, font=_FONT, paper_bgcolor="white",
    )  # fmt: skip
    return figure


def lines(title: str, points: Mapping[str, Sequence[tuple[float, float]]]) -> Any:
    """Draw curves over the training steps.

    Args:
        title: What stands above.
        points: For each line its name and its points (step, value).

    Returns:
        A plotly figure.
    """
    figure = _graphs().Figure()
    for number, (name, line) in enumerate(points.items()):
        colour = _SEEDS[number % len(_SEEDS)]
        steps, values = [step for step, _ in line], [value for _, value in line]
        figure.add_scatter(x=steps, y=values, name=name, mode="lines", line={"color": colour, "width": 1.5})
    return _flat(figure, title, "step", "", height=280)


def bars(title: str, values: Mapping[str, Mapping[str, float]], unit: str) -> Any:
    """Draw a group of bars for every joint or bone whose value is above zero, the longest above.

    Args:
        title: What stands above.
        values: For each method its name, and the value of every joint or bone by name.
        unit: The unit of the values.

    Returns:
        A plotly figure.
    """
    first = next(iter(values.values()))
    order = sorted((name for name in first if first[name] > 0), key=first.__getitem__)  # not the root, nor NaN
    figure = _graphs().Figure()
    methods = list(zip(COLOURS, values.items(), strict=False))
    for colour, (method, found) in reversed(methods):  # plotly draws the last one above
        numbers = [round(found[name], 3) for name in order]
        figure.add_bar(y=order, x=numbers, name=method, orientation="h", marker={"color": colour})
    _flat(figure, title, unit, "", height=130 + 30 * len(order))
    figure.update_layout(barmode="group", bargap=0.25, legend={"traceorder": "reversed"})
    figure.update_yaxes(automargin=True, dtick=1)
    return figure


def distribution(title: str, errors: Mapping[str, Sequence[float]], unit: str) -> Any:
    """Draw for every error which share of the poses has a larger one, on a logarithmic axis: the tail is in sight.

    Args:
        title: What stands above.
        errors: For each method its name, and the error of every pose.
        unit: The unit of the errors.

    Returns:
        A plotly figure.
    """
    figure = _graphs().Figure()
    for colour, (method, found) in zip(COLOURS, errors.items(), strict=False):
        order = sorted(found)
        shares = [100 * (len(order) - place) / len(order) for place in range(len(order))]
        points = [round(value, 2) for value in order]
        figure.add_scatter(
            x=points, y=shares, name=method, mode="lines", line={"color": colour, "width": 2, "shape": "hv"}
        )
    _flat(figure, title, f"error of a pose ({unit})", "poses with a larger error (%)", height=340)
    figure.update_yaxes(type="log", tickvals=[0.1, 0.5, 1, 5, 10, 50, 100])
    return figure


def _flat(figure: Any, title: str, x: str, y: str, *, height: int) -> Any:
    axis = {"gridcolor": "#e5e5e5", "zerolinecolor": "#ccc", "linecolor": "#999"}
    small = {"font": {"size": 12}}
    figure.update_layout(
        title={"text": title, "font": {"size": 14}, "x": 0.0, "xanchor": "left"},
        xaxis={**axis, "title": {"text": x, **small}}, yaxis={**axis, "title": {"text": y, **small}},
        legend={"orientation": "h", "x": 0.0, "y": 1.0, "yanchor": "bottom"}, showlegend=len(figure.data) > 1,
        height=height, margin={"l": 10, "r": 10, "t": 70, "b": 10}, font=_FONT,
        plot_bgcolor="white", paper_bgcolor="white",
    )  # fmt: skip
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure


def _graphs() -> Any:
    return require("plotly.graph_objects", "figures for a browser")
