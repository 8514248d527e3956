"""Make the applications that record and replay."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from eechips_local.protocol.source_checks import LocalOnly
from eechips_local.recording.recording_folder import RecordingFolder
from eechips_local.recording.response_recorder import ResponseRecorder
from eechips_local.recording.response_replayer import ResponseReplayer

_Handler = Callable[[Request], Awaitable[Response]]
_METHODS = ["GET", "POST", "PATCH", "PUT", "DELETE"]


def create_recorder_app(recorder: ResponseRecorder) -> Starlette:
    """Return the application that forwards requests and records their responses."""
    return _create_app(recorder.report, recorder.handle)


def create_replay_app(folder: RecordingFolder, local: ASGIApp | None = None) -> Starlette:
    """Return the application that responds from a recording.

    Args:
        local: the local Earth Engine, which evaluates requests that are not recorded; None refuses them.
    """
    replayer = ResponseReplayer(folder, local)
    return _create_app(replayer.report, replayer.handle)


def _create_app(report: _Handler, handle: _Handler) -> Starlette:
    """Return an application that reports counts at one path, and handles all others."""
    routes = [Route("/_recording", report, methods=["GET"])]
    app = Starlette(routes=routes, middleware=[Middleware(LocalOnly)])
    # A pattern for all paths would not have those with line breaks.
    app.router.default = Route("/", handle, methods=_METHODS).handle
    return app
