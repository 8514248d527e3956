"""Serve recorders and replays on loopback, and compare recordings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from eechips_local.protocol.fault_plan import FaultPlan
from eechips_local.quota.quota import QuotaConfig
from eechips_local.recording.applications import create_recorder_app, create_replay_app
from eechips_local.recording.comparison import Comparison, compare_recording
from eechips_local.recording.recording_folder import RecordingFolder, open_filled_recording, open_recording
from eechips_local.recording.response_recorder import ResponseRecorder
from eechips_local.recording.upstream import Upstream
from eechips_local.server import ServerConfig, listening, open_app, run


def serve_recorder(
    folder: RecordingFolder,
    upstream: Upstream,
    port: int,
    announce: Callable[[str], None],
    wait_for_end: Callable[[], object] | None = None,
) -> None:
    """Record until SIGINT, SIGTERM or the return of a function.

    Args:
        upstream: the service.
        port: 0 for any that is free.
        announce: called with the URL when the server is ready.
        wait_for_end: see :func:`eechips_local.server.run`.

    Raises:
        OSError: if the port is taken.
    """
    recorder = ResponseRecorder(upstream, folder)
    try:
        with listening(port) as listener:
            run(create_recorder_app(recorder), listener, announce, wait_for_end)
    finally:
        recorder.close()


def serve_replay(folder: Path, port: int, announce: Callable[[str], None], local: ServerConfig | None = None) -> None:
    """Replay until SIGINT or SIGTERM.

    Args:
        folder: folder of the recording.
        port: 0 for any that is free.
        announce: called with the URL when the server is ready.
        local: configuration of the local Earth Engine that evaluates requests which are not recorded; None for none.

    Raises:
        RecordingError: if the folder is no recording, or an empty one and there is no ``local``.
        StoreError, RegistrationError: see :func:`eechips_local.server.serve`.
        OSError: if the port is taken.
    """
    recording = open_filled_recording(folder) if local is None else open_recording(folder)
    with listening(port) as listener:
        if local is None:
            run(create_replay_app(recording), listener, announce)
            return
        with open_app(local) as opened:
            app = create_replay_app(recording, opened.app)
            run(app, listener, announce, stop=opened.stop)


def compare_locally(folder: Path, local: ServerConfig, tolerance: float) -> Comparison:
    """Compare a recording with local evaluation, without a quota.

    Args:
        local: configuration of the local Earth Engine.
        tolerance: greatest relative difference of equal numbers.

    Raises:
        RecordingError: if the folder is no recording, or an empty one, or one of its files is damaged.
        StoreError, RegistrationError: see :func:`eechips_local.server.serve`.
    """
    recording = open_filled_recording(folder)
    unlimited = QuotaConfig(concurrency=None, rate=None, minute=None)
    with open_app(replace(local, quota=unlimited, latency=None, faults=FaultPlan())) as opened:
        return compare_recording(recording, opened.app, tolerance)
