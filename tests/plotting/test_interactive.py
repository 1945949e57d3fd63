"""Plotly figures show what they were given."""

import math

import pytest
import torch

from seal_lightning import get_skeleton
from seal_lightning.plotting.interactive import bars, distribution, lines, turnable_pose

pytest.importorskip("plotly", reason="plotly is not installed")


def test_bars_are_sorted_with_the_host_above_and_without_the_root():
    host, seal = (3.0, 0.0, 2.0, math.nan), (4.0, 0.0, 1.0, math.nan)
    names = ("wrist", "hip", "knee", "ear")
    values = {"host": dict(zip(names, host, strict=True)), "SEAL": dict(zip(names, seal, strict=True))}
    figure = bars("errors", values, "mm")
    assert [trace.name for trace in figure.data] == ["SEAL", "host"]  # plotly draws from below
    assert [(trace.y, trace.x) for trace in figure.data] == [
        (("knee", "wrist"), (1.0, 4.0)), (("knee", "wrist"), (2.0, 3.0)),
    ]  # fmt: skip
    assert figure.layout.xaxis.title.text == "mm"


def test_distribution_is_the_share_of_poses_with_at_least_this_error():
    (trace,) = distribution("tail", {"host": [3.0, 1.0, 2.0, 2.0]}, "mm").data
    assert (trace.x, trace.y) == ((1.0, 2.0, 2.0, 3.0), (100.0, 75.0, 50.0, 25.0))


def test_lines_have_a_legend_where_there_are_several():
    one, two = lines("a", {"x": [(0, 1.0), (5, 2.0)]}), lines("b", {"x": [(0, 1.0)], "y": [(0, 2.0)]})
    assert (one.data[0].x, one.data[0].y) == ((0, 5), (1.0, 2.0))
    assert (one.layout.showlegend, two.layout.showlegend) == (False, True)
    assert len({trace.line.color for trace in two.data}) == 2


def test_methods_keep_their_colours_over_all_figures():
    poses = {name: torch.randn(17, 3) for name in ("truth", "host", "SEAL")}
    turned = {trace.name: trace.line.color for trace in turnable_pose(poses, get_skeleton("h36m17"), "best").data}
    values = {"host": {"knee": 1.0}, "SEAL": {"knee": 2.0}}
    drawn = {trace.name: trace.marker.color for trace in bars("", values, "mm").data}
    tail = {trace.name: trace.line.color for trace in distribution("", {"host": [1.0], "SEAL": [2.0]}, "mm").data}
    assert drawn == tail == {name: turned[name] for name in ("host", "SEAL")}
    assert len(set(turned.values())) == 3
