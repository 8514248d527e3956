"""Partial responses: the ``fields`` parameter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips_local.protocol import partial_responses
from eechips_local.protocol.request_errors import InvalidError

ASSETS = {
    "assets": [{"name": "a", "bands": [{"id": "B1", "grid": {"crs": "x"}}, {"id": "B2"}]}, {"name": "b"}],
    "nextPageToken": "2",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nextPageToken", {"nextPageToken": "2"}),
        ("assets/name", {"assets": [{"name": "a"}, {"name": "b"}]}),
        ("assets.name,nextPageToken", {"assets": [{"name": "a"}, {"name": "b"}], "nextPageToken": "2"}),
        ("assets(name,bands/id)", {"assets": [{"name": "a", "bands": [{"id": "B1"}, {"id": "B2"}]}, {"name": "b"}]}),
        ("assets ( bands ( id , grid ) )", {"assets": [{"bands": ASSETS["assets"][0]["bands"]}, {}]}),  # type: ignore[index]
        ("*", ASSETS),
        ("assets/*,nothing", {"assets": ASSETS["assets"]}),
    ],
)
def test_selections(text: str, expected: Any) -> None:
    assert partial_responses.select(ASSETS, partial_responses.parse(text)) == expected


@pytest.mark.parametrize(
    "text", ["a,", ",a", "a(", "a)", "a()", "a(b))", "a//b", "/a", "a b", "a[0]", "(" * 50, "a/" * 50]
)
def test_malformed_selections_are_refused(text: str) -> None:
    with pytest.raises(InvalidError, match="Invalid field selection"):
        partial_responses.parse(text)


@given(st.text(alphabet="ab*,/.() ", min_size=1, max_size=30))
def test_any_text_is_a_selection_or_refused(text: str) -> None:
    try:
        mask = partial_responses.parse(text)
    except InvalidError:
        return
    partial_responses.select({"a": {"b": 1}, "ab": [1, {"a": 2}]}, mask)
