"""Draws what every metric measures, each with numbers that are small enough to check by hand.

    python -m docs.drawings.metrics

The poses lie in a plane, in millimetres. Their values, which the pictures print, are compared with the metrics
themselves in tests/docs/test_drawings.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, radians, sin
from pathlib import Path

from docs.drawings.svg import Point, arrow, dot, drawing, line, path, stick, text

WIDTH, HEIGHT = 320, 190
CHAIN = (-1, 0, 1)
FORK = (-1, 0, 0)

# Truth and prediction of each picture: joints, or of the last ones positions of one joint over the frames.
ARM: tuple[list[Point], list[Point]] = ([(0, 0), (80, 0), (140, 60)], [(0, 0), (80, 30), (140, 100)])
LARGER: tuple[list[Point], list[Point]] = ([(0, 0), (60, 0), (60, 60)], [(0, 0), (90, 0), (90, 90)])
TURNED: tuple[list[Point], list[Point]] = ([(0, 0), (60, 0), (60, 80)], [(0, 0), (0, 60), (-80, 60)])
DISTANCES = (40, 100, 140, 200)
ERRORS = (22, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43, 46, 49, 52, 56, 61, 68, 78, 100, 160)
UNEQUAL: list[Point] = [(0, 0), (-90, 0), (60, 0)]
AVERAGED: tuple[list[Point], list[Point]] = ([(0, 0), (-84, 0), (72, 0)], [(0, 0), (-78, 0), (78, 0)])
BONES: tuple[list[Point], list[Point]] = ([(0, 0), (80, 0), (80, 100)], [(0, 0), (88, 0), (88, 90)])
LIMB: tuple[list[Point], list[Point]] = ([(0, 0), (100, 0), (200, 0)], [(0, 0), (125, 0), (210, 0)])
LENGTHS = (84, 96, 84, 96)
SPEED = (0, 10, 20), (0, 15, 20)
SHAKE = (0, 10, 20, 30), (0, 13, 17, 30)
SQUARE: list[Point] = [(0, 0), (100, 0), (0, 100), (100, 100)]
KEYPOINTS: list[Point] = [(4, 0), (96, 0), (-4, 100), (104, 100)]

VALUES = {
    "mpjpe": "(0 + 30 + 40) / 3 = 23.3 mm",
    "n_mpjpe": "24.1 mm before, 0 mm after scaling",
    "p_mpjpe": "75.4 mm before, 0 mm after",
    "pck": "3 of 4 nearer than 150 mm: 75 %",
    "auc": "mean height of the curve: 27.4 %",
    "tail": "p50 = 42 mm, worst 5 % = 160 mm",
    "lse": "|90 - 60| / (90 + 60) = 20 %",
    "asymmetry": "|(78 - 78) - (84 - 72)| = 12 mm",
    "bsle": "(8 / 80 + 10 / 100) / 2 = 10 %",
    "lle": "|210 - 200| / 200 = 5 %",
    "mpsce": "standard deviation 6 mm, or 6.7 %",
    "mpjve": "(5 + 5) / 2 = 5 mm per frame",
    "acceleration": "(9 + 9) / 2 = 9 mm per frame²",
    "reprojection": "4 / 108 = 3.7 %",
}


def place(points: Sequence[Point], origin: Point, scale: float = 1.0) -> list[Point]:
    """Where points in millimetres are on the sheet."""
    return [(origin[0] + scale * x, origin[1] + scale * y) for x, y in points]


def sheet(
    name: str, *parts: str, legend: Sequence[tuple[str, str]] = (("ink", "truth"), ("blue", "prediction"))
) -> str:
    """The parts with the colours' names above and the value below."""
    names, left = [], 16.0
    for colour, word in legend:
        names += [dot((left, 18), colour), text((left + 9, 22), word, colour)]
        left += 24 + 7.2 * len(word)
    value = text((WIDTH / 2, HEIGHT - 14), VALUES[name], "orange", "middle", bold=True)
    return drawing(WIDTH, HEIGHT, [*names, *parts, value])


def pair(name: str, poses: tuple[list[Point], list[Point]], origin: Point, errors: bool, *parts: str) -> str:
    """Truth and prediction in one place, with or without the distances between their joints."""
    truth, prediction = (place(pose, origin) for pose in poses)
    gaps = [line(a, b, "orange", 2, "3 4") for a, b in zip(truth, prediction, strict=True) if errors and a != b]
    return sheet(name, stick(truth, CHAIN, "ink"), stick(prediction, CHAIN, "blue"), *gaps, *parts)


def mpjpe() -> str:
    """Distances between joints."""
    numbers = text((158, 62), "30", "orange", "end", bold=True), text((231, 138), "40", "orange", bold=True)
    return pair("mpjpe", ARM, (84, 46), True, text((70, 50), "0", "orange", "end", bold=True), *numbers)


def n_mpjpe() -> str:
    """A prediction that is larger than the truth."""
    return pair("n_mpjpe", LARGER, (110, 50), False, arrow([(196, 136), (176, 116)], "orange"))


def p_mpjpe() -> str:
    """A prediction that is turned."""
    angles = [radians(angle) for angle in range(80, 0, -10)]
    turn = [(160 + 34 * cos(angle), 56 + 34 * sin(angle)) for angle in angles]
    return pair("p_mpjpe", TURNED, (160, 56), False, arrow(turn, "orange"))


def pck() -> str:
    """Joints within and without a circle of 150 mm."""
    parts = []
    for i, distance in enumerate(DISTANCES):
        at = (44 + 74 * i, 84.0)
        joint = (at[0] + distance * 0.16, at[1] + distance * 0.12)
        good = distance < 150
        parts += [dot(at, "line", 30, hollow=True), dot(at), line(at, joint, "green" if good else "orange", 2, "3 4")]
        parts += [dot(joint, "blue"), text((at[0], 140), f"{distance} mm", "green" if good else "orange", "middle")]
    return sheet("pck", *parts)


def auc() -> str:
    """The share of joints below every threshold from 0 to 150 mm."""
    left, bottom, right, top = 54.0, 142.0, 290.0, 40.0
    steps: list[Point] = [(left, bottom)]
    for i, distance in enumerate(d for d in DISTANCES if d < 150):
        x = left + (right - left) * distance / 150
        steps += [(x, steps[-1][1]), (x, bottom - (bottom - top) * (i + 1) / len(DISTANCES))]
    steps.append((right, steps[-1][1]))
    axes = [line((left, bottom), (right, bottom), "line", 1.5), line((left, bottom), (left, top), "line", 1.5)]
    words = [text((left - 6, top + 6), "100 %", "soft", "end", 11), text((left - 6, bottom), "0", "soft", "end", 11)]
    words += [text((right, bottom + 14), "150 mm", "soft", "end", 11)]
    words += [text((left, bottom + 14), "threshold 0", "soft", size=11)]
    area = path([*steps, (right, bottom)], fill="blue")
    return sheet("auc", area, path(steps, "blue", 3), *axes, *words, legend=(("blue", "PCK at every threshold"),))


def tail() -> str:
    """Twenty poses in the order of their errors, the worst of them in another colour."""
    parts = []
    for i, error in enumerate(ERRORS):
        x, colour = 26 + 14.0 * i, "orange" if i == len(ERRORS) - 1 else "blue"
        parts.append(line((x, 146), (x, 146 - 0.62 * error), colour, 9))
    middle = 26 + 14 * 9.5
    parts += [line((middle, 50), (middle, 150), "soft", 1.5, "4 4"), text((middle, 44), "p50", "soft", "middle")]
    return sheet("tail", *parts, legend=(("blue", "errors of 20 poses"), ("orange", "worst 5 %")))


def forks(name: str, rows: Sequence[tuple[str, list[Point]]], origin: float) -> str:
    """Left and right bones, and their lengths."""
    parts = []
    for row, (colour, pose) in enumerate(rows):
        y = origin + 54 * row
        parts.append(stick(place(pose, (160, y)), FORK, colour))
        for x, _ in pose[1:]:
            parts.append(text((160 + x / 2, y - 10), f"{abs(x):.0f}", colour, "middle"))
    parts += [text((60, origin + 4), "left", "soft", "end"), text((262, origin + 4), "right", "soft")]
    return sheet(name, *parts, legend=[(c, "truth" if c == "ink" else "prediction") for c, _ in rows])


def lse() -> str:
    """Left and right bone of a prediction."""
    return forks("lse", [("blue", UNEQUAL)], 92)


def asymmetry() -> str:
    """A prediction that is symmetric, of a body that is not."""
    return forks("asymmetry", [("ink", AVERAGED[0]), ("blue", AVERAGED[1])], 70)


def bsle() -> str:
    """Every bone beside the true one."""
    truth, prediction = place(BONES[0], (70, 54)), place(BONES[1], (190, 54))
    words = [text((110, 46), "80", anchor="middle"), text((160, 108), "100")]
    words += [text((234, 46), "88", "blue", "middle"), text((288, 104), "90", "blue")]
    return sheet("bsle", stick(truth, CHAIN, "ink"), stick(prediction, CHAIN, "blue"), *words)


def lle() -> str:
    """A limb of two bones: single bones are off by more than the whole."""
    truth, prediction = place(LIMB[0], (54, 74)), place(LIMB[1], (54, 124))
    words = [text((104, 62), "100", anchor="middle"), text((204, 62), "100", anchor="middle")]
    words += [text((116, 112), "125", "blue", "middle"), text((222, 112), "85", "blue", "middle")]
    return sheet("lle", stick(truth, CHAIN, "ink"), stick(prediction, CHAIN, "blue"), *words)


def mpsce() -> str:
    """One bone in four frames."""
    parts = []
    for i, length in enumerate(LENGTHS):
        x = 70 + 60.0 * i
        parts.append(stick([(x, 144), (x, 144 - length)], (-1, 0), "blue"))
        parts.append(text((x + 8, 100), f"{length}", "blue"))
    return sheet("mpsce", *parts, legend=(("blue", "one predicted bone in four frames"),))


def track(name: str, frames: tuple[Sequence[float], Sequence[float]], unit: float) -> str:
    """Positions of a joint over the frames."""
    parts = []
    for colour, positions in zip(("ink", "blue"), frames, strict=True):
        points = [(60 + 200 * t / (len(positions) - 1), 140 - unit * x) for t, x in enumerate(positions)]
        parts += [path(points, colour, 2.5), *(dot(point, colour) for point in points)]
        for (x, y), own, true, predicted in zip(points, positions, *frames, strict=True):
            above = (colour == "blue") == (predicted > true)
            if colour == "ink" or true != predicted:
                parts.append(text((x, y + (-10 if above else 18)), f"{own:.0f}", colour, "middle", 12))
    return sheet(name, *parts, text((300, 160), "time", "soft", "end", 11))


def mpjve() -> str:
    """The right place at the wrong time."""
    return track("mpjve", SPEED, 4.2)


def acceleration() -> str:
    """A joint that shakes on its way."""
    return track("acceleration", SHAKE, 2.8)


def reprojection() -> str:
    """Keypoints, and where the pose is seen."""
    keypoints, seen = place(KEYPOINTS, (110, 40)), place(SQUARE, (110, 40))
    frame = [line((106, 150), (214, 150), "orange", 1.5)]
    gaps = [line(a, b, "orange", 3) for a, b in zip(keypoints, seen, strict=True)]
    parts = [*(dot(at, "ink", 6, hollow=True) for at in keypoints), *(dot(at, "blue") for at in seen), *gaps, *frame]
    parts += [line((106, 146), (106, 154), "orange", 1.5), line((214, 146), (214, 154), "orange", 1.5)]
    parts += [text((222, 155), "108", "orange"), text((226, 44), "4", "orange")]
    return sheet("reprojection", *parts, legend=(("ink", "keypoints"), ("blue", "the pose as a camera sees it")))


PICTURES = {
    "mpjpe": mpjpe,
    "n_mpjpe": n_mpjpe,
    "p_mpjpe": p_mpjpe,
    "pck": pck,
    "auc": auc,
    "tail": tail,
    "lse": lse,
    "asymmetry": asymmetry,
    "bsle": bsle,
    "lle": lle,
    "mpsce": mpsce,
    "mpjve": mpjve,
    "acceleration": acceleration,
    "reprojection": reprojection,
}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        Path(__file__).with_name(f"{name}.svg").write_text(draw(), encoding="utf-8")
