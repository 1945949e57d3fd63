"""The report of a study: tables in Markdown, and a picture. docs/accuracy.md explains the protocol and the errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.accuracy.errors import EvaluationSet
from benchmarks.accuracy.nearest import nearest_distances, thirds
from benchmarks.accuracy.outcome import outcome
from benchmarks.accuracy.picture import draw
from benchmarks.accuracy.study import Study
from benchmarks.accuracy.tables import tables
from benchmarks.accuracy.training import make_data
from seal_lightning.functional import bone_lengths

__all__ = ["evaluation_sets", "write_report"]


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
    for _ in study.methods:  # what is compared with another method, which may be compared with a third one
        named |= {study.reference(name) for name in named}
    wanted = [name for name in study.methods if name in named]
    for name in wanted:
        if not any(study.run_key(name, seed) in finished for seed in study.seeds):
            raise ValueError(f"Expected method {name!r} to have a finished run in {folder}, but got none.")
    data = make_data(study, next(iter(study.methods)), seed=0)
    sets = evaluation_sets(data, study.host.get("init_args", {}).get("labelled"))
    outcomes = {}
    for name in wanted:
        keys = [key for key in (study.run_key(name, seed) for seed in study.seeds) if key in finished]
        files = [folder / "predictions" / f"{key}.npz" for key in keys]
        outcomes[name] = outcome([finished[key] for key in keys], files, sets, split)
    bins = thirds(nearest_distances(sets[split].target, data.dataset("train").clips.positions * 1e-3))
    text = "\n\n".join(tables(study, outcomes, sets[split], bins)) + "\n"
    (folder / f"{title}_{split}.md").write_text(text)
    draw(study, outcomes).savefig(folder / f"{title}_{split}.png", dpi=120)
    return text


def evaluation_sets(data: Any, labelled: Sequence[str] | None = None) -> dict[str, EvaluationSet]:
    """Return the true poses of validation and test, in the order in which a datamodule yields them.

    Args:
        data: The datamodule.
        labelled: Names of the training skeletons whose bone lengths are known; None for all.
    """
    data.setup()
    return {split: _evaluation_set(data, split, labelled) for split in ("val", "test")}


def _evaluation_set(data: Any, split: str, labelled: Sequence[str] | None) -> EvaluationSet:
    batches = list(data.test_dataloader() if split == "test" else data.val_dataloader())
    views = data.dataset(split).views
    view = torch.unique(views, dim=0, return_inverse=True)[1]  # a number for every pair of clip and camera
    target, group = torch.cat([batch["target"] for batch in batches]), torch.cat([batch["group"] for batch in batches])
    frames = target.shape[1] if target.dim() == 4 else 1
    group, clip, view = (index.repeat_interleave(frames) for index in (group, views[:, 0], view))
    poses, names = target.flatten(0, -3), data.group_names
    return EvaluationSet(poses, group, clip, view, names, _training_lengths(data, labelled), data.skeleton)


def _training_lengths(data: Any, labelled: Sequence[str] | None) -> torch.Tensor:
    """Mean bone lengths (J - 1,) of the training data, over the frames of a skeleton and then over the skeletons."""
    clips = data.dataset("train").clips
    lengths = bone_lengths(clips.positions, data.skeleton) * data.dataset("train").scale
    frames = torch.repeat_interleave(clips.group, clips.length)
    known = [group for group in clips.group.unique() if labelled is None or data.group_names[group] in labelled]
    return torch.stack([lengths[frames == group].mean(0) for group in known]).mean(0)
