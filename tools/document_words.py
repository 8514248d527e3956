"""Count the words of the documentation by page and by section.

python tools/document_words.py

Counted are README.md, CONTRIBUTING.md and the Markdown pages below ``docs``, by words as they stand in the file: what
stands between white space and has a letter or a digit. Words of fenced blocks (commands, programs, output) are counted
apart from the text. Not counted are front matter, comments, the addresses of links, the changelog, decision records,
whole pages that ``docs/generate.py`` writes, and the generated parts of other pages.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXCLUDED = ("docs/changelog.md", "docs/decisions/")
GENERATED_PAGES = ("docs/reference/coverage.md", "docs/reference/local-datasets.md", "docs/reference/modules.md")
_BLOCK = re.compile(r"^(?P<indent> *)```[^\n]*\n(?P<text>.*?)^(?P=indent)```", flags=re.M | re.S)
_GENERATED = re.compile(r"<!-- (?:generated|traced): [\w-]+ -->\n.*?<!-- end -->", flags=re.S)
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", flags=re.S)
_COMMENT = re.compile(r"<!--.*?-->", flags=re.S)
_ADDRESS = re.compile(r"\]\([^)\s]*\)")
_LETTER = re.compile(r"\w")


@dataclass(frozen=True)
class PageWords:
    """The words of a page.

    Attributes:
        path: path below the project's folder.
        text: words of prose, lists and tables.
        code: words of fenced blocks.
    """

    path: str
    text: int
    code: int

    @property
    def section(self) -> str:
        """Return the folder of the page, or ``.`` for a page of the project's folder."""
        return Path(self.path).parent.as_posix()


def count_words(markdown: str) -> tuple[int, int]:
    """Return the words of a page's text and of its fenced blocks."""
    for pattern in (_FRONT_MATTER, _GENERATED):
        markdown = pattern.sub("", markdown)
    code = " ".join(match["text"] for match in _BLOCK.finditer(markdown))
    text = _ADDRESS.sub("]", _COMMENT.sub("", _BLOCK.sub("", markdown)))
    return _count(text), _count(code)


def count_pages() -> list[PageWords]:
    """Return the words of each page that people write and users read, sorted by path."""
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    names = {path.relative_to(ROOT).as_posix(): path for path in paths}
    kept = sorted(name for name in names if not name.startswith(EXCLUDED) and name not in GENERATED_PAGES)
    return [PageWords(name, *count_words(names[name].read_text(encoding="utf-8"))) for name in kept]


def main() -> None:
    """Print a table of pages or, with ``--sections``, of folders; the last line is the sum."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sections", action="store_true", help="print a line for each folder, not for each page")
    pages = count_pages()
    names = sorted({page.section for page in pages}) if parser.parse_args().sections else [page.path for page in pages]
    groups = {name: [page for page in pages if name in (page.path, page.section)] for name in names}
    sys.stdout.write(f"{'text':>7} {'code':>7} page\n")
    for name, group in [*groups.items(), ("sum", pages)]:
        text, code = sum(page.text for page in group), sum(page.code for page in group)
        sys.stdout.write(f"{text:7,} {code:7,} {name}\n")


def _count(text: str) -> int:
    return sum(1 for word in text.split() if _LETTER.search(word))


if __name__ == "__main__":
    main()
