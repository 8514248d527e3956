"""Fixtures of all tests, and an environment without the user's own settings."""

from __future__ import annotations

import os
import sys

import pytest

from local_tests.support.collection import pytest_collection, pytest_ignore_collect, pytest_pycollect_makeitem  # noqa: F401 - hooks
from local_tests.support.memory_folder import use_memory_folder
from local_tests.support.object_server import remove_store_settings
from local_tests.support.property_examples import limit_examples
from local_tests.support.server_fixtures import register_fixtures


def pytest_configure(config: pytest.Config) -> None:
    """Remove settings that results would depend on."""
    register_fixtures(config)
    use_memory_folder()
    limit_examples()
    config.option.loadscopereorder = False  # pytest-xdist would start the files with the most tests first
    for name in ("GOOGLE_CLOUD_PROJECT", "PYTHONDONTWRITEBYTECODE"):
        os.environ.pop(name, None)
    remove_store_settings()
    # The demo planet's data end today; results of tests must not depend on the day.
    os.environ["EECHIPS_DEMO_UNTIL"] = "2025-01-01"
    # gcsfs reads this when it is imported. It would otherwise try gRPC, which the emulator lacks, for minutes.
    os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
    if sys.version_info < (3, 11):  # Google's client warns in every command
        os.environ.setdefault("PYTHONWARNINGS", "ignore:You are using a non-supported Python version:FutureWarning")
