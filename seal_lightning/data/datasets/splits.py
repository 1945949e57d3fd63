"""Which skeletons train, which validate, which test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from seal_lightning.data.formats.mocap_npz import Mocap

__all__ = ["MOCAP_SPLIT", "SIDES", "check_split", "resolve_split"]

SIDES = ("train", "val", "test")

MOCAP_SPLIT: dict[str, dict[str, list[str]]] = {
    "uiprmd": {"train": ["uS01", "uS02", "uS03", "uS04", "uS05", "uS06"], "val": ["uS08"], "test": ["uS07"]},
    "cmu": {
        "train": ["c01", "c06", "c07", "c08", "c09", "c14", "c35", "cRcha"],
        "val": ["c13", "c12"],
        "test": ["cRpir", "c49"],
    },
}
"""The standard split by dataset and skeleton; no skeleton is on two sides."""


def resolve_split(split: str | Mapping[str, Sequence[str]], mocaps: Sequence[Mocap]) -> dict[str, list[str]]:
    """Turn a split into lists of groups ``dataset/skeleton``, one a side.

    Args:
        split: ``"mocap"``, the standard split (for synthetic motion: the last sixth of the subjects tests, the sixth
            before it validates), or lists of skeleton ids under ``train``, ``val`` and ``test``; an id stands for that
            skeleton in every file that has it. ``val`` and ``test`` may be left out of own lists.
        mocaps: The data at hand.

    Returns:
        Groups under ``train``, ``val`` and ``test``. Skeletons that no list names are not used.

    Raises:
        ValueError: If a side is unknown, the training side is empty, an id is not in the data, or an id is named twice.

    Example:
        >>> from seal_lightning.data.datasets.synthetic import SyntheticMocap
        >>> mocap = SyntheticMocap(subjects=3, clips_per_subject=1, frames=2).generate()
        >>> resolve_split({"train": ["y01"], "test": ["y03"]}, [mocap])
        {'train': ['synthetic/y01'], 'val': [], 'test': ['synthetic/y03']}
    """
    present = {mocap.name: sorted(set(mocap.skeleton_id.tolist())) for mocap in mocaps}
    if isinstance(split, Mapping):
        return _own(split, present)
    if split != "mocap":
        raise ValueError(f"Expected `split` to be 'mocap' or lists of skeleton ids, but got {split!r}.")
    groups: dict[str, list[str]] = {side: [] for side in SIDES}
    for name, ids in present.items():
        lists = _by_subject(ids) if name == "synthetic" else MOCAP_SPLIT.get(name)
        if lists is None:
            raise ValueError(
                f"Expected every dataset to be one of the standard split, {sorted(MOCAP_SPLIT)}, but got {name!r}; "
                "give own lists as `split`."
            )
        for side, groups_of_side in _own(lists, {name: ids}).items():
            groups[side] += groups_of_side
    return groups


def _by_subject(ids: list[str]) -> dict[str, list[str]]:
    if len(ids) < 3:
        raise ValueError(f"Expected at least 3 subjects to split, but got {len(ids)}.")
    held = max(1, len(ids) // 6)
    return {"train": ids[: -2 * held], "val": ids[-2 * held : -held], "test": ids[-held:]}


def check_split(split: Any, what: str, known: Iterable[str] | None = None) -> Mapping[str, Sequence[str]]:
    """The split, if it holds lists of names under some of the sides, no name twice.

    Args:
        split: What a user gave.
        what: What it names, for messages: "skeletons", "subjects", "clips".
        known: The names that there are. None does not compare.

    Raises:
        ValueError: If it is something else, or names what there is not.
    """
    if not isinstance(split, Mapping) or not split or set(split) - set(SIDES):
        found = list(split) if isinstance(split, Mapping) else repr(split)
        raise ValueError(f"Expected `split` to have some of the sides {list(SIDES)}, but got {found}.")
    for side, names in split.items():
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ValueError(
                f"Expected `split` to hold lists of the names of {what}, but got {names!r} under {side!r}. In YAML "
                "numbers need quotes to be names."
            )
    named = [name for names in split.values() for name in names]
    if twice := sorted({name for name in named if named.count(name) > 1}):
        raise ValueError(f"Expected every name once in `split`, but got {twice} more than once.")
    if known is not None and (absent := sorted(set(named) - set(known))):
        raise ValueError(f"Expected `split` to name {what} of the data, {sorted(set(known))}, but got {absent}.")
    return split


def _own(split: Mapping[str, Sequence[str]], present: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    check_split(split, "skeletons", {skeleton_id for ids in present.values() for skeleton_id in ids})
    if not split.get("train"):
        raise ValueError("Expected `split` to name at least one skeleton under 'train', but got none.")
    return {
        side: [f"{name}/{i}" for name, ids in present.items() for i in split.get(side, ()) if i in ids]
        for side in SIDES
    }
