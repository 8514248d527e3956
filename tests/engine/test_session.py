"""Connection of a run to its service, as the user sees it."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from eechips.engine.config import RunConfig
from eechips.engine.service.session import connect
from local_tests.support.captured_log import CapturedLog
from local_tests.support.token_server import token_server
from tests.support.engine_service import Service
from tests.support.proxy import tcp_proxy


@pytest.mark.exhaustive
def test_a_start_that_waits_for_a_token_says_so(service: Service, tmp_path: Path, caplog: CapturedLog) -> None:
    """It was silent for half a minute."""
    caplog.set_level(logging.INFO, "eechips")
    with token_server(upstream=service.url) as tokens, tcp_proxy(tokens.url, "127.0.0.2") as wire:
        tokens.plan("token", *["502 html"] * 3)
        config = RunConfig(
            out=tmp_path / "out", endpoint=wire.url, credentials=tokens.key(tmp_path / "key.json"), rate=None,
            send_credentials=True,
        )  # fmt: skip
        with connect(config):
            pass
    wait = re.compile(rf"Connecting to {re.escape(wire.url)} for \d+ s: could not refresh the credentials: HTTP 502.*")
    assert any(wait.fullmatch(text) for text in caplog.messages), caplog.messages
