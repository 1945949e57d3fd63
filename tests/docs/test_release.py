"""What is published: absolute links in the README, the project's URLs, and one version everywhere."""

import configparser
import re
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

from seal_lightning import __version__

ROOT = Path(__file__).resolve().parents[2]
URL = "https://example.org/owner/seal_lightning"


@pytest.fixture(scope="module")
def for_pypi():
    loader = SourceFileLoader("for_pypi", str(ROOT / ".ci/for_pypi"))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def test_links_and_pictures_become_absolute(for_pypi):
    text = (
        "![a](docs/a.png) [b](docs/b.md#part) [c](#here) [d](https://x.org/d)\n```\n[e](docs/e.md)\n```\n[f](LICENSE)"
    )
    assert for_pypi.absolute(text, URL) == (
        f"![a]({URL}/raw/main/docs/a.png) [b]({URL}/blob/main/docs/b.md#part) [c](#here) [d](https://x.org/d)\n"
        f"```\n[e](docs/e.md)\n```\n[f]({URL}/blob/main/LICENSE)"
    )


def test_nothing_in_the_published_readme_is_relative(for_pypi):
    text = for_pypi.absolute((ROOT / "README.md").read_text(encoding="utf-8"), URL)
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)]+)\)", prose)
    assert links
    assert [link for link in links if not re.match(r"https?:|#", link)] == []
    assert not re.search(r"<img|href=", prose)  # of which the script knows nothing


def test_the_project_gets_its_urls_beside_those_that_it_has(for_pypi):
    setup = configparser.ConfigParser()
    setup.read_string(for_pypi.with_urls((ROOT / "setup.cfg").read_text(encoding="utf-8"), URL))
    urls = dict(line.split(" = ") for line in setup["metadata"]["project_urls"].strip().splitlines())
    assert urls["Source"] == URL
    assert {"Changelog", "Issues", "Paper"} <= urls.keys()
    assert all(url.startswith("https://") for url in urls.values())


def test_one_version():
    first = re.search(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    cited = re.search(r"^version: ([\d.]+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert first[1] == cited[1] == __version__
