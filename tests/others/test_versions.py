"""The lane with the oldest versions installs what setup.cfg admits at the least."""

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {"torch", "mypy", "ruff"}  # named by .ci/versions; checkers, which the lane does not run


def floors():
    """The least version of every requirement, by its plain name."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    extras = dict(parser["options.extras_require"])
    lines = [parser["options"]["install_requires"], *extras.values()]
    found = re.findall(r"^([\w-]+)(?:\[\w+\])?>=([\d.]+)", "\n".join(lines), flags=re.MULTILINE)
    return {name: version for name, version in found if name not in ELSEWHERE}


def test_the_oldest_lane_pins_every_floor():
    text = (ROOT / ".ci/constraints-oldest.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w-]+)==([\d.]+)$", text, flags=re.MULTILINE))
    least = floors()
    assert {"lightning", "numpy", "jsonargparse", "pytest", "matplotlib", "scipy"} <= pinned.keys() == least.keys()
    for name, version in least.items():
        assert re.fullmatch(rf"{re.escape(version)}(\.0)*", pinned[name]), name
