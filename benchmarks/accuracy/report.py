"""The report of a study: tables in Markdown, and a picture. docs/accuracy.md explains the protocol and the errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy.errors import (
    CLIP_RESCALINGS,
    ERRORS,
    RESCALINGS,
    EvaluationSet,
    Rescaling,
    pose_errors,
    rescale,
)
from benchmarks.accuracy.outcome import Outcome, Rescaled
from benchmarks.accuracy.picture import draw
from benchmarks.accuracy.statistics import Array, ClipSums, bootstrap, geometric_mean, holm, interval, p_value
from benchmarks.accuracy.study import Study
from benchmarks.accuracy.training import make_data
from seal_lightning.functional import bone_lengths

__all__ = ["PRIMARY", "write_report"]

PRIMARY = ("MPJPE", "BSLE", "asymmetry")
"""The primary errors. The primary end point is the geometric mean of their ratios to those of the reference."""


def write_report(
    study: Study,
    finished: Mapping[str, Mapping[str, Any]],
    folder: Path,
    title: str,
    split: str,
    methods: Sequence[str] | None,
) -> str:
    """Score the finished runs on a split, and write ``TITLE_SPLIT.md`` and ``TITLE_SPLIT.png``.

    Args:
        study: The study.
        finished: Lines of the results by the key of their run.
        folder: Folder of the runs, and of the report.
        title: What the names of the written files begin with.
        split: "val" or "test".
        methods: The methods to report, besides those that they are compared with; None for all.

    Returns:
        The Markdown text.

    Raises:
        ValueError: If a method, or the one that it is compared with, has no finished run.
    """
    named = set(methods or study.methods)
    wanted = [name for name in study.methods if name in named | {study.reference(other) for other in named}]
    for name in wanted:
        if not any(study.run_key(name, seed) in finished for seed in study.seeds):
            raise ValueError(f"Expected method {name!r} to have a finished run in {folder}, but got none.")
    sets = evaluation_sets(study)
    outcomes = {name: _outcome(study, name, finished, folder, sets, split) for name in wanted}
    text = "\n\n".join([_truth(sets[split]), *_tables(study, outcomes, sets[split])]) + "\n"
    (folder / f"{title}_{split}.md").write_text(text)
    draw(outcomes, PRIMARY).savefig(folder / f"{title}_{split}.png", dpi=120)
    return text


def evaluation_sets(study: Study) -> dict[str, EvaluationSet]:
    """Return the true poses of validation and test, in the order in which the study's data yield them."""
    data = make_data(study, next(iter(study.methods)), seed=0)
    data.setup()
    return {split: _evaluation_set(data, split) for split in ("val", "test")}


def _evaluation_set(data: Any, split: str) -> EvaluationSet:
    batches = list(data.test_dataloader() if split == "test" else data.val_dataloader())
    views = data.dataset(split).views
    view = torch.unique(views, dim=0, return_inverse=True)[1]  # a number for every pair of clip and camera
    target, group = torch.cat([batch["target"] for batch in batches]), torch.cat([batch["group"] for batch in batches])
    frames = target.shape[1] if target.dim() == 4 else 1
    group, clip, view = (index.repeat_interleave(frames) for index in (group, views[:, 0], view))
    poses, names = target.flatten(0, -3), data.group_names
    return EvaluationSet(poses, group, clip, view, names, _training_lengths(data), data.skeleton)


def _training_lengths(data: Any) -> torch.Tensor:
    """Mean bone lengths (J - 1,) of the training data, over the frames of a skeleton and then over the skeletons."""
    clips = data.dataset("train").clips
    lengths = bone_lengths(clips.positions, data.skeleton) * data.dataset("train").scale
    frames = torch.repeat_interleave(clips.group, clips.length)
    return torch.stack([lengths[frames == group].mean(0) for group in clips.group.unique()]).mean(0)


def _outcome(
    study: Study,
    name: str,
    finished: Mapping[str, Mapping[str, Any]],
    folder: Path,
    sets: Mapping[str, EvaluationSet],
    split: str,
) -> Outcome:
    keys = [key for key in (study.run_key(name, seed) for seed in study.seeds) if key in finished]
    stored = [np.load(folder / "predictions" / f"{key}.npz") for key in keys]
    poses = {part: [torch.from_numpy(npz[part]).flatten(0, -3) for npz in stored] for part in ("val", "test")}
    # The rescaling is chosen on validation whatever the split: choosing it on the test split would flatter the method.
    on_validation = _frontier(poses["val"], sets["val"], RESCALINGS)
    frontier = on_validation if split == "val" else _frontier(poses[split], sets[split], RESCALINGS)
    rescaled = []
    for choice, errors in (
        (RESCALINGS, on_validation),
        (CLIP_RESCALINGS, _frontier(poses["val"], sets["val"], CLIP_RESCALINGS)),
    ):
        best = choice[int(np.argmin(geometric_mean(errors / errors[0])))]
        rescaled.append(Rescaled(best, _sums(poses[split], sets[split], best, PRIMARY)))
    raw = _sums(poses[split], sets[split], Rescaling())
    tail = np.sort(
        np.concatenate([pose_errors(pose, sets[split], ["MPJPE"])["MPJPE"].numpy() for pose in poses[split]])
    )
    return Outcome([finished[key] for key in keys], raw, *rescaled, frontier, tail)


def _frontier(poses: Sequence[torch.Tensor], data: EvaluationSet, rescalings: Sequence[Rescaling]) -> Array:
    """Mean primary errors after each rescaling, shape (rescalings, 3)."""
    return np.stack([_sums(poses, data, how, PRIMARY).mean().mean(-1) for how in rescalings])


def _sums(
    poses: Sequence[torch.Tensor], data: EvaluationSet, how: Rescaling, names: Sequence[str] = tuple(ERRORS)
) -> ClipSums:
    """Sums over clips of the errors of rescaled poses, (errors, seeds, clips); `poses` holds those of each seed."""
    seeds = [pose_errors(rescale(pose, how, data), data, names) for pose in poses]
    errors = np.stack([np.stack([seed[name].double().numpy() for seed in seeds]) for name in names])
    return ClipSums.of(errors, data.clip.numpy(), data.group.numpy(), data.names)


def _truth(data: EvaluationSet) -> str:
    """Say how the true poses themselves score, since no person is perfectly symmetric or rigid in a recording."""
    names = ("LSE", "LSE, no hips", "LSE, no hips, no shoulders", "BSLE, subject's median")
    sums = _sums([data.target], data, Rescaling(), names)
    values = "; ".join(f"{name} {value:.2f} %" for name, value in zip(names, sums.mean()[:, 0], strict=True))
    return f"{len(data.target)} poses of {len(set(data.group.tolist()))} skeletons. The truth itself scores {values}."


def _tables(study: Study, outcomes: Mapping[str, Outcome], data: EvaluationSet) -> list[str]:
    """Format all tables, each with a sentence above it that says what it shows."""
    errors = tuple(ERRORS)
    rows: dict[str, list[str]] = {"relative": [], "absolute": [], "steady": [], "apart": []}
    for name, outcome in outcomes.items():
        reference = outcomes[study.reference(name)]
        label = f"| {name} | {study.methods[name].family} | {len(outcome.runs)}"
        spread = outcome.raw.mean()
        cells = [f"{row.mean():.2f} ± {row.std(ddof=1):.2f}" if len(row) > 1 else f"{row[0]:.2f}" for row in spread]
        rows["absolute"].append(" | ".join([label, *cells, f"{_last_fifth(outcome):+.1f}"]) + " |")
        steady = outcome.by_clip.errors.mean().mean(-1) / reference.raw.mean()[
            [errors.index(name) for name in PRIMARY]
        ].mean(-1)
        rows["steady"].append(" | ".join([label, *(f"{100 * (ratio - 1):+.1f}" for ratio in steady)]) + " |")
        if outcome is reference:
            continue
        both = _stacked(reference.raw, outcome.raw, _shared_seeds(reference, outcome))
        mine, theirs = both.mean()[1].mean(-1), both.mean()[0].mean(-1)
        drawn = bootstrap(both)
        changes = [
            _percent(100 * (mine[e] / theirs[e] - 1), 100 * (drawn[:, 1, e] / drawn[:, 0, e] - 1))
            for e in range(len(errors))
        ]
        rows["relative"].append(" | ".join([label, *changes]) + " |")
        for dataset, values in both.by_dataset().items():
            theirs, mine = values.mean(-1)
            cells = [f"{100 * (mine[e] / theirs[e] - 1):+.1f}" for e in range(len(errors))]
            rows["apart"].append(" | ".join([label, dataset, *cells]) + " |")
    head = "| method | family | seeds"
    return [
        "Primary end point after rescaling: change in percent against the rescaled reference. Negative is better.\n\n"
        + _primary_table(study, outcomes, lambda outcome: outcome.by_pose),
        "Errors as predicted: the change in percent against the reference [95 % interval].\n\n"
        + _table(" | ".join([head, *errors]) + " |", rows["relative"]),
        "The same for each dataset alone, without intervals.\n\n"
        + _table(" | ".join([head, "dataset", *errors]) + " |", rows["apart"]),
        "Errors as predicted: mean ± standard deviation over seeds (mm, percent, degrees). The column *last fifth* is "
        "the change of the validation MPJPE over the last fifth of the steps, in percent.\n\n"
        + _table(" | ".join([head, *errors, "last fifth"]) + " |", rows["absolute"]),
        "The primary end point where every bone may first get its mean length over a whole clip.\n\n"
        + _primary_table(study, outcomes, lambda outcome: outcome.by_clip),
        "The primary errors after that rescaling: the change in percent against the reference as predicted.\n\n"
        + _table(" | ".join([head, *PRIMARY]) + " |", rows["steady"]),
        _knowledge(outcomes),
    ]


def _last_fifth(outcome: Outcome) -> float:
    """Change of the validation MPJPE over the last fifth of the steps, in percent; near 0 where it has converged."""
    steps, values = outcome.curve
    return float(100 * (values[-1] / np.interp(0.8 * steps[-1], steps, values) - 1))


def _knowledge(outcomes: Mapping[str, Outcome]) -> str:
    """Tabulate what each energy knows.

    The columns are the AUROC of `energy_report` at the largest severity of every kind of damage, and four values of
    `EnergyMonitor`: the alignment of the pull with the way to the truth, and rank correlations with errors.
    """
    by_method = {name: [run for run in outcome.runs if run.get("knowledge")] for name, outcome in outcomes.items()}
    measured = {name: runs for name, runs in by_method.items() if runs}
    if not measured:
        return "No method has an energy."
    kinds = list(next(iter(next(iter(measured.values()))[0]["knowledge"].values())))
    monitored = ("alignment", "spearman_mpjpe", "spearman_body_segment_length_error", "spearman_asymmetry_error")
    rows = []
    for name, runs in measured.items():
        for energy in runs[0]["knowledge"]:
            scores = [[run["knowledge"][energy][kind]["auroc"][-1] for kind in kinds] for run in runs]
            logs = [[run["logged"][f"seal/monitor/{energy}/{key}"] for key in monitored] for run in runs]
            values = np.hstack([scores, logs]).mean(0)
            rows.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |")
    return (
        "What the energies know: how well they tell true poses from those with the worst damage of each kind (AUROC), "
        "the alignment of their pull with the way to the truth, and their rank correlation with the errors.\n\n"
        + _table(" | ".join(["| method", *kinds, *monitored]) + " |", rows)
    )


def _primary_table(study: Study, outcomes: Mapping[str, Outcome], rescaled: Callable[[Outcome], Rescaled]) -> str:
    """Tabulate the change in percent of the primary end point, each method after its own best rescaling."""
    rows, p_values = {}, {}
    for name, outcome in outcomes.items():
        reference = outcomes[study.reference(name)]
        if outcome is reference:
            continue
        theirs, mine = rescaled(reference), rescaled(outcome)
        both = _stacked(theirs.errors, mine.errors, _shared_seeds(reference, outcome))
        point, drawn = (
            geometric_mean(errors[..., 1, :] / errors[..., 0, :]) for errors in (both.mean().mean(-1), bootstrap(both))
        )
        p_values[name] = p_value(100 * (drawn - 1))
        label = f"| {name} | {study.methods[name].family} | {len(outcome.runs)}"
        rows[name] = f"{label} | {mine.how} / {theirs.how} | {_percent(100 * (float(point) - 1), 100 * (drawn - 1))}"
    adjusted = holm(p_values)
    head = "| method | family | seeds | rescaling, its reference's | change [95 % interval] | p (Holm) |"
    return _table(head, [f"{row} | {adjusted[name]:.3f} |" for name, row in rows.items()])


def _shared_seeds(reference: Outcome, outcome: Outcome) -> list[int]:
    """Return the positions of a method's seeds among those of its reference."""
    seeds = [run["seed"] for run in outcome.runs]
    return [place for place, run in enumerate(reference.runs) if run["seed"] in seeds]


def _stacked(reference: ClipSums, mine: ClipSums, shared: Sequence[int]) -> ClipSums:
    """Stack the sums of the reference and of a method, (2, errors, seeds, clips), over the seeds that both have."""
    total = np.stack([reference.total[:, list(shared)], mine.total])
    return ClipSums(total, mine.count, mine.skeleton, mine.names)


def _percent(point: float, replicates: Array) -> str:
    low, high = interval(replicates)
    return f"{point:+.1f} [{low:+.1f}, {high:+.1f}]"


def _table(head: str, rows: Sequence[str]) -> str:
    return "\n".join([head, "|---" * (head.count("|") - 1) + "|", *rows])
