"""The table in benchmarks/README.md names every program, and only commands and options that exist."""

import re
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "benchmarks"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(benchmarks\.\w+)` \| [^|]+ \| `([^`]+)`[^|]* \| ([^|]+) \|$", PAGE, re.MULTILINE)


def programs():
    files = [path for path in FOLDER.glob("*.py") if '__name__ == "__main__"' in path.read_text(encoding="utf-8")]
    packages = [path.parent for path in FOLDER.glob("*/__main__.py")]
    return {f"benchmarks.{path.stem}": path for path in [*files, *packages]}


def test_every_program_has_a_row():
    assert len(ROWS) == PAGE.count("\n| `")  # no row escapes the pattern
    assert sorted(name for name, _, _ in ROWS) == sorted(programs())
    assert all(re.fullmatch(r"\d+ (s|minutes|hours)", time) for _, _, time in ROWS)


def test_commands_and_their_options_exist():
    for name, command, _ in ROWS:
        assert command.split()[:3] == ["python", "-m", name]
        path = programs()[name]
        source = (path if path.is_file() else path / "__main__.py").read_text(encoding="utf-8")
        for option in re.findall(r"--[\w-]+", command):
            assert f'"{option}"' in source, f"{name} has no option {option}"


def test_every_other_file_is_explained():
    modules = {path.name for path in FOLDER.glob("*.py")} - {path.name for path in programs().values()}
    assert all(f"`{name}`" in PAGE for name in modules)
