"""Processes of tests that share state with the caller: forked from one that has imported what they need."""

from __future__ import annotations

from multiprocessing.context import BaseContext

from eechips.engine.executors.processes import worker_context

_MODULES = [
    "tests.client.test_shared_token",
    "tests.client.test_shared_token_processes",
    "eechips.client.http_sessions",
    "ee",
    "google.oauth2.credentials",
]


def preloaded_context() -> BaseContext:
    """Return the start method of workers. Its fork server, which lasts as long as the tests, imports once for all."""
    context = worker_context()
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(_MODULES)
    return context
