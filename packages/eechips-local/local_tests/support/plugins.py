"""Plugins of pytest that both folders of tests share."""

from __future__ import annotations

import pytest

from local_tests.support import server_fixtures, worker_reports


def register_plugins(config: pytest.Config) -> None:
    """Register them once: of fixtures that conftests import, each folder has its own, and servers of its own."""
    for module in (server_fixtures, worker_reports):
        if not config.pluginmanager.is_registered(module):
            config.pluginmanager.register(module)
