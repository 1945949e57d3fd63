"""The README tells the truth: its example runs, its commands exist, its links lead somewhere."""

import re
from pathlib import Path

import pytest

from tests.docs.readme_run import blocks, commands, steps
from tests.test_house import FLOORS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))


def test_the_three_line_example_runs():
    (block,) = [content for language, content in blocks(ROOT / "README.md") if language == "python"]
    names = {}
    exec(block, names)
    assert type(names["model"]).__mro__[1].__name__ == "SealMixin"
    assert names["model"].seal.skeleton.num_joints == 17


def test_the_first_line_for_people_with_a_wheel_lays_out_the_examples():
    first, second, *_ = steps(ROOT / "README.md")
    assert first == ["seal-lightning", "examples"]
    assert second[:2] == ["seal-lightning", "demo"]


def test_every_block_is_run_or_needs_a_checkout():
    """`.ci/wheel` runs the steps; a block in another language would be left out."""
    assert {language for language, _ in blocks(ROOT / "README.md")} == {"console", "python"}
    assert [step[:2] for step in steps(ROOT / "README.md") if step[0] == "seal-lightning"] == [
        ["seal-lightning", command] for command in ("examples", "demo", "fit", "compare", "fit")
    ]
    with pytest.raises(
        ValueError, match="Expected a command that can be run from the wheel, but got 'seal-lightning fi"
    ):
        list(commands("seal-lightning fitt --config a.yaml\n"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\(([^)#]+)", document.read_text())
    local = [link for link in links if not link.startswith("http")]
    assert [link for link in local if not (document.parent / link).exists()] == []


def test_contributing_lists_the_rooms_from_the_ground_up():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| room \| holds \|\n\|---\|---\|\n((?:\|.*\n)+)", text, flags=re.MULTILINE)
    named = [room for row in table.splitlines() for room in re.findall(r"`([^`]+)`", row.split("|")[1])]
    height = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    floors = [height[Path(room).stem] for room in named]
    assert sorted(Path(room).stem for room in named) == sorted(height)
    assert floors == sorted(floors)
    assert all((ROOT / "seal_lightning" / room).is_dir() == room.endswith("/") for room in named)
