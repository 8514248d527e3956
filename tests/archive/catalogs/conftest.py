"""A host of items."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.catalog_lists import HostLimiter


@pytest.fixture
def host() -> Iterator[HostLimiter]:
    """Serve items, some of them with faults."""
    served = HostLimiter()
    yield served
    served.close()
