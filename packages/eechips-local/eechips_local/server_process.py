"""Start a local Earth Engine as a process of its own, and control it over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

PROJECT = "eechips-local"
"""Project of the requests. Every project is served."""
_TIMEOUT = 60.0
"""Seconds of a request to the server's controls, and of its end."""
_PROGRAM = (  # as python -m, which also imports modules of the working folder, in place of Python's own
    "import sys; sys.path[:] = filter(None, sys.path); import runpy;"
    " runpy.run_module('eechips_local.run_server', run_name='__main__', alter_sys=True)"
)


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """A request that a local Earth Engine has answered.

    Attributes:
        kind: its method of the REST API ("value:compute", "image:computePixels", "thumbnails:getPixels").
        path: path of its URL.
        status: status of the response (200, 429).
        body: its JSON, with the expression where it has one; None if it has no body.
    """

    kind: str
    path: str
    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A running local Earth Engine.

    Attributes:
        url: its address.
    """

    url: str

    def initialize(self) -> None:
        """Initialise the client (``ee``) for this server. It needs no credentials."""
        import ee
        from google.auth.credentials import AnonymousCredentials

        # With an entry that no asset matches, the client fetches no list of deprecated assets.
        ee.deprecation.deprecated_assets = {"": ee.deprecation.DeprecatedAsset("", None, None, None)}
        ee.Initialize(AnonymousCredentials(), url=self.url, project=PROJECT)  # type: ignore[no-untyped-call]

    def set_faults(self, faults: Sequence[Mapping[str, Any]] = (), *, seed: int = 0) -> None:
        """Inject faults into the responses from now on, instead of those of an earlier call; see ``serve --faults``.

        Raises:
            ValueError: if the server refuses the plan.
        """
        self._control("_faults", {"seed": seed, "faults": [dict(fault) for fault in faults]})

    def set_quota(self, **limits: Any) -> None:
        """Change limits of the project; those that are not given stay.

        Raises:
            ValueError: if the server refuses a limit.
        """
        self._control("_quota", limits)

    def set_latency(self, latency: str | None) -> None:
        """Add time to responses: seconds, ``lognormal:MEDIAN,SIGMA``, or by kind; None for none.

        Raises:
            ValueError: if the server refuses it.
        """
        self._control("_latency", {"latency": latency})

    def keep_requests(self, most: int = 10_000) -> None:
        """Forget the requests so far, and keep the latest from now on, for :meth:`requests`."""
        self._control("_requests", {"keep": most})

    def requests(self) -> list[AnsweredRequest]:
        """Return the requests since :meth:`keep_requests`, in the order of their responses."""
        return [AnsweredRequest(**answered) for answered in self._control("_requests")["requests"]]

    def _control(self, path: str, body: Any = None) -> Any:
        """Send a request to the server's own controls, and return the JSON of its response."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, {"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not reach this machine
        try:
            with opener.open(request, timeout=_TIMEOUT) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(json.load(error)["error"]["message"]) from None


@contextlib.contextmanager
def server_process(*arguments: str) -> Iterator[ServerProcess]:
    """Run a local Earth Engine, a process of its own, for the duration of the block.

    Args:
        *arguments: arguments of ``python -m eechips_local.run_server``.

    Raises:
        RuntimeError: if it does not start; says why.
    """
    command = [sys.executable, "-c", _PROGRAM, "--port", "0", "--exit-with-parent", *arguments]
    with (
        tempfile.TemporaryFile() as errors,
        # A separate session: Ctrl-C in the terminal does not reach the server, which requests in flight need.
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        owner = os.getpid()
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"the local Earth Engine did not start: {_last_line(errors)}")
            yield ServerProcess(json.loads(line)["url"])
        finally:
            process.stdin.close()  # it ends with its input, unless a fork of this process holds that open
            if os.getpid() == owner:  # a fork that leaves the block keeps it
                process.terminate()
                try:
                    process.wait(_TIMEOUT)
                except subprocess.TimeoutExpired:
                    process.kill()


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it does not say why")
