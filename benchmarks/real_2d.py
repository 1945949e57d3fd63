"""A study on real 2D keypoints: what a sensor's tracker saw of eight people, beside the truth from markers.

    python -m benchmarks.real_2d run --data-dir DIR
    python -m benchmarks.real_2d report --data-dir DIR --split test

Every method is trained on four folds, so that each person is tested once; the report joins the folds.
docs/real-2d.md holds the protocol. With ``--study benchmarks/studies/simulated_to_kinect.yaml`` training has labels of
simulated views alone; docs/another-domain.md holds that protocol.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy.__main__ import finished, run
from benchmarks.accuracy.errors import ERRORS, EvaluationSet, Rescaling, pose_errors, rescale
from benchmarks.accuracy.outcome import PRIMARY, Outcome, Predictions, Rescaled, sums
from benchmarks.accuracy.statistics import ClipSums, geometric_mean
from benchmarks.accuracy.study import Study
from benchmarks.accuracy.tables import Comparisons, half, strongest_rival
from benchmarks.accuracy.tail import TAIL, PoseErrors
from benchmarks.accuracy.training import make_data
from seal_lightning.data import KeypointsDataModule
from seal_lightning.functional import bone_lengths

__all__ = ["FOLDS", "SUBJECTS", "KinectDataModule", "folds", "joined"]

STUDY = Path(__file__).with_name("studies") / "kinect.yaml"
FOLDS = (("S06", "S07", "S08"), ("S08", "S01", "S02"), ("S02", "S03", "S04"), ("S04", "S05", "S06"))
"""The two test subjects and the validation subject of every fold; the other five train. Each is tested once."""

CHOICES = tuple(
    Rescaling(alpha, both, steady, sigma, flips=True)
    for sigma, steady, alpha, both in product((0.0, 1.0, 2.0), (False, True), (0.0, 0.2, 0.5, 1.0), (False, True))
)
"""What may be done to predictions: filter, mean lengths over the clip, lengths of the training subjects, symmetrise."""

CHOOSING = 3  # every third clip of the validation subject is what the choice looks at

SUBJECTS = tuple(f"S0{number}" for number in range(1, 9))


class KinectDataModule(KeypointsDataModule):
    """One fold of the file with what a Kinect v2 saw.

    Args:
        paths: The file, as a list of one: so a study names its files.
        fold: Index into `FOLDS`.
        arguments: Arguments of `KeypointsDataModule`.
    """

    def __init__(self, paths: list[str], fold: int, **arguments: Any) -> None:
        *test, val = FOLDS[fold]
        train = [subject for subject in SUBJECTS if subject not in FOLDS[fold]]
        split = {"train": train, "val": [val], "test": test}
        super().__init__(paths[0], split, image_size=(1920, 1080), positions_unit="mm", **arguments)

    def evaluation_set(self, side: str) -> EvaluationSet:
        """Return the true poses of a side, in the order of its batches; a clip has one view."""
        batches = list(self.test_dataloader() if side == "test" else self.val_dataloader())
        pose, group, clip = (torch.cat([batch[name] for batch in batches]) for name in ("target", "group", "action"))
        lengths: dict[str, list[torch.Tensor]] = {}
        for recording in self.dataset("train").recordings:
            target = torch.from_numpy(np.array(recording.target))
            lengths.setdefault(recording.group, []).append(bone_lengths(target, self.skeleton))
        mean = torch.stack([torch.cat(clips).mean(0) for clips in lengths.values()]).mean(0)
        return EvaluationSet(pose, group, clip, clip, self.group_names, 1e-3 * mean, self.skeleton)


def folds(study: Study) -> list[Study]:
    """Return the study once for every fold. Of the people whose labels a host may have, those stay that train there."""
    return [_fold(study, number) for number in range(len(FOLDS))]


def _fold(study: Study, number: int) -> Study:
    def arguments(of: Mapping[str, Any]) -> dict[str, Any]:
        people = of.get("labelled")
        return {**of} if people is None else {**of, "labelled": [p for p in people if not p.endswith(FOLDS[number])]}

    return replace(
        study,
        data={**study.data, "init_args": {**study.data["init_args"], "fold": number}},
        host={**study.host, "init_args": arguments(study.host.get("init_args", {}))},
        methods={
            name: method if method.host is None else replace(method, host=arguments(method.host))
            for name, method in study.methods.items()
        },
    )


def outcome(
    runs: list[Mapping[str, Any]], files: Sequence[Path], sets: Mapping[str, EvaluationSet], split: str
) -> Outcome:
    """Score the predictions of a method on one fold, averaged with the mirrored ones; arguments as in the main study.

    "As predicted" means with that average, and what is best for the method is chosen on the fold's validation.
    """
    averaged = Rescaling(flips=True)
    validation, predictions = (Predictions.read(files, side).after(averaged, sets[side]) for side in ("val", split))
    scores = _scores(validation, sets["val"])
    how, data = min(scores, key=scores.__getitem__), sets[split]
    after = [rescale(pose, how, data) for pose in predictions]
    best = Rescaled(how, sums(after, data), scores[how])
    distances = [[pose_errors(pose, data, ["MPJPE"])["MPJPE"].numpy() for pose in of] for of in (predictions, after)]
    tail = PoseErrors.of(np.array(distances, dtype=float), data.clip.numpy(), data.group.numpy(), data.names)
    return Outcome(runs, sums(predictions, data), best, best, tail)


def _scores(poses: Sequence[torch.Tensor], data: EvaluationSet) -> dict[Rescaling, float]:
    """Return the primary end point of every choice on some of the clips."""
    rows = torch.unique(data.clip, return_inverse=True)[1] % CHOOSING == 0
    some = replace(data, target=data.target[rows], group=data.group[rows], clip=data.clip[rows], view=data.view[rows])
    scores = {}
    for first in dict.fromkeys(how._replace(alpha=0.0, symmetrise=False) for how in CHOICES):
        begun = [rescale(pose[rows], first, some) for pose in poses]  # the slow half, which many choices share
        for how in (how for how in CHOICES if how._replace(alpha=0.0, symmetrise=False) == first):
            rest = Rescaling(how.alpha, how.symmetrise)
            errors = sums([rescale(pose, rest, some) for pose in begun], some, PRIMARY).mean().mean(-1)
            scores[how] = float(geometric_mean(errors))
    return scores


def joined(parts: Sequence[Outcome]) -> Outcome:
    """Join the outcomes of one method on all folds; each was treated by what is best on the fold's validation."""
    score = float(geometric_mean(np.array([part.best.score for part in parts])))
    best = Rescaled(Rescaling(flips=True), _together([part.best.errors for part in parts]), score)
    raw, tail = _together([part.raw for part in parts]), _together([part.tail for part in parts])
    return Outcome(parts[0].runs, raw, best, best, tail)


def _together(parts: Sequence[Any]) -> Any:
    """Measurements of all folds as one; the folds number their people differently."""
    names = sorted({name for part in parts for name in part.names})
    skeleton = np.concatenate([np.array([names.index(part.names[one]) for one in part.skeleton]) for part in parts])
    if isinstance(parts[0], ClipSums):
        total = np.concatenate([part.total for part in parts], axis=-1)
        return ClipSums(skeleton, names, total, np.concatenate([part.count for part in parts]))
    first = np.cumsum([0, *(len(part.skeleton) for part in parts[:-1])])
    place = np.concatenate([part.place + start for part, start in zip(parts, first, strict=True)])
    return PoseErrors(skeleton, names, np.concatenate([part.errors for part in parts], axis=-1), place)


def report(study: Study, folder: Path, split: str) -> Iterator[str]:
    """Yield the tables, in Markdown, of the methods and seeds that are finished on all folds."""
    runs = finished(folder)
    parts: dict[str, list[Outcome]] = {}
    for fold in folds(study):
        data = make_data(fold, next(iter(fold.methods)), seed=0)
        data.setup()
        sets = {side: data.evaluation_set(side) for side in ("val", split)}
        for name in study.methods:
            seeds = [s for s in study.seeds if all(one.run_key(name, s) in runs for one in folds(study))]
            keys = [fold.run_key(name, seed) for seed in seeds]
            if keys:
                files = [folder / "predictions" / f"{key}.npz" for key in keys]
                parts.setdefault(name, []).append(outcome([runs[key] for key in keys], files, sets, split))
    outcomes = {name: joined(of) for name, of in parts.items()}
    yield from _tables(study, outcomes, parts)


def _tables(study: Study, outcomes: Mapping[str, Outcome], parts: Mapping[str, Sequence[Outcome]]) -> Iterator[str]:
    rows = Comparisons(study, outcomes)
    host = next(iter(outcomes))
    against_host = dict.fromkeys([name for name in outcomes if name != host], host)
    pairs = {name: study.reference(name) for name in against_host}
    rivals = {name: strongest_rival(study, outcomes, name) for name in pairs if study.methods[name].seal is not None}
    chosen = [f"- {name}: {'; '.join(str(part.best.how) for part in of)}" for name, of in parts.items()]
    primary = {
        "Primary end point against the reference, each after what is best for it.": pairs,
        "The same against the host.": against_host if against_host != pairs else {},
        "The same against the strongest rival.": rivals,
    }
    yield "What is best for each method on the validation subject of each fold:\n\n" + "\n".join(chosen)
    for what, which in primary.items():
        if which:
            yield f"{what}\n\n{rows.primary(which, lambda outcome: outcome.best)}"
    change = "change in percent against the reference.\n\n"
    best = rows.changes(pairs, tuple(ERRORS), lambda outcome: outcome.best.errors)
    yield f"Errors after what is best for each: {change}{best}"
    yield f"Errors as predicted: {change}{rows.changes(pairs, tuple(ERRORS), lambda outcome: outcome.raw)}"
    yield f"Errors as predicted.\n\n{rows.absolute()}"
    # The tail comes last, as its intervals take the longest.
    yield f"The tail after what is best for each: {change}{_tail(rows, pairs, 1)}"
    yield f"The tail as predicted: {change}{_tail(rows, pairs, 0)}"


def _tail(rows: Comparisons, pairs: Mapping[str, str], which: int) -> str:
    return rows.changes(pairs, TAIL, lambda outcome: half(outcome.tail, which))


def main(arguments: list[str] | None = None) -> None:
    """Run the study, or report on it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_2d", description=__doc__)
    parser.add_argument("action", choices=("run", "report"), help="train what is missing, or print the tables")
    parser.add_argument("--study", type=Path, default=STUDY, help="YAML file of the study")
    parser.add_argument("--data-dir", help="folder of the files that the study names")
    parser.add_argument("--output", type=Path, default=Path("runs/real_2d"), help="folder of the runs")
    parser.add_argument("--methods", nargs="+", help="run only these methods")
    parser.add_argument("--seeds", type=int, nargs="+", help="run only these seeds")
    parser.add_argument(
        "--split", choices=("val", "test"), default="val", help="split to report on; read the test split only once"
    )
    options = parser.parse_args(arguments)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
    study = Study.read(options.study, options.data_dir)
    if options.action == "report":
        for table in report(study, options.output, options.split):
            print(f"{table}\n", flush=True)
        return
    options.output.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds or study.seeds:
        for fold in folds(study):
            run(fold, options.output, options.methods, [seed])


if __name__ == "__main__":
    main()
