"""Internals of Google's client that eechips requires, and the error if they have changed."""

from __future__ import annotations

import multiprocessing
import re
import subprocess
import sys
from pathlib import Path

import ee
import ee._state
import pytest

from eechips.client.access.connection import TESTED, ServiceTarget, check_client, connect
from eechips.client.http.http_messages import Timeouts
from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.client.retry import RetryPolicy
from eechips.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]


def test_the_installed_client_has_the_required_internals() -> None:
    check_client()
    before = ee._state._state
    try:
        ee._state._state = None
        assert not ee.data.is_initialized()
        assert ee._state.get_state() is ee._state._state
        assert ee._state._state.initialized is False
    finally:
        ee._state._state = before
    asset = ee.deprecation.DeprecatedAsset("", None, None, None)
    assert (asset.id, asset.replacement_id, asset.removal_date, asset.learn_more_url) == ("", None, None, None)


@pytest.mark.parametrize(
    ("module", "name", "told"),
    [
        ("ee._state", "_state", "ee._state._state"),
        ("ee._state", "get_state", "ee._state.get_state"),
        ("ee.deprecation", "deprecated_assets", "ee.deprecation.deprecated_assets"),
        ("ee.deprecation", "DeprecatedAsset", "ee.deprecation.DeprecatedAsset"),
        ("ee.data", "setMaxRetries", "ee.data.setMaxRetries"),
        ("ee.data", "_get_cloud_projects", "ee.data._get_cloud_projects"),
    ],
)
def test_a_changed_client_is_reported_and_not_used(
    monkeypatch: pytest.MonkeyPatch, module: str, name: str, told: str
) -> None:
    monkeypatch.delattr(sys.modules[module], name)
    with pytest.raises(
        ConfigurationError,
        match=rf"earthengine-api {re.escape(ee.__version__)} differs .*{re.escape(told)}.*pip install",
    ):
        check_client()
    throttle = Throttle(multiprocessing.get_context("spawn"), QuotaLimits(in_flight=1), clients=1)
    target = ServiceTarget("http://127.0.0.1:1", "p", None)
    with (
        pytest.raises(ConfigurationError, match="differs"),
        connect(target, throttle.client(0), RetryPolicy(), Timeouts()),
    ):
        pass


def test_the_versions_are_those_of_the_package() -> None:
    assert f'"earthengine-api{TESTED}"' in (ROOT / "pyproject.toml").read_text()


def test_the_abandoned_package_that_retry_requires_is_not_loaded() -> None:
    """``retry`` 0.9.2, the only one with ``retry_call`` that is not older, requires ``py`` and does not import it."""
    code = (
        "import sys; from eechips.client.retry import RetryPolicy, call; assert call(lambda: 7, RetryPolicy()) == 7;"
        "assert 'retry' in sys.modules; sys.exit('py' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
