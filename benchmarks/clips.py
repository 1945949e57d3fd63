"""A study of clips: does a loss-net that sees whole clips give what no filter gives, offline or live?

    python -m benchmarks.clips run --data-dir DIR
    python -m benchmarks.clips filters --data-dir DIR
    python -m benchmarks.clips report --data-dir DIR --split test

Every method is scored as predicted and after what is best for it on validation: of all that can be done with a finished
clip (*offline*), and of what needs no later frame (*live*). docs/clips.md holds the protocol.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.accuracy.__main__ import finished, run
from benchmarks.accuracy.filters import LearnedFilter, kalman, one_euro
from benchmarks.accuracy.report import evaluation_sets
from benchmarks.accuracy.statistics import (
    Array,
    ClipSums,
    bootstrap,
    geometric_mean,
    holm,
    interval,
    p_value,
    smallest_effect,
)
from benchmarks.accuracy.study import Study
from benchmarks.accuracy.training import fit, make_data
from benchmarks.accuracy.treatments import ALIKE, BONES, LIVE, MODES, OFFLINE, Treatment
from seal_lightning.functional import (
    acceleration_error,
    asymmetry_error,
    body_segment_length_error,
    clip_mean_bones,
    limb_symmetry_error,
    mpjpe,
    p_mpjpe,
    shrink_bones,
    smooth,
    symmetrise_bones,
)
from seal_lightning.skeleton import Skeleton

__all__ = ["Windows", "errors", "treat"]

STUDY = Path(__file__).with_name("studies") / "clips.yaml"
RATE = 25.0  # frames per second of the windows
LEARNED_FROM = ("host", "live host")
"""Methods whose predictions for the training data the learned filters are trained on."""
LEARNED_BATCHES, LEARNED_STEPS = 100, 500  # batches of each of these methods, and training steps of a filter
FILTERS = "filters.pt"  # in the folder of the runs
CHOOSING = 3  # what is best is chosen on every third window of validation, for time
PRIMARY = ("MPJPE", "BSLE", "asymmetry", "acceleration")
"""The primary end point is the geometric mean of their ratios to those of the other method."""


@dataclass(frozen=True)
class Windows:
    """The true windows of a split.

    Args:
        target: True poses (W, T, J, 3), in metres.
        clip: For each window the number of its clip (W,).
        group: For each window the person's skeleton (W,), as an index into ``names``.
        kept: Of all windows of the split, those that are scored: the others repeat frames of clips that are too short.
        names: Names of the skeletons, in the form "dataset/skeleton".
        mean_lengths: Mean bone lengths (J - 1,) of the training data, in metres.
        skeleton: Joints and bones of the poses.
        learned: The learned filters, by whether they are causal.
    """

    target: Tensor
    clip: Tensor
    group: Tensor
    kept: Tensor
    names: Sequence[str]
    mean_lengths: Tensor
    skeleton: Skeleton
    learned: Mapping[bool, LearnedFilter]

    @classmethod
    def of(cls, data: Any, split: str, learned: Mapping[bool, LearnedFilter]) -> Windows:
        """The windows of a datamodule."""
        flat = evaluation_sets(data)[split]
        clips, frames = data.dataset(split).clips, data.frames
        kept = clips.length[flat.clip[::frames]] >= frames
        target = flat.target.unflatten(0, (-1, frames))[kept]  # type: ignore[no-untyped-call]
        first = [values[::frames][kept] for values in (flat.clip, flat.group)]
        return cls(target, *first, kept, flat.names, flat.mean_lengths, data.skeleton, learned)

    def some(self, step: int) -> Windows:
        """Every so manyth of the windows."""
        return replace(self, target=self.target[::step], clip=self.clip[::step], group=self.group[::step])

    def sums(self, values: Sequence[Array]) -> ClipSums:
        """Measurements (errors, W) of each seed, by clip."""
        return ClipSums.of(np.stack(values, axis=1), self.clip.numpy(), self.group.numpy(), self.names)


def treat(pose: Tensor, how: Treatment, data: Windows) -> Tensor:
    """Treat windows (W, T, J, 3); each is filtered for itself."""
    if how.filter == "gaussian":
        pose = smooth(pose, sigma=how.amount, causal=how.causal)
    elif how.filter == "one euro":
        pose = one_euro(pose, how.amount, how.beta, RATE)
    elif how.filter == "kalman":
        pose = kalman(pose, how.amount, how.causal)
    elif how.filter == "learned":
        with torch.no_grad():
            pose = data.learned[how.causal](pose)
    if how.clip_mean:
        pose = clip_mean_bones(pose, data.skeleton)
    if how.alpha:
        pose = shrink_bones(pose, data.mean_lengths, data.skeleton, how.alpha)
    return symmetrise_bones(pose, data.skeleton) if how.symmetrise else pose


def errors(pose: Tensor, data: Windows, names: Sequence[str] | None = None) -> Array:
    """Errors (names, W) of windows (W, T, J, 3), each the mean over a window, in millimetres or percent."""
    root = data.skeleton.root_joints
    pose, target = (1e3 * (each - each[:, :, list(root)].mean(2, keepdim=True)) for each in (pose, data.target))
    measured = [ERRORS[name](pose, target, data.skeleton).mean(-1).double() for name in names or ERRORS]
    return torch.stack(measured).numpy()


ERRORS: dict[str, Callable[[Tensor, Tensor, Skeleton], Tensor]] = {
    "MPJPE": lambda pose, target, skeleton: mpjpe(pose, target, reduction="none"),
    "P-MPJPE": lambda pose, target, skeleton: p_mpjpe(pose, target, reduction="none"),
    "acceleration": lambda pose, target, skeleton: acceleration_error(pose, target, reduction="none"),
    "LSE": lambda pose, target, skeleton: limb_symmetry_error(pose, skeleton, reduction="none"),
    "asymmetry": lambda pose, target, skeleton: asymmetry_error(pose, target, skeleton, reduction="none"),
    "BSLE": lambda pose, target, skeleton: body_segment_length_error(pose, target, skeleton, reduction="none"),
}
"""The errors by name, each of poses and targets (W, T, J, 3) in millimetres; acceleration is per frame squared."""


class Outcome(NamedTuple):
    """A method's errors (errors, seeds, clips) as predicted, and after what validation chose."""

    seeds: list[int]
    raw: ClipSums
    best: dict[str, tuple[Treatment, float, ClipSums]]
    """By mode what is done, its primary end point on validation, and what is left after it."""


Scores = Mapping[Treatment, float]


def choose(name: str, mode: str, scores: Mapping[str, Scores], hosts: Mapping[str, str]) -> Treatment:
    """The treatment of a method's predictions.

    Args:
        name: The method.
        mode: One of `MODES`: what is best for the method, or for the mean of all that have its host.
        scores: Primary end points on validation by method and treatment.
        hosts: By method the name of its host.
    """
    alike = [other for other in scores if hosts[other] == hosts[name]] if mode in ALIKE else [name]
    return min(MODES[mode], key=lambda how: geometric_mean(np.array([scores[other][how] for other in alike])))


def outcome(
    seeds: list[int], poses: Sequence[Tensor], data: Windows, scores: Scores, chosen: Mapping[str, Treatment]
) -> Outcome:
    """Score the predictions of a method with every seed, after what was chosen in every mode."""
    best = {}
    for mode, how in chosen.items():
        after = data.sums([errors(treat(pose, how, data), data) for pose in poses])
        best[mode] = how, scores[how], after
    return Outcome(seeds, data.sums([errors(pose, data) for pose in poses]), best)


def score(poses: Sequence[Tensor], data: Windows) -> Scores:
    """Geometric mean of the primary errors after each treatment, over some of the windows."""
    poses, data = [pose[::CHOOSING] for pose in poses], data.some(CHOOSING)
    scores = {}
    for first in dict.fromkeys(how._replace(alpha=0.0, symmetrise=False) for how in (*OFFLINE, *LIVE)):
        begun = [treat(pose, first, data) for pose in poses]  # the slow half, which many treatments share
        for bones in BONES:
            each = data.sums([errors(treat(pose, bones, data), data, PRIMARY) for pose in begun])
            how = first._replace(alpha=bones.alpha, symmetrise=bones.symmetrise)
            scores[how] = float(geometric_mean(each.mean().mean(-1)))
    return scores


def _pair(mine: ClipSums, theirs: ClipSums, shared: Sequence[tuple[int, int]]) -> tuple[Array, Array]:
    """Means (2, errors) of another method and of this one over the seeds that both have, and replicates of them."""
    ours, others = zip(*shared, strict=True)
    both = ClipSums(mine.skeleton, mine.names, np.stack([theirs.total[:, others], mine.total[:, ours]]), mine.count)
    return both.mean().mean(-1), bootstrap(both)


def _percent(point: float, replicates: Array) -> str:
    low, high = interval(replicates)
    return f"{point:+.1f} [{low:+.1f}, {high:+.1f}]"


class Report:
    """The tables of the outcomes of a study's methods."""

    def __init__(self, study: Study, outcomes: Mapping[str, Outcome]) -> None:
        self.study, self.outcomes = study, outcomes

    def tables(self) -> str:
        """All tables, in Markdown."""
        parts = [self._absolute()]
        compared = [name for name in self.outcomes if self.study.reference(name) != name]
        against = {name: self.study.reference(name) for name in compared}
        for mode in MODES:
            rivals = {name: self.rival(name, mode) for name in compared if self.study.methods[name].seal is not None}
            parts += [
                f"Primary end point, {mode}: against the host.\n\n" + self._primary(against, mode),
                f"Primary end point, {mode}: against the strongest rival.\n\n" + self._primary(rivals, mode),
                f"Errors, {mode}: against the host.\n\n" + self._changes(against, mode),
                f"Errors, {mode}: against that rival.\n\n" + self._changes(rivals, mode),
            ]
        return "\n\n".join([*parts, "Errors as predicted, against the host.\n\n" + self._changes(against, "raw")])

    def rival(self, name: str, mode: str) -> str:
        """The method without a learned loss with the best primary end point on validation, and the seeds of `name`."""
        reference = self.study.reference(name)
        rivals = [
            other
            for other, result in self.outcomes.items()
            if self.study.methods[other].seal is None
            and self.study.reference(other) == reference
            and set(self.outcomes[name].seeds) <= set(result.seeds)
        ]
        return min(rivals, key=lambda other: self.outcomes[other].best[mode][1])

    def _pair(self, name: str, other: str, mode: str) -> tuple[Array, Array]:
        mine, theirs = self.outcomes[name], self.outcomes[other]
        shared = [(mine.seeds.index(seed), theirs.seeds.index(seed)) for seed in mine.seeds if seed in theirs.seeds]
        sums = [result.raw if mode == "raw" else result.best[mode][2] for result in (mine, theirs)]
        return _pair(sums[0], sums[1], shared)

    def _primary(self, pairs: Mapping[str, str], mode: str) -> str:
        rows, p_values = {}, {}
        chosen = [list(ERRORS).index(name) for name in PRIMARY]
        for name, other in pairs.items():
            mean, drawn = self._pair(name, other, mode)
            point = 100 * (float(geometric_mean(mean[1, chosen] / mean[0, chosen])) - 1)
            replicates = 100 * (geometric_mean(drawn[:, 1, chosen] / drawn[:, 0, chosen]) - 1)
            p_values[name] = p_value(replicates)
            how = " / ".join(str(self.outcomes[each].best[mode][0]) for each in (name, other))
            seeds = len(self.outcomes[name].seeds)
            rows[name] = f"| {name} | {seeds} | {other} | {how} | {_percent(point, replicates)}", replicates
        adjusted = holm(p_values)
        lines = [
            f"{row} | {p_values[name]:.3f} | {adjusted[name]:.3f} | {smallest_effect(replicates):.1f} |"
            for name, (row, replicates) in rows.items()
        ]
        head = "| method | seeds | against | best for each | change [95 % interval] | p | p (Holm) | seen from |"
        return "\n".join([head, "|---" * 8 + "|", *lines])

    def _changes(self, pairs: Mapping[str, str], mode: str) -> str:
        lines = []
        for name, other in pairs.items():
            mean, drawn = self._pair(name, other, mode)
            cells = [
                _percent(100 * (mean[1, i] / mean[0, i] - 1), 100 * (drawn[:, 1, i] / drawn[:, 0, i] - 1))
                if mean[0, i] > 1e-3  # what is left of the LSE after symmetrising is rounding
                else "-"
                for i in range(len(ERRORS))
            ]
            lines.append(f"| {name} | {len(self.outcomes[name].seeds)} | {other} | " + " | ".join(cells) + " |")
        head = " | ".join(["| method | seeds | against", *ERRORS]) + " |"
        return "\n".join([head, "|---" * (3 + len(ERRORS)) + "|", *lines])

    def _absolute(self) -> str:
        lines = []
        for name, result in self.outcomes.items():
            for label, sums in (
                ("as predicted", result.raw),
                *((f"{mode}: {result.best[mode][0]}", result.best[mode][2]) for mode in MODES),
            ):
                cells = [f"{value:.2f}" for value in sums.mean().mean(-1)]
                lines.append(f"| {name} | {len(result.seeds)} | {label} | " + " | ".join(cells) + " |")
        head = " | ".join(["| method | seeds | after", *ERRORS]) + " |"
        return "\n".join(["Errors: mean over the seeds.\n", head, "|---" * (3 + len(ERRORS)) + "|", *lines])


def learn_filters(study: Study, path: Path) -> None:
    """Train the learned filters on what some methods predict for the training data, with a seed that no row has."""
    predicted, true = [], []
    for method in LEARNED_FROM:
        made = fit(study, method, max(study.seeds) + 1, "cpu")
        with torch.no_grad():
            for batch in islice(made.data.train_dataloader(), LEARNED_BATCHES):
                predicted.append(made.model(batch["keypoints_2d"]))
                true.append(batch["target"])
    states = {}
    for causal in (False, True):
        torch.manual_seed(0)
        learned = LearnedFilter(causal=causal)
        learned.fit(torch.cat(predicted), torch.cat(true), LEARNED_STEPS)
        states[causal] = learned.state_dict()
    torch.save(states, path)


def read_filters(path: Path) -> dict[bool, LearnedFilter]:
    """The filters that `learn_filters` trained, by whether they are causal."""
    filters = {}
    for causal, state in torch.load(path, weights_only=True).items():
        filters[causal] = LearnedFilter(causal=causal)
        filters[causal].load_state_dict(state)
    return filters


def report(study: Study, folder: Path, split: str, methods: Sequence[str]) -> str:
    """Return the tables of the methods and seeds that are finished."""
    runs, learned = finished(folder), read_filters(folder / FILTERS)
    data = make_data(study, next(iter(study.methods)), seed=0)
    sets = {side: Windows.of(data, side, learned) for side in {"val", split}}
    seeds = {name: [seed for seed in study.seeds if study.run_key(name, seed) in runs] for name in methods}
    seeds = {name: made for name, made in seeds.items() if made}

    def poses(name: str, side: str) -> list[Tensor]:
        files = [folder / "predictions" / f"{study.run_key(name, seed)}.npz" for seed in seeds[name]]
        return [torch.from_numpy(np.load(file)[side])[sets[side].kept] for file in files]

    scores = {name: score(poses(name, "val"), sets["val"]) for name in seeds}
    hosts = {name: study.reference(name) for name in seeds}
    outcomes = {}
    for name, mine in scores.items():
        chosen = {mode: choose(name, mode, scores, hosts) for mode in MODES}
        outcomes[name] = outcome(seeds[name], poses(name, split), sets[split], mine, chosen)
    data = sets[split]
    counts = f"{len(data.target)} windows of {len(data.clip.unique())} clips are scored, of {len(data.kept)} windows."
    return f"{counts}\n\n{Report(study, outcomes).tables()}\n"


def main(arguments: list[str] | None = None) -> None:
    """Run the study, or report on it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clips", description=__doc__)
    parser.add_argument(
        "action",
        choices=("run", "filters", "report"),
        help="train what is missing, or the filters that learn, or print the tables",
    )
    parser.add_argument("--study", type=Path, default=STUDY, help="YAML file of the study")
    parser.add_argument("--data-dir", help="folder of the motion-capture files that the study names")
    parser.add_argument("--output", type=Path, default=Path("runs/clips"), help="folder of the runs")
    parser.add_argument("--methods", nargs="+", help="run or report only these methods")
    parser.add_argument("--seeds", type=int, nargs="+", help="run only these seeds")
    parser.add_argument(
        "--split", choices=("val", "test"), default="val", help="split to report on; read the test split only once"
    )
    options = parser.parse_args(arguments)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
    study = Study.read(options.study, options.data_dir)
    methods = options.methods or list(study.methods)
    if options.action == "report":
        print(report(study, options.output, options.split, methods))
        return
    options.output.mkdir(parents=True, exist_ok=True)
    if options.action == "filters":
        learn_filters(study, options.output / FILTERS)
        return
    run(study, options.output, methods, options.seeds)


if __name__ == "__main__":
    main()
