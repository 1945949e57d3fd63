"""The page of a comparison, as a browser reads it: one file, well formed, with figures that plotly accepts."""

import json
from html.parser import HTMLParser

import pytest
import torch

from seal_lightning import get_skeleton
from seal_lightning.cli.compare.page import comparison_page
from seal_lightning.cli.compare.pictures import Shown
from seal_lightning.cli.compare.text import how_chosen, weight_rows
from seal_lightning.evaluation.outcome import outcome_of
from seal_lightning.evaluation.runs import Run

plotly = pytest.importorskip("plotly.graph_objects", reason="plotly is not installed")
H36M = get_skeleton("h36m17")
METRICS = ("mpjpe", "body_segment_length_error", "asymmetry_error", "mpjpe_p99", "mpjpe_cvar95")
VOID = ("meta", "link", "br", "img")


class Page(HTMLParser):
    """Collects text, figures and what a page asks for from elsewhere; every element has to be closed."""

    def __init__(self, source):
        super().__init__()
        self.open, self.text, self.figures, self.asks, self.headings, self.scripts = [], [], [], [], [], []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.asks += [value for name, value in attrs if name in ("src", "href") and not value.startswith("data:")]
        if tag not in VOID:
            self.open.append((tag, attributes))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tag, attributes = self.open[-1] if self.open else ("", {})
        if tag == "script":
            (self.figures if "data-figure" in attributes else self.scripts).append(data)
        elif tag not in ("style", ""):
            self.text.append(data)
            if tag in ("h1", "h2", "strong"):
                self.headings.append(data)


def run_of(method, seed, value, **more):
    scores = {group: dict.fromkeys(METRICS, value) for group in ("a/1", "a/2", "a", "mean")}
    joints = dict(zip(H36M.names, torch.rand(17).tolist(), strict=True))
    bones = {H36M.names[child]: value for child, _ in H36M.bones}
    curves = {} if method == "host" else {"seal/energy": [(1, 0.5), (2, 0.4)]}
    return Run(method, seed, 10, 2.5, scores, curves, scores, joints=joints, bones=bones, weights=f"{value}", **more)


def shown(count=9):
    poses = {name: 100 * torch.randn(count, 17, 3) for name in ("truth", "host", "SEAL 0.1")}
    errors = {name: torch.rand(count).tolist() for name in ("host", "SEAL 0.1")}
    return Shown(H36M, poses, errors, {"best": 0, "median": 4, "worst": 8} if count else {})


def made(runs, poses, **more):
    outcomes = {method: outcome_of(runs, method) for method in ("SEAL 0.1", "SEAL 0.2")}
    judged = outcomes["SEAL 0.1"]
    tables = {"Weights": (weight_rows(outcomes), how_chosen(judged, chosen=True))}
    return Page(comparison_page(runs, judged, poses, more or {"model": "x"}, tables=tables))


RUNS = [run_of(*row) for row in [("host", 0, 10.0), ("SEAL 0.1", 0, 5.0), ("SEAL 0.2", 0, 9.0),
                                 ("host", 1, 10.0), ("SEAL 0.1", 1, 5.0), ("SEAL 0.2", 1, 9.5)]]  # fmt: skip


def test_page_needs_nothing_from_elsewhere_and_its_figures_are_valid():
    page, poses = made(RUNS, shown()), shown()
    assert page.asks == []
    library, draw = page.scripts
    assert "plotly.js v" in library[:500]
    assert "Plotly.newPlot" in draw
    figures = [plotly.Figure(json.loads(figure)) for figure in page.figures]  # plotly raises where a name is wrong
    kinds = [tuple(trace.type for trace in figure.data) for figure in figures]
    assert kinds == [("scatter3d",) * 3] * 3 + [("scatter",) * 2, ("bar",) * 2, ("bar",) * 2, ("scatter",) * 2]
    assert len(poses.poses["truth"]) == 9


def test_poses_are_upright_and_captioned():
    poses = shown()
    best = plotly.Figure(json.loads(made(RUNS, poses).figures[0]))
    host, seal = poses.errors["host"][0], poses.errors["SEAL 0.1"][0]
    assert best.layout.title.text == f"best: host {host:.0f} mm, SEAL 0.1 {seal:.0f} mm"
    assert [trace.name for trace in best.data] == ["truth", "host", "SEAL 0.1"]
    for trace in best.data:
        for bone, (child, parent) in enumerate(H36M.bones):
            for place, joint in ((3 * bone, child), (3 * bone + 1, parent)):
                x, y, z = poses.poses[trace.name][0, joint].tolist()
                found = trace.x[place], trace.y[place], trace.z[place]
                assert found == pytest.approx((x, z, -y), abs=0.01)
                assert trace.text[place] == H36M.names[joint]
            assert trace.x[3 * bone + 2] is None


def test_page_says_the_verdict_in_words_and_shows_every_weight():
    page = made(RUNS, shown())
    assert page.headings == [
        "SEAL compared with its host", "SEAL helps.", "Weights", "After each method's own best", "Poses",
        "The tail of the error", "As predicted", "Joints and bones, as predicted", "Training",
    ]  # fmt: skip
    text = " ".join(page.text)
    for words in ("Verdict: helps, -50.0 %", "SEAL 0.2", "-7.5 %", "MPJPE, mean of the worst 5 % (mm)", "10.0 ± 0.0"):
        assert words in text
    assert "SEAL 0.1 is best on validation data, so the verdict is on it" in text


def test_names_cannot_break_out_of_the_page():
    page = made(RUNS, shown(), model="</pre><script>alert(1)</script>")
    assert len(page.scripts) == 2
    assert "<script>alert(1)</script>" in "".join(page.text)
    evil = [Run(**{**vars(run), "joints": {"</script><b>": 1.0}}) for run in RUNS]
    figures = made(evil, shown()).figures
    assert "</script><b>" in {name for figure in figures for trace in json.loads(figure)["data"] for name in trace["y"]}


def test_without_whole_poses_and_errors_the_rest_is_there():
    runs = [Run(**{**vars(run), "joints": dict.fromkeys(H36M.names, float("nan"))}) for run in RUNS]
    page = made(runs, shown(0))
    assert "Poses" not in page.headings
    assert len(page.figures) == 2  # bones and the energy


def test_one_seed_and_an_energy_that_never_acted_are_said_once():
    one = made([run for run in RUNS if run.seed == 0], shown())
    assert one.headings[1] == "No verdict."
    assert "evidence" not in " ".join(one.text)
    same = [Run(**{**vars(run), "weights": "same"}) for run in RUNS]
    assert made(same, shown()).headings[1] == "SEAL never acted."
