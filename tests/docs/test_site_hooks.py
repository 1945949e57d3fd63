"""What the site makes of pages: formulas as MathML, links that lead on, drawings in the page, scripts as text."""

import types
from pathlib import Path

import pytest

markdown = pytest.importorskip("markdown")
pytest.importorskip("mkdocs")
pytest.importorskip("latex2mathml")

from docs.site import drawings, mathml, pages, tables  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def html(text):
    return markdown.markdown(text, extensions=["tables", mathml.MathML()])


@pytest.mark.parametrize("text", [r"a $x_1 * y_2 * z$ b", r"a :math:`x_1 * y_2 * z` b"])
def test_a_formula_in_a_line_is_mathml_and_nothing_else_reads_it(text):
    made = html(text)
    assert made.startswith('<p>a <math xmlns="http://www.w3.org/1998/Math/MathML" display="inline">')
    assert made.count("<msub>") == 2
    assert "<em>" not in made
    assert "$" not in made


@pytest.mark.parametrize("text", ["$$\\frac{1}{2}\n\\sum_k k$$", ".. math:: \\frac{1}{2}\n    \\sum_k k"])
def test_a_formula_of_its_own_is_a_block_also_over_several_lines(text):
    made = html(f"before\n\n{text}\n\nafter")
    assert made.index("<p>before</p>") < made.index('<div class="formula">') < made.index("<p>after</p>")
    assert 'display="block"' in made
    assert "<mfrac><mrow><mn>1</mn></mrow><mrow><mn>2</mn></mrow></mfrac>" in made


@pytest.mark.parametrize(
    "text", ["`$x$` and `:math:`", "it costs 5 $ or 6 $", r"\$x\$", "    $$x$$", "$HOME and $OUT", "one $ alone"]
)
def test_other_dollars_stay(text):
    assert "<math" not in html(text)


def test_a_formula_in_a_table_stays_in_its_cell():
    made = html("| a | b |\n|---|---|\n| $x$ | $\\frac{1}{2}$ |")
    assert made.count("<td><math") == 2


@pytest.mark.parametrize(
    ("page", "link", "place"),
    [
        ("readme.md", "docs/accuracy.md", "accuracy.md"),
        ("readme.md", "docs/compare.png", "compare.png"),
        ("readme.md", "examples/README.md", "examples.md"),
        ("readme.md", "benchmarks/", "benchmarks.md"),
        ("readme.md", "CITATION.cff", "files/CITATION.cff"),
        ("benchmarks.md", "../docs/data.md", "data.md"),
        ("index.md", "../examples/tutorial.py", "tutorial.md"),
        ("tutorial.md", "tutorial.py", "tutorial.md"),
        ("tutorial.md", "../docs/faq.md", "faq.md"),
        ("accuracy.md", "data.md", "data.md"),
        ("reference/metrics.md", "../metrics.md", "../metrics.md"),
        ("reference/metrics.md", "functional.md", "functional.md"),
        ("index.md", "../README.md", "readme.md"),
        ("index.md", "../no-such-file.md", "../no-such-file.md"),
    ],
)
def test_links_of_the_repository_are_links_of_the_site(page, link, place):
    assert pages.in_site(link, page) == place


def test_links_keep_their_anchors_and_what_is_no_link_of_ours_stays():
    page = types.SimpleNamespace(file=types.SimpleNamespace(src_uri="readme.md"))
    text = "[a](docs/data.md#the-split) [b](https://example.org/docs/data.md) [c](#here) [d](docs/data.md)"
    made = pages.on_page_markdown(text, page, None, None)
    assert made == "[a](data.md#the-split) [b](https://example.org/docs/data.md) [c](#here) [d](data.md)"


def test_a_script_with_cells_is_a_page():
    script = '"""Head."""\n\n# %% [markdown]\n# # Title\n#\n# Words.\n\n# %%\nx = 1  # %% no cell\n\n\n# %%\ny = 2\n'
    made = "# Title\n\nWords.\n\n```python\nx = 1  # %% no cell\n```\n\n```python\ny = 2\n```\n"
    assert pages.notebook(script) == made


def test_a_drawing_is_in_the_page_without_its_own_colours():
    page = types.SimpleNamespace(file=types.SimpleNamespace(src_uri="metrics.md"))
    config = types.SimpleNamespace(docs_dir=str(ROOT / "docs"))
    made = drawings.on_page_markdown('![Three "joints"](drawings/mpjpe.svg)\n\n![b](b.png)', page, config, None)
    assert made.startswith('<figure class="drawing" style="max-width:384px" role="img" aria-label="Three &quot;joints')
    assert made.endswith("</svg></figure>\n\n![b](b.png)")
    assert "<style>" not in made
    assert "var(--blue)" in made


def test_docstrings_become_markdown():
    pytest.importorskip("griffe")
    from docs.site.docstrings import as_markdown

    text = """Do it.

    ====  =======
    kind  what
    ====  =======
    one   a long
          story
    two   2|3
    ====  =======

    As in::

        code

    Example:
        >>> 1"""
    assert as_markdown(text) == (
        "Do it.\n\n    | kind | what |\n    | --- | --- |\n    | one | a long story |\n    | two | 2\\|3 |\n\n"
        "    As in:\n\n        code\n\n    Examples:\n        >>> 1"
    )
    assert as_markdown("A line.") == "A line."


def test_cells_and_code_are_marked_by_their_length():
    def marked(text):
        return tables.on_page_content(html(text), None, None, None)

    made = marked(f"| a | b |\n|---|---:|\n| {'word ' * 6} | `--report` |")
    assert '<td class="words">' in made
    assert '<td style="text-align: right;"><code class="word">--report</code></td>' in made
    assert marked(f"| a |\n|---|\n| <i>{'word ' * 17}</i> |").count("prose") == 1
    assert "class" not in marked(f"`{'x' * 33}`\n\n| a |\n|---|\n| few words |")


def test_the_search_of_a_folder_fetches_nothing():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    # Without a file of that name, the plugin `offline` has browsers fetch one from elsewhere.
    assert "polyfills: [site/iframe-worker.js]" in text
    assert (ROOT / "docs/site/iframe-worker.js").is_file()
