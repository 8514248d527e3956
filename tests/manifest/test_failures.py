"""Failures of a run by kind: the common part of their messages is shown, figures included."""

from __future__ import annotations

import pytest

from eechips.manifest.failures import Failure, group_failures
from eechips.manifest.manifest_columns import State


def failure(error: str) -> Failure:
    return Failure(0, "00", "{}", "a", State.FAILED_PERMANENT, "PermanentError", error, None, 1, None, None)


@pytest.mark.parametrize(
    ("errors", "kinds"),
    [
        (["it answered HTTP 503", "it answered HTTP 503"], [("it answered HTTP 503", 2)]),
        (["it answered HTTP 503", "it answered HTTP 404"], [("it answered HTTP 404", 1), ("it answered HTTP 503", 1)]),
        (["it has 1,203 bytes, not 4096", "it has 900 bytes, not 4096"], [("it has … bytes, not 4096", 2)]),
        (["'a.tif' is not there", "'b.tif' is not there"], [("'…' is not there", 2)]),
        (["at -1.5 and 40", "at -2.5 and 40"], [("at … and 40", 2)]),
        (["image 0123456789abcdef is lost", "image fedcba9876543210 is lost"], [("image … is lost", 2)]),
        (["fails … 3", "fails 4 3"], [("fails … …", 2)]),
    ],
)
def test_messages_of_a_kind_show_the_figures_that_they_share(errors: list[str], kinds: list[tuple[str, int]]) -> None:
    assert [(kind.error, kind.count) for kind in group_failures(map(failure, errors))] == kinds
