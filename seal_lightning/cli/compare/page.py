"""The page of a comparison: verdict in words, tables, poses to turn around, curves, and where the errors are."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from statistics import fmean
from typing import Any

from seal_lightning.cli.compare.pictures import TRUTH, Shown
from seal_lightning.evaluation import page as html
from seal_lightning.evaluation.files import versions
from seal_lightning.evaluation.outcome import Outcome, finishes_of, tried
from seal_lightning.evaluation.runs import HOST, Run, curves
from seal_lightning.evaluation.tables import OWN_BEST_ROWS, rows_of
from seal_lightning.evaluation.verdict import describe_verdicts
from seal_lightning.plotting.interactive import bars, distribution, lines, turnable_pose

__all__ = ["comparison_page"]

_HEADLINES = {
    "helps": "SEAL helps.",
    "no evidence": "No evidence that SEAL changes the errors.",
    "harms": "SEAL harms.",
    "no verdict": "No verdict.",
    "never acted": "SEAL never acted.",
}

_MEANINGS = {
    "MPJPE": "Mean per joint position error: the mean distance of a predicted joint from the true one, after the roots "
    "are aligned. P-MPJPE: after the best rotation, scale and shift; N-MPJPE: after the best scale.",
    "LSE": "Limb symmetry error: how much left and right bones differ in length.",
    "Asymmetry error": "How far that difference is from the one of the true pose.",
    "BSLE": "Body segment length error: how far the lengths of the bones are from the true ones. LLE: of whole limbs.",
    "95th and 99th percentile, worst 5 %": "The tail: the error that 5 % and 1 % of the poses exceed, and the mean of "
    "the worst 5 %.",
    "MPJVE, acceleration error": "How far the velocities and the accelerations of the joints are from the true ones.",
    "MPSCE": "How much the lengths of the bones vary within a clip.",
}


def comparison_page(
    runs: Sequence[Run],
    judged: Outcome,
    shown: Shown,
    config: Mapping[str, Any],
    *,
    tables: Mapping[str, tuple[Sequence[Sequence[str]], str]],
) -> str:
    """Make the page.

    Args:
        runs: All runs.
        judged: The method that the verdict is on, against the host.
        shown: Poses to show.
        config: The configuration.
        tables: Further tables of methods by their title, such as those of several weights and of rivals: head and
            rows, and what is said of them.

    Returns:
        The HTML.
    """
    methods = (HOST, judged.method)
    head = ("", *methods, "SEAL - host" + (" [95 % interval]" if len(judged.seeds) > 1 else ""), "relative")
    trained = curves([run for run in runs if run.method == judged.method])
    parts = ["<h1>SEAL compared with its host</h1>", _verdict(judged)]
    for title, ((columns, *rows), about) in tables.items():
        parts.append(html.section(title, html.paragraphs(about), html.table(columns, [("", rows)])))
    finishes = [f"{method}: {finishes_of(runs, method)}." for method in methods]
    parts += [
        html.section(
            "After each method's own best",
            html.paragraphs(tried(runs), *finishes),
            html.table(head, rows_of(judged.summary_own_best, [], OWN_BEST_ROWS)),
        ),
        *_poses(shown, judged),
        html.section("As predicted", html.table(head, rows_of(judged.summary, judged.datasets))),
        _anatomy(runs, methods),
        html.section("Training", html.figures([lines(title, curve) for title, curve in trained.items()], wide=True)),
        _glossary(),
        _details(config, judged),
    ]
    return html.page("SEAL compared with its host", parts)


def _verdict(judged: Outcome) -> str:
    side = judged.own_best.verdict
    sentences = describe_verdicts(judged.own_best, judged.as_predicted).split("\n")
    words = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    note = "<p>A negative change is better: errors are lower with SEAL.</p>"
    return f'<div class="verdict {side.split()[0]}"><strong>{_HEADLINES[side]}</strong>{words}{note}</div>'


def _poses(shown: Shown, judged: Outcome) -> list[str]:
    if not shown.chosen:
        return []
    drawn = []
    for name, place in shown.chosen.items():
        captions = ", ".join(f"{method} {found[place]:.0f} mm" for method, found in shown.errors.items())
        poses = {who: pose[place] for who, pose in shown.poses.items()}
        drawn.append(turnable_pose(poses, shown.skeleton, f"{name}: {captions}"))
    about = (
        f"The best, the median and the worst of {len(shown.poses[TRUTH])} poses of seed {judged.seeds[0]}, as "
        "predicted, by the mean of both methods' errors. Drag to turn a pose, click a name to hide it."
    )
    tail = distribution("Share of these poses with a larger error", shown.errors, "mm")
    return [
        html.section("Poses", html.paragraphs(about), html.figures(drawn)),
        html.section("The tail of the error", html.figures([tail], wide=True)),
    ]


def _anatomy(runs: Sequence[Run], methods: Sequence[str]) -> str:
    """Errors of joints and bones, averaged over seeds."""

    def mean(method: str, part: str) -> dict[str, float]:
        found = [getattr(run, part) for run in runs if run.method == method]
        return {name: fmean(run[name] for run in found) for name in found[0]}

    joints = {method: mean(method, "joints") for method in methods}
    bones = {method: mean(method, "bones") for method in methods}
    drawn = []
    if any(math.isfinite(value) for value in joints[HOST].values()):
        drawn.append(bars("Mean error of each joint", joints, "mm"))
    if any(math.isfinite(value) for value in bones[HOST].values()):
        drawn.append(bars("Mean length error of each bone, by its outer joint", bones, "%"))
    return html.section("Joints and bones, as predicted", html.figures(drawn, wide=True))


def _glossary() -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(meaning)}</dd>" for name, meaning in _MEANINGS.items())
    return f"<details><summary>What the rows mean</summary><dl>{rows}</dl></details>"


def _details(config: Mapping[str, Any], judged: Outcome) -> str:
    installed = ", ".join(f"{name} {version}" for name, version in versions().items())
    seeds = " ".join(map(str, judged.seeds))
    plain = escape(json.dumps(config, indent=1))
    return (
        f"<details><summary>Configuration</summary><pre>{plain}</pre></details>\n"
        f"<footer>Seeds {seeds}; {escape(installed)}.</footer>"
    )
