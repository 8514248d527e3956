"""The fixture ``budget``: how long a fuzzer runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.budget import Budget, share


def _fuzzers(items: list[pytest.Item]) -> list[pytest.Item]:
    folder = Path(__file__).parent
    return [item for item in items if item.path.is_relative_to(folder)]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Allow a fuzzer its time, and five minutes on top."""
    found = _fuzzers(items)
    for item in found:
        item.add_marker(pytest.mark.timeout(share(len(found)).seconds + 300))


@pytest.fixture
def budget(request: pytest.FixtureRequest) -> Iterator[Budget]:
    """The time of a fuzzer, and its first seed. After a failure, the output names the seed."""
    found = share(len(_fuzzers(request.session.items)))
    yield found
    sys.stdout.write(f"last seed: {found.last}\n")
