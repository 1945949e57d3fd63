"""The site says everything: each public name, metric, command and skeleton has its place, and its code runs."""

import importlib
import re
from pathlib import Path

import pytest

import seal_lightning
from seal_lightning import functional, metrics
from seal_lightning.cli import entry
from seal_lightning.skeleton.catalogue import BUILT_IN
from tests.docs.readme_run import blocks
from tests.test_house import ROOMS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def read(name):
    return (DOCS / name).read_text(encoding="utf-8")


def rows(page, first):
    """The rows of the table whose heading begins with this cell, each as its cells."""
    (table,) = re.findall(rf"^\| {first} \|.*\n\|[-:| ]+\|\n((?:\|.*\n?)+)", read(page), flags=re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]


def public_names():
    """Every public object by one of its full names; what several rooms hand on is one object."""
    packages = [seal_lightning, *(importlib.import_module(f"seal_lightning.{room}") for room in ROOMS)]
    return {f"{package.__name__}.{name}": getattr(package, name) for package in packages for name in package.__all__}


def test_the_reference_has_every_public_name_once():
    texts = [path.read_text(encoding="utf-8") for path in sorted((DOCS / "reference").glob("*.md"))]
    written = re.findall(r"^::: (\S+)$", "\n".join(texts), flags=re.MULTILINE)
    names = public_names()
    assert set(written) <= set(names), "what is documented there is not public"
    documented = [id(names[name]) for name in written]
    missing = sorted(name for name, value in names.items() if id(value) not in documented)
    assert missing == [], "add `::: NAME` to a page of docs/reference"
    assert len(documented) == len(set(documented)), "a name is documented twice"


def test_the_navigation_has_every_page():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"^ +- [^\n]+: ([\w/-]+\.md)$", text, flags=re.MULTILINE)
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    from_elsewhere = {"readme.md", "changelog.md", "contributing.md", "examples.md", "benchmarks.md", "tutorial.md"}
    assert len(listed) == len(set(listed))
    assert set(listed) == pages | from_elsewhere


@pytest.mark.parametrize("page", ["index.md", "method.md", "metrics.md", "error-estimate.md", "faq.md"])
def test_the_code_of_a_page_runs(page, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = {}
    for language, content in blocks(DOCS / page):
        if language == "python":
            exec(compile(content, page, "exec"), names)
    assert names


def test_the_metrics_page_has_every_metric():
    table = rows("metrics.md", "metric")
    classes = {name for row in table for name in re.findall(r"`(\w+)`", row[2])}
    assert classes == set(metrics.__all__) - {"PoseMetrics"}
    functions = {name for row in table for name in re.findall(r"`(\w+)`", row[1])}
    tools = {"bone_lengths", "procrustes_align", "root_align", "scale_align"}
    tools |= {"rescale_bones", "shrink_bones", "symmetrise_bones", "clip_mean_bones"}
    tools |= {"mirror_keypoints", "mirror_poses", "smooth", "fuse_views"}
    assert functions == set(functional.__all__) - tools
    headings = re.findall(r"^### (.+)$", read("metrics.md"), flags=re.MULTILINE)
    anchors = [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]
    assert [re.search(r"\(#(.+?)\)", row[0])[1] for row in table] == anchors


def test_every_metric_has_a_picture_and_a_formula():
    sections = re.split(r"^##+ ", read("metrics.md"), flags=re.MULTILINE)
    titles = [re.search(r"\[(.+?)\]", row[0])[1].split(",")[0].lower() for row in rows("metrics.md", "metric")]
    for title in titles:
        (section,) = [text for text in sections if text.lower().startswith(title)]
        assert re.search(r"!\[.+\]\(drawings/\w+\.svg\)", section), title
        assert re.search(r"^\$\$.+\$\$$", section, flags=re.MULTILINE), title


def test_the_command_line_page_has_every_command():
    commands = [re.search(r"seal-lightning ([\w-]+)", row[0])[1] for row in rows("command-line.md", "command")]
    assert sorted(commands) == sorted(entry._WITH_LIGHTNING | entry._WITHOUT_LIGHTNING)


def test_the_formats_page_has_every_skeleton():
    table = {row[0].strip("`"): int(row[1]) for row in rows("formats.md", "name")}
    assert table == {name: len(skeleton["names"]) for name, skeleton in BUILT_IN.items()}


def test_the_glossary_is_in_order_and_has_what_readers_look_for():
    words = re.findall(r"^\*\*(.+?)\*\*", read("glossary.md"), flags=re.MULTILINE)
    assert words == sorted(words, key=lambda word: re.sub(r"\W", "", word).lower())
    wanted = "BSLE LLE LSE MPJPE P-MPJPE N-MPJPE PCK AUC Energy Loss-net Pose-net Host Negatives Static Dynamic Warm-up"
    assert {*wanted.split(), "Force ratio"} <= set(words)


def test_nothing_is_fetched_from_elsewhere():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert re.search(r"^  font: false\b", text, flags=re.MULTILINE)
    assert "extra_javascript" not in text
    assert "repo_url" not in text  # the theme would ask that server for stars and versions
    assert "://" not in text
    assert "@import" not in read("site/site.css")
    assert "url(" not in read("site/site.css")


def headings(path):
    """The anchors of a page, as both the repository's pages and the site make them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda path: path.relative_to(DOCS).as_posix())
def test_anchors_lead_somewhere(page):
    links = re.findall(r"\]\((?!\w+:)([^)#\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8"))
    lost = [
        f"{link}#{anchor}" for link, anchor in links if anchor not in headings((page.parent / link) if link else page)
    ]
    assert lost == []
