"""The drawings are those that the programs make, their numbers those of the metrics, their colours readable."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from docs.drawings import method, metrics, regimes, svg
from seal_lightning import Skeleton
from seal_lightning.functional import (
    acceleration_error,
    asymmetry_error,
    body_segment_length_error,
    bone_length_variation,
    limb_length_error,
    limb_symmetry_error,
    mpjpe,
    mpjve,
    mpsce,
    n_mpjpe,
    p_mpjpe,
    pck,
    pck_auc,
    reprojection_error,
)
from seal_lightning.metrics import ErrorTail

DRAWINGS = Path(metrics.__file__).parent
PICTURES = {**metrics.PICTURES, "method": method.method}
CHAIN = Skeleton.from_parents(metrics.CHAIN, limbs=[(0, 1, 2)])
FORK = Skeleton.from_parents(metrics.FORK, left=[1], right=[2])


def pose(points):
    return torch.tensor([[x, y, 0.0] for x, y in points])


def pair(poses):
    truth, prediction = poses
    return pose(prediction), pose(truth)


def track(frames):
    truth, prediction = (torch.tensor(positions).float().reshape(-1, 1, 1) * torch.eye(3)[0] for positions in frames)
    return prediction, truth


def printed(name):
    """The numbers of a picture's last line, those without an operator around them."""
    return [float(number) for number in re.findall(r"[\d.]+", metrics.VALUES[name])]


@pytest.mark.parametrize("name", PICTURES)
def test_the_file_is_what_the_program_draws(name):
    drawn = PICTURES[name]()
    assert (DRAWINGS / f"{name}.svg").read_text(encoding="utf-8") == drawn
    ElementTree.fromstring(drawn)


def test_there_is_a_program_for_every_file():
    assert {path.stem for path in DRAWINGS.glob("*.svg")} == set(PICTURES)


@pytest.mark.parametrize(
    ("name", "measured"),
    [
        ("mpjpe", lambda: [mpjpe(*pair(metrics.ARM))]),
        ("n_mpjpe", lambda: [mpjpe(*pair(metrics.LARGER)), n_mpjpe(*pair(metrics.LARGER))]),
        ("p_mpjpe", lambda: [mpjpe(*pair(metrics.TURNED)), p_mpjpe(*pair(metrics.TURNED))]),
        ("lse", lambda: [limb_symmetry_error(pose(metrics.UNEQUAL), FORK)]),
        ("asymmetry", lambda: [asymmetry_error(*pair(metrics.AVERAGED), FORK)]),
        ("bsle", lambda: [body_segment_length_error(*pair(metrics.BONES), CHAIN)]),
        ("lle", lambda: [limb_length_error(*pair(metrics.LIMB), CHAIN)]),
        ("mpjve", lambda: [mpjve(*track(metrics.SPEED))]),
        ("acceleration", lambda: [acceleration_error(*track(metrics.SHAKE))]),
        ("reprojection", lambda: [reprojection_error(pose(metrics.SQUARE), torch.tensor(metrics.KEYPOINTS).float())]),
    ],
)
def test_the_number_below_a_pose_is_what_the_metric_gives(name, measured):
    values = [value.item() for value in measured()]
    assert printed(name)[-len(values) :] == pytest.approx(values, abs=0.051)


def test_the_numbers_of_a_bone_over_time():
    bone = Skeleton.from_parents([-1, 0])
    clip = torch.tensor(metrics.LENGTHS).float().reshape(-1, 1, 1) * torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    values = [mpsce(clip, bone).item(), bone_length_variation(clip, bone).item()]
    assert printed("mpsce") == pytest.approx(values, abs=0.051)


def test_the_numbers_of_single_distances():
    prediction = torch.tensor(metrics.DISTANCES).float()[:, None] * torch.eye(3)[0]
    truth = torch.zeros(4, 3)
    assert printed("pck") == [3, 4, 150, pck(prediction, truth).item()]
    assert printed("auc") == pytest.approx([pck_auc(prediction, truth).item()], abs=0.051)


def test_the_numbers_of_the_tail():
    errors = ErrorTail(unit="mm")
    errors.update(torch.tensor(metrics.ERRORS).float()[:, None, None] * torch.eye(3)[0], torch.zeros(20, 1, 3))
    values = errors.compute()
    median, _, worst = [number for number in printed("tail") if number != 50]
    assert [median, worst] == pytest.approx([values["p50"].item(), values["cvar95"].item()], rel=0.01)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_are_readable_in_both_schemes_which_are_those_of_the_site(scheme):
    css = (DRAWINGS.parent / "site/site.css").read_text(encoding="utf-8")
    own, site = (re.findall(r"--(\w+): ?(#\w{6})", text) for text in (svg.STYLE, css))
    assert own == site
    colours = dict(own[8 * scheme : 8 * scheme + 8])
    for name in ("ink", "soft", "blue", "orange", "green"):
        for behind in ("paper", "panel"):
            high, low = sorted((luminance(colours[name]), luminance(colours[behind])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (name, behind)


def test_regimes_are_the_rows_of_the_page():
    table = """
| regime | seeds | SEAL against the host | strongest rival | SEAL against it |
|---|---:|---:|---|---:|
| [many joints](#many-joints) | 5 | -1.5 [-2.0, -1.0] | bone length | +0.5 [-0.3, +1.2] |
| not run | | open | | open |
"""
    (row,) = regimes.regimes(table)
    assert row == ("many joints", "bone length", (-1.5, -2.0, -1.0), (0.5, -0.3, 1.2))
    (axes,) = regimes.draw([row]).axes
    assert [tuple(line.get_xdata()) for line in axes.lines[:4]] == [(-2.0, -1.0), (-1.5,), (-0.3, 1.2), (0.5,)]
    page = regimes.regimes(regimes.PAGE.read_text(encoding="utf-8"))
    assert page
    assert all(low <= point <= high for row in page for point, low, high in row[2:])
