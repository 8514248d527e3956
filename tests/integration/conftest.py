"""Services that fail as planned."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine_service import Service, serving


@pytest.fixture
def service() -> Iterator[Service]:
    """A small service that can be told to fail, for one test."""
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """The same for all tests of a module."""
    with serving() as found:
        yield found
