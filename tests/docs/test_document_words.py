"""The documentation stays short: a bound on its words, and how they are counted."""

from __future__ import annotations

import runpy

from tests.docs.blocks import ROOT

MOST_WORDS = 46_000
"""Words of text, without blocks. Shorten something before this is raised."""

TOOL = runpy.run_path(str(ROOT / "tools" / "document_words.py"))


def test_blocks_generated_parts_and_addresses_are_no_words_of_the_text() -> None:
    page = (
        "---\nslow: true\n---\n# A title\n\n<!-- generated: table -->\n| a | b |\n<!-- end -->\n"
        "See [the page](other-page.md#part) — `--out DIR`.\n\n"
        "```sh\neechips sample\n```\n\n    ```text\n    one\n    ```\n"
    )
    assert TOOL["count_words"](page) == (7, 3)


def test_pages_that_are_generated_or_history_are_not_counted() -> None:
    counted = {page.path for page in TOOL["count_pages"]()}
    assert {"README.md", "CONTRIBUTING.md", "docs/how-to/sample.md", "docs/reference/manifest.md"} <= counted
    assert not any(name.startswith("docs/decisions") for name in counted)
    assert counted.isdisjoint({"docs/changelog.md", "docs/reference/coverage.md", "docs/reference/local-datasets.md"})


def test_generated_pages_are_those_of_the_generator() -> None:
    generated = runpy.run_path(str(ROOT / "docs" / "generate.py"))["PAGES"]
    assert sorted(f"docs/{page}" for page in generated) == sorted(TOOL["GENERATED_PAGES"])


def test_the_documentation_stays_within_its_words() -> None:
    assert sum(page.text for page in TOOL["count_pages"]()) <= MOST_WORDS
