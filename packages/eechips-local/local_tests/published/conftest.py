"""Place and collections of the scripts."""

from __future__ import annotations

from typing import Any

import pytest

from local_tests.support.wild_scenes import Scene


@pytest.fixture
def scene(demo_ee: Any) -> Scene:
    return Scene(demo_ee)
