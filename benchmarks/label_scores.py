"""Labels that are wrong in three ways, and the scores that are to find them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from seal_lightning.functional import bone_lengths, procrustes_align, rescale_bones
from seal_lightning.skeleton import get_skeleton

__all__ = ["KINDS", "WRONG", "auroc", "bone_score", "joined", "pca_score", "spoil"]

Array = NDArray[np.float64]

KINDS = ("swapped sides", "shifted joint", "stretched limb")
WRONG = 0.05  # share of the labels
SKELETON = get_skeleton("h36m17")


def spoil(kind: str, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Make 5 % of the labels wrong in one way.

    Args:
        kind: "swapped sides": left and right joints change places. "shifted joint": one joint other than the root lies
            100 to 300 mm off. "stretched limb": the two bones of an arm or a leg are 1.2 to 1.6 times as long.
        labels: True poses (N, J, 3) in metres, relative to the root.
        generator: Source of all random numbers.

    Returns:
        The labels, and a mask (N,) of the wrong ones.
    """
    wrong = torch.zeros(len(labels), dtype=torch.bool)
    wrong[torch.randperm(len(labels), generator=generator)[: round(WRONG * len(labels))]] = True
    spoilt = labels.clone()
    pose = labels[wrong]
    rows = torch.arange(len(pose))
    if kind == "swapped sides":
        spoilt[wrong] = pose[:, list(SKELETON.partners)]
    elif kind == "shifted joint":
        joint = torch.randint(1, SKELETON.num_joints, (len(pose),), generator=generator)
        way = torch.nn.functional.normalize(torch.randn(len(pose), 3, generator=generator), dim=-1)
        pose[rows, joint] += (0.1 + 0.2 * torch.rand(len(pose), 1, generator=generator)) * way
        spoilt[wrong] = pose
    else:
        bones = [[i for i, ends in enumerate(SKELETON.bones) if set(ends) <= set(limb)] for limb in SKELETON.limbs]
        limb = torch.tensor(bones)[torch.randint(len(bones), (len(pose),), generator=generator)]
        lengths = bone_lengths(pose, SKELETON)
        lengths[rows[:, None], limb] *= 1.2 + 0.4 * torch.rand(len(pose), 1, generator=generator)
        spoilt[wrong] = rescale_bones(pose, lengths, SKELETON)
    return spoilt, wrong


def bone_score(labels: Tensor, group: Tensor) -> Array:
    """Return how far the worst bone of a label is from its person's median length, as a ratio's logarithm (N,)."""
    logs = bone_lengths(labels, SKELETON).log()
    usual = torch.stack([logs[group == person].median(0).values for person in group.unique()])
    off = logs - usual[torch.unique(group, return_inverse=True)[1]]
    return np.asarray(off.abs().amax(1), dtype=float)


def pca_score(labels: Tensor, variance: float = 0.99) -> Array:
    """Return what of every label (N,) is left beyond the principal components of all labels, wrong ones included.

    The labels are first moved, turned and scaled to fit their mean pose. As few components as hold that share of the
    variance are kept.
    """
    mean = labels[0]
    for _ in range(5):
        aligned = procrustes_align(labels, mean.expand_as(labels))
        mean = aligned.mean(0) * (labels[0].norm() / aligned.mean(0).norm())
    offset = (aligned - aligned.mean(0)).flatten(1)
    values, vectors = torch.linalg.eigh(offset.T @ offset)
    left = values.cumsum(0) / values.sum()  # eigenvalues rise: share of the variance in the smallest ones
    rest = offset @ vectors[:, left <= 1.0 - variance]
    return np.asarray(rest.norm(dim=1), dtype=float)


def joined(*scores: Array) -> Array:
    """Join scores (N,) of different units: the sum of the logarithms of how rare each is (Fisher's method)."""
    rare = [1.0 - (rankdata(score) - 0.5) / len(score) for score in scores]
    return np.asarray(-np.log(rare).sum(0))


def auroc(score: Array, wrong: NDArray[np.bool_]) -> float:
    """Return the chance that a wrong label has a higher score than a right one."""
    ranks = rankdata(score)
    wrongs, rights = wrong.sum(), (~wrong).sum()
    return float((ranks[wrong].sum() - wrongs * (wrongs + 1) / 2) / (wrongs * rights))
