"""A process that runs several local Earth Engines, which share its libraries and the process that forks workers."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eechips_local.deferred_imports import defer_imports
from eechips_local.evaluation.evaluation_pool import start_process, worker_context
from eechips_local.quota.compute_cost import PROFILE_RESPONSE_HEADER
from eechips_local.recording.applications import create_recorder_app, create_replay_app
from eechips_local.recording.recording_folder import create_recording, open_recording
from eechips_local.recording.recording_http import ORIGIN_HEADER
from eechips_local.recording.response_recorder import ResponseRecorder
from eechips_local.recording.upstream import Upstream
from eechips_local.run_server import create_parser, read_config
from eechips_local.server import listening, run, serve
from eechips_local.stores import StoreConfig

REQUESTS = "/_recorded_requests"
"""Path of a recorder or a replay that lists the requests since it was last read."""

_Announce = Callable[[str], None]


def main() -> None:
    """Start a server for each line of standard input, and print its URL as JSON.

    A line is a JSON object: ``arguments`` of a local Earth Engine; ``record`` with the folder of a recorder in front of
    it, or of ``upstream``, the URL of another service; or ``replay`` with the folder of a recording, which has no local
    Earth Engine. All servers stop at the end of standard input; one with ``arguments`` alone also by ``stop``, its URL.
    """
    defer_imports()
    threading.Thread(target=_load_for_all).start()
    end = threading.Event()
    servers: list[threading.Thread] = []
    alone: dict[str, tuple[threading.Thread, threading.Event]] = {}

    def start(task: Callable[[_Announce], None]) -> str:
        urls: SimpleQueue[str | None] = SimpleQueue()
        servers.append(threading.Thread(target=_run, args=(task, urls)))
        servers[-1].start()
        url = urls.get()
        if url is None:
            sys.exit("a local Earth Engine did not start")
        return url

    for line in sys.stdin:
        asked = json.loads(line)
        if "stop" in asked:
            url = asked["stop"]
            if url in alone:
                server, its_end = alone.pop(url)
                its_end.set()
                server.join()
        elif "replay" in asked:
            url = start(lambda announce, asked=asked: _replay(Path(asked["replay"]), announce, end))  # type: ignore[misc]
        else:
            url = asked.get("upstream")
            if url is None:
                config = read_config(vars(create_parser().parse_args(asked["arguments"])))
                its_end = end if "record" in asked else threading.Event()
                url = start(lambda announce, config=config, its_end=its_end: serve(config, announce, its_end.wait))  # type: ignore[misc]
                if its_end is not end:
                    alone[url] = (servers.pop(), its_end)
            if "record" in asked:
                url = start(
                    lambda announce, asked=asked, url=url: _record(Path(asked["record"]), url, announce, end)  # type: ignore[misc]
                )
        sys.stdout.write(json.dumps({"url": url}) + "\n")
        sys.stdout.flush()
    end.set()
    for _, its_end in alone.values():
        its_end.set()
    for server in (*servers, *(server for server, _ in alone.values())):
        server.join()


def _load_for_all() -> None:
    """Load the code for folders and the demo planet in the process that forks the workers of all servers.

    Otherwise it loads only what workers of the first server need.
    """
    connection, process = start_process(worker_context(StoreConfig((Path(),))), Connection.close)
    process.join()
    connection.close()


def _run(task: Callable[[_Announce], None], urls: SimpleQueue[str | None]) -> None:
    try:
        task(urls.put)
    finally:
        urls.put(None)  # read only if there is no URL before it


def _record(folder: Path, upstream: str, announce: _Announce, end: threading.Event) -> None:
    recorder = ResponseRecorder(Upstream(upstream), create_recording(folder))
    try:
        with listening(0) as listener:
            run(_ListedRequests(create_recorder_app(recorder)), listener, announce, end.wait)
    finally:
        recorder.close()


def _replay(folder: Path, announce: _Announce, end: threading.Event) -> None:
    with listening(0) as listener:
        run(_ListedRequests(create_replay_app(open_recording(folder))), listener, announce, end.wait)


class _ListedRequests:
    """Middleware that lists requests: method, path, status of the response, and what was recorded of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._listed: list[tuple[str, str, int, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == REQUESTS:
            found, self._listed = self._listed, []
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": json.dumps(found).encode()})
            return

        async def listed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers: dict[bytes, Any] = dict(message.get("headers", ()))
                has_profile = PROFILE_RESPONSE_HEADER.encode() in headers
                origin = "profile" if has_profile else headers.get(ORIGIN_HEADER.encode(), b"").decode()
                self._listed.append((scope["method"], scope["path"], message["status"], origin))
            await send(message)

        await self._app(scope, receive, listed)
