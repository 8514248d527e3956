"""Hooks of MkDocs: show CHANGELOG.md as a page, say which extras a page needs, and write llms.txt for language models.

The format of llms.txt is described at https://llmstxt.org.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NAME = "llms.txt"
EXTRAS = {
    "local": r"--local\b|local=True|eechips serve\b",
    "dask": r"--executor dask|executor=\"dask",
    "beam": r"--executor beam|executor=\"beam|eechips\.beam|apache_beam",
    "report": r"eechips plot\b|eechips\.plot\b",
    "explore": r"\.explore\(",
    "series": r"eechips smooth\b|eechips\.smooth\b",
    "ml": r"eechips\.(load|stack)\b|import xarray|import geopandas",
    "xarray": r"eechips\.open_cube\b|engine=\"eechips",
    "pack": r"eechips pack\b|eechips\.pack\b",
    "torch": r"import torch\b|eechips\.torch\b",
    "stac": r"eechips (catalog|scenes)\b|eechips\.(Catalog|scenes)\b",
    "s3": r"(?:--(?:out|results|export-to)|QUOTA_FOLDER)[ =]s3://",
    "gcs": r"(?:--(?:out|results|export-to)|QUOTA_FOLDER)[ =]gs://",
    "azure": r"(?:--(?:out|results|export-to)|QUOTA_FOLDER)[ =]az://",
}
"""What in a block needs an extra of the package."""
_BLOCK = re.compile(r"^( *)```(?:sh|console|python)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r"^# .*$", re.MULTILINE)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the text of a page: of the changelog, that of CHANGELOG.md with links that hold below docs/."""
    if page.file.src_uri == "changelog.md":
        return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")
    return with_extras(markdown)


def find_extras(markdown: str) -> list[str]:
    """Return the extras that the blocks of a page need."""
    blocks = "\n".join(text for _, text in _BLOCK.findall(markdown))
    return [extra for extra, pattern in EXTRAS.items() if re.search(pattern, blocks)]


def with_extras(markdown: str) -> str:
    """Return a page that says below its title which extras its examples need, if they need any."""
    extras = find_extras(markdown)
    if not extras:
        return markdown
    named = f"The examples need the extra{'s' if len(extras) > 1 else ''} {', '.join(f'`{each}`' for each in extras)}:"
    return _TITLE.sub(
        lambda title: f"{title[0]}\n\n*{named} `pip install 'eechips[{','.join(extras)}]'`*", markdown, count=1
    )


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Return the HTML of a page: of the commands, without the word that click has for "no default"."""
    return html.replace("Sentinel.UNSET", "") if page.file.src_uri == "reference/commands.md" else html


def on_nav(nav: Any, **_: Any) -> None:
    """Keep the navigation for the end of the build."""
    _STATE["nav"] = nav


def on_post_build(config: Any) -> None:
    """Write llms.txt into the folder of the site."""
    text = list_pages(config["site_name"], config["site_description"], _STATE["nav"].items)
    (Path(config["site_dir"]) / NAME).write_text(text, encoding="utf-8")


def list_pages(name: str, description: str, items: list[Any]) -> str:
    """Return a heading for each section, and a line with title, address and first sentence for each of its pages."""
    lines = [f"# {name}", "", f"> {description}", ""]
    lines += [line for item in items if item.is_page for line in [describe_page(item)]]
    for section in (item for item in items if item.is_section):
        lines += ["", f"## {section.title}", "", *[describe_page(page) for page in find_pages(section)]]
    return "\n".join(lines) + "\n"


def find_pages(section: Any) -> list[Any]:
    """Return the pages of a section and of the sections in it, in their order."""
    return [page for item in section.children for page in (find_pages(item) if item.is_section else [item])]


def describe_page(page: Any) -> str:
    """Return a list item with title, address and first sentence of a page."""
    first = find_first_paragraph(page.markdown or "")
    return f"- [{page.title}]({page.url}): {first}" if first else f"- [{page.title}]({page.url})"


def find_first_paragraph(markdown: str) -> str:
    """Return the first paragraph of a page that is neither a heading nor a block, on one line."""
    for paragraph in markdown.split("\n\n"):
        text = " ".join(paragraph.split())
        if text and not text.startswith(("#", "*The examples need", "!", "```", "|", ":::", "<", "--8<--", "- ", "[")):
            return text
    return ""


_STATE: dict[str, Any] = {}
