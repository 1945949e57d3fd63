"""Draws the two nets and the two gradients.

python -m docs.drawings.method
"""

from __future__ import annotations

from pathlib import Path

from docs.drawings.svg import arrow, box, drawing, line, text

WIDTH, HEIGHT = 420, 446


def nets(top: float, frozen: bool) -> list[str]:
    """Keypoints, pose-net, prediction, loss-net and energy, from the left to the right."""
    y, names = top + 60, ["loss-net", "frozen"] if frozen else ["loss-net"]
    return [
        box((4, y), (74, 44), ["keypoints", "x"], "line", "paper"),
        arrow([(80, y + 22), (92, y + 22)]),
        box((94, y), (74, 44), ["pose-net", "(yours)"], "blue"),
        arrow([(170, y + 22), (188, y + 22)]),
        box((190, y), (72, 44), ["predicted", "pose ŷ"], "line", "paper"),
        arrow([(264, y + 22), (282, y + 22)]),
        box((284, y), (66, 44), names, "line" if frozen else "orange"),
        arrow([(352, y + 22), (368, y + 22)]),
        text((372, y + 27), "E(x, ŷ)"),
    ]


def loss_net_learns(top: float) -> list[str]:
    """The first of the two: the true pose gets a low energy, the prediction a high one."""
    y = top + 60
    return [
        text((8, top + 20), "1  The loss-net learns", "orange", size=15, bold=True),
        text((8, top + 40), "low energy for true poses, high energy for predictions", "soft"),
        *nets(top, frozen=False),
        line((272, y + 4), (272, y + 40), "orange", 4),
        box((192, y + 76), (66, 44), ["true", "pose y"], "line", "paper"),
        arrow([(260, y + 98), (300, y + 98), (300, y + 46)]),
        arrow([(334, y + 46), (334, y + 98), (368, y + 98)]),
        text((372, y + 103), "E(x, y)"),
        text((395, y - 6), "up", "orange", "middle", bold=True),
        text((395, y + 124), "down", "orange", "middle", bold=True),
        arrow([(395, y + 38), (395, y + 60), (318, y + 60), (318, y + 48)], "orange", 3),
        text((8, y + 78), "The gradient stops", "orange"),
        text((8, y + 95), "ahead of your model:", "orange"),
        text((8, y + 112), "it sees none of it.", "orange"),
    ]


def pose_net_learns(top: float) -> list[str]:
    """The second: the prediction is pulled towards the truth, and towards a low energy."""
    y = top + 60
    return [
        text((8, top + 20), "2  Your model learns", "blue", size=15, bold=True),
        text((8, top + 40), "its own loss, plus the energy of its prediction", "soft"),
        *nets(top, frozen=True),
        box((184, y + 108), (82, 44), ["your loss", "L(ŷ, y)"], "line", "paper"),
        arrow([(218, y + 46), (218, y + 106)]),
        box((322, y + 108), (66, 44), ["true", "pose y"], "line", "paper"),
        arrow([(320, y + 130), (268, y + 130)]),
        arrow([(395, y + 38), (395, y + 68), (252, y + 68), (252, y + 48)], "blue", 3),
        arrow([(236, y + 106), (236, y + 48)], "blue", 3),
        arrow([(202, y + 46), (202, y + 72), (131, y + 72), (131, y + 48)], "blue", 3),
        text((300, y + 88), "pull of the energy", "blue"),
        text((8, y + 118), "Your model is moved by", "blue"),
        text((8, y + 135), "both; with ForceRatio(0.1)", "blue"),
        text((8, y + 152), "the energy is a tenth.", "blue"),
    ]


def method() -> str:
    """Both, one below the other."""
    middle = line((8, 208), (WIDTH - 8, 208), "line", 1)
    return drawing(WIDTH, HEIGHT, [*loss_net_learns(8), middle, *pose_net_learns(218)])


if __name__ == "__main__":
    Path(__file__).with_name("method.svg").write_text(method(), encoding="utf-8")
