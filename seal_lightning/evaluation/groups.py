"""Groups of scored poses, named "dataset/skeleton", and averages in which every dataset counts the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from torch import Tensor

__all__ = ["by_dataset", "group_masks", "macro_average"]


def group_masks(batch: Any, names: Sequence[str] | None, everything: Tensor) -> dict[str, Tensor]:
    """Return a mask (B,) of the samples of each group of a batch, by name.

    Args:
        batch: The batch, whose entry ``"group"`` (B,) is an index into ``names``. Where it has none, or there are no
            names, all samples form one group named ``"all"``.
        names: Names of the groups.
        everything: Mask (B,) of all samples.

    Raises:
        ValueError: If the batch's ``"group"`` does not have one entry per sample.
    """
    if names is None or not isinstance(batch, Mapping) or "group" not in batch:
        return {"all": everything}
    group = batch["group"]
    if group.shape != everything.shape:
        raise ValueError(
            f"Expected the batch's `group` to have shape {tuple(everything.shape)}, but got {tuple(group.shape)}."
        )
    return {names[index]: group == index for index in group.unique().tolist()}


def macro_average(groups: Mapping[str, Mapping[str, float]]) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Average over the groups of each dataset, then over the datasets, so that every dataset counts the same.

    Args:
        groups: Scores of each group, by its name "dataset/skeleton"; groups without a slash form one unnamed dataset.

    Returns:
        The scores by scope (every group, every named dataset, and ``"mean"``), and the names of the datasets.

    Example:
        >>> scopes, datasets = macro_average({"a/1": {"x": 1.0}, "a/2": {"x": 3.0}, "b/1": {"x": 4.0}})
        >>> scopes["a"], scopes["mean"], datasets
        ({'x': 2.0}, {'x': 3.0}, ['a', 'b'])
    """
    datasets = by_dataset(groups)
    averages = {dataset: _average([groups[name] for name in members]) for dataset, members in datasets.items()}
    named = {dataset: scores for dataset, scores in averages.items() if dataset}
    scopes = {name: dict(scores) for name, scores in groups.items()} | named
    return scopes | {"mean": _average(list(averages.values()))}, list(named)


def by_dataset(groups: Iterable[str]) -> dict[str, list[str]]:
    """Collect the group names "dataset/skeleton" by dataset; names without a slash form a dataset named "".

    Example:
        >>> by_dataset(["a/1", "b/1", "a/2"])
        {'a': ['a/1', 'a/2'], 'b': ['b/1']}
    """
    datasets: dict[str, list[str]] = {}
    for name in groups:
        datasets.setdefault(name.split("/")[0] if "/" in name else "", []).append(name)
    return datasets


def _average(members: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {metric: fmean(member[metric] for member in members) for metric in members[0]}
