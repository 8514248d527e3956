"""A host of rasters, for tests of what reads them by ranges."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local_tests.support.object_host import ObjectHost, object_host


@pytest.fixture
def host() -> Iterator[ObjectHost]:
    with object_host() as host:
        yield host
