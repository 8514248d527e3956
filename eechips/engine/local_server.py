"""Start a local Earth Engine for one run, as a separate process that is accessed over HTTP."""

from __future__ import annotations

import contextlib
import json
import selectors
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from eechips.client.connection import skip_deprecated_assets
from eechips.errors import ConfigurationError
from eechips.removal import LockedFolder, remove

PROJECT = "local"
"""Project of the requests. Every project is served."""
_START_TIMEOUT = 60.0  # seconds; a cold start imports rasterio and reads the list of algorithms
_STOP_TIMEOUT = 10.0
_CONTROL_TIMEOUT = 60.0
_CATALOG_FILE = "_schema.json"


@dataclass(frozen=True)
class ReceivedRequest:
    """A request that a local Earth Engine has answered.

    Attributes:
        kind: its method of the REST API ("value:compute", "image:computePixels", "thumbnails:getPixels").
        path: of its URL.
        status: of the response (200, 429).
        body: its JSON, with the expression where it has one; None if it has no body.
    """

    kind: str
    path: str
    status: int
    body: Any


class LocalServer:
    """A running local Earth Engine.

    Attributes:
        url: its address.
    """

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._process, self._errors = process, errors
        self.url = str(_announcement(process, errors)["url"])

    def check(self) -> None:
        """Raise ConfigurationError if the server has ended."""
        status = self._process.poll()
        if status is None:
            return
        if status < 0:
            raise ConfigurationError(
                f"the local Earth Engine was killed by signal {-status}; the results so far are kept, and the same"
                " command resumes the run"
            )
        raise ConfigurationError(f"the local Earth Engine has ended (status {status}): {last_error(self._errors)}")

    def initialize(self) -> None:
        """Initialise the client (``ee``) for this server. It needs no credentials."""
        import ee
        from google.auth.credentials import AnonymousCredentials

        skip_deprecated_assets()
        ee.Initialize(AnonymousCredentials(), url=self.url, project=PROJECT)  # type: ignore[no-untyped-call]

    def set_faults(self, faults: Sequence[Mapping[str, Any]] = (), *, seed: int = 0) -> None:
        """Inject faults into the responses from now on, instead of those of an earlier call.

        Args:
            faults: each with its ``type``, and ``on``, ``probability``, ``times``, ``after``, ``status``,
                ``retry_after``, ``seconds``, as in the plan of ``eechips serve --faults``. Without any, no faults.
            seed: of the probabilities.

        Raises:
            ValueError: if the server refuses the plan.
        """
        self._control("_faults", {"seed": seed, "faults": [dict(fault) for fault in faults]})

    def set_quota(self, **limits: Any) -> None:
        """Change limits of the project.

        Args:
            **limits: ``concurrency``, ``rate`` (a second), ``minute``, ``eecu_hours``, ``restricted``; None for no
                limit. Those that are not given stay.

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

    def requests(self) -> list[ReceivedRequest]:
        """Return the requests since :meth:`keep_requests`, in the order of their responses."""
        return [ReceivedRequest(**each) for each in self._control("_requests")["requests"]]

    def _control(self, path: str, body: Any = None) -> Any:
        """Send a request to the server's own controls, and return the JSON of its response."""
        self.check()
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, {"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not reach this machine
        try:
            with opener.open(request, timeout=_CONTROL_TIMEOUT) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(json.load(error)["error"]["message"]) from None


@contextlib.contextmanager
def local_earth_engine(
    assets: str | Path | None = None,
    *,
    demo: bool | None = None,
    in_flight: int = 40,
    workers: int | None = None,
    allow_remote: bool = False,
    log: Path | None = None,
    drive: str | Path | None = None,
    buckets: str | Path | None = None,
    export_assets: str | Path | None = None,
    asset_bytes: int | None = None,
    asset_count: int | None = None,
    demo_datasets: str | Path | None = None,
) -> Iterator[LocalServer]:
    """Run a local Earth Engine, a process of its own, for the duration of the block.

    Args:
        assets: folder of assets, or catalogue, to serve; None for the demo planet.
        demo: serve the demo planet; None to serve it only without ``assets``.
        in_flight: maximum number of requests that it answers at a time.
        workers: processes that compute; None for one for each core.
        allow_remote: read files elsewhere that the assets refer to.
        log: file for its standard error; removed if empty. None to discard it.
        drive: folder that stands for Google Drive, for ``ee.batch.Export``; None rejects such exports.
        buckets: folder of folders that stand for buckets of Cloud Storage, likewise.
        export_assets: folder of the assets that exports make, likewise.
        asset_bytes: of all assets of a project or user in that folder; None for no limit.
        asset_count: of assets of a project or user in that folder, likewise.
        demo_datasets: ``"all"``, or a folder of STAC collections: serve synthetic stubs of datasets that the demo
            planet lacks, as ``eechips serve --demo-datasets`` does.

    Yields:
        The server, ready. Its ``url`` is an ``endpoint`` of eechips, and of ``ee.Initialize``.

    Raises:
        ConfigurationError: if it does not start.

    Example:
        >>> with eechips.local_earth_engine() as server:
        ...     server.initialize()
        ...     run = eechips.sample("NAIP", per_ecoregion=1, endpoint=server.url, project="local")
    """
    command = [sys.executable, "-m", "eechips.emulator", "--exit-with-parent", "--port", "0", "--rate", "none"]
    command += ["--concurrency", str(in_flight)]
    command += [] if assets is None else [_option(Path(assets)), str(assets)]
    command += ["--demo" if demo or (demo is None and assets is None) else "--no-demo"]
    command += [] if workers is None else ["--workers", str(workers)]
    command += ["--allow-remote"] if allow_remote else []
    given = {
        "--drive": drive, "--buckets": buckets, "--export-assets": export_assets, "--asset-bytes": asset_bytes,
        "--asset-count": asset_count, "--demo-datasets": demo_datasets,
    }  # fmt: skip
    for option, value in given.items():
        command += [] if value is None else [option, str(value)]
    with log.open("w+b") if log is not None else tempfile.TemporaryFile() as errors:
        # A separate session: Ctrl-C in the terminal does not reach the server, which requests in flight need.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,  # a selector does not see data that a buffer has read
            start_new_session=True,
        )
        try:
            yield LocalServer(process, errors)
        finally:
            _stop(process)
    if log is not None and log.stat().st_size == 0:
        remove(log, LockedFolder(log.parent))


def _option(assets: Path) -> str:
    """Return the option that serves a folder: a catalogue has a schema file."""
    return "--catalog" if (assets / _CATALOG_FILE).is_file() else "--assets"


def _announcement(process: subprocess.Popen[bytes], errors: IO[bytes]) -> dict[str, Any]:
    """Return the first line of the server's output, JSON."""
    assert process.stdout is not None
    line = _read_line(process.stdout, _START_TIMEOUT)
    try:
        announced = json.loads(line)
        if isinstance(announced, dict) and "url" in announced:
            return announced
    except ValueError:
        pass  # reported below, with the output of the server
    reason = last_error(errors) or f"no answer within {_START_TIMEOUT:g} s"
    if "ModuleNotFoundError" in reason:
        reason += " (install the extra: pip install 'eechips[local]')"
    raise ConfigurationError(f"the local Earth Engine did not start: {reason}")


def last_error(errors: IO[bytes]) -> str:
    """Return the last error, or else the last line, that a process has written; "" if there is none."""
    errors.seek(0)
    lines = [line.strip() for line in errors.read().decode(errors="replace").splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else "")


def _read_line(stream: IO[bytes], timeout: float) -> bytes:
    deadline = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        line = b""
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                break
            byte = stream.read(1)
            if not byte:
                break
            line += byte
    return line


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Close the server's input, which makes it exit; kill it if it does not."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
