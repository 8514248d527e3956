"""Make the applications that record and replay."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp

from eechips.emulator.protocol.access import LocalOnly
from eechips.emulator.recording.recording_folder import RecordingFolder
from eechips.emulator.recording.response_recorder import ResponseRecorder
from eechips.emulator.recording.response_replayer import ResponseReplayer

_METHODS = ["GET", "POST", "PATCH", "PUT", "DELETE"]


def create_recorder_app(recorder: ResponseRecorder) -> Starlette:
    """Return the application that forwards requests and records their responses."""
    routes = [
        Route("/_recording", recorder.report, methods=["GET"]),
        Route("/{path:path}", recorder.handle, methods=_METHODS),
    ]
    return Starlette(routes=routes, middleware=[Middleware(LocalOnly)])


def create_replay_app(folder: RecordingFolder, local: ASGIApp | None = None) -> Starlette:
    """Return the application that responds from a recording.

    Args:
        folder: of the recording.
        local: the local Earth Engine, which evaluates requests that are not recorded; None refuses them.
    """
    replayer = ResponseReplayer(folder, local)
    routes = [
        Route("/_recording", replayer.report, methods=["GET"]),
        Route("/{path:path}", replayer.handle, methods=_METHODS),
    ]
    return Starlette(routes=routes, middleware=[Middleware(LocalOnly)])
