"""Any text stays text in markup."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.reports.markup import Markup, element, escape, join
from eechips.reports.page_data import as_script
from eechips.text.formatting import replace_control_characters

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "]]>&lt;&amp;&#60;",
    "\u2028\u2029\x00\ud800",
]


class Reader(HTMLParser):
    """Elements with their attributes, and the text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def read(markup: str) -> Reader:
    reader = Reader()
    reader.feed(markup)
    reader.close()
    return reader


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_it_is(text: str) -> None:
    found = read(element("p", text, title=text))
    assert [name for name, _ in found.elements] == ["p"]
    expected = replace_control_characters(text)
    assert expected == (text if text.isprintable() else "\ufffd" * 4)
    assert found.text == expected
    assert found.elements[0][1] == {"title": expected}


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"])))
def test_any_text_stays_one_text_node(text: str) -> None:
    shown = replace_control_characters(text)
    found = read(element("p", text, title=text))
    assert found.elements == [("p", {"title": shown})]
    assert found.text == shown


def test_elements_are_escaped() -> None:
    assert element("img", src="a", alt="") == '<img src="a" alt="">'
    assert element("ul", element("li", 1), None, "&", class_="x", aria_label="y", hidden=True, id=None, open=False) == (
        '<ul class="x" aria-label="y" hidden><li>1</li>&amp;</ul>'
    )
    assert element("meta", name="a") == '<meta name="a">'
    assert escape(Markup("<b>")) == "<b>"
    assert join("<", Markup("<br>"), None) == "&lt;<br>"
    with pytest.raises(ValueError, match="is no name of an attribute"):
        element("p", **{"on click": "x"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


def cleaned(value: Any) -> Any:
    """Return JSON as a page shows it: with safe texts; the NUL that stands for a unit's id is kept."""
    if isinstance(value, str):
        return "\0".join(map(replace_control_characters, value.split("\0")))
    if isinstance(value, dict):
        return {cleaned(name): cleaned(each) for name, each in value.items()}
    return list(map(cleaned, value)) if isinstance(value, list) else value


@given(JSON)
def test_json_neither_ends_nor_comments_the_script_that_holds_it(value: Any) -> None:
    text = as_script(value)
    assert json.loads(text) == cleaned(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert text.isascii()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_json(text: str) -> None:
    assert json.loads(as_script({text: text})) == cleaned({text: text})
    assert "<" not in as_script({text: text})
