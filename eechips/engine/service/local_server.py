"""Start a local Earth Engine for one run, as a separate process that is accessed over HTTP; start it again, up to five
times, if it is killed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import selectors
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from eechips.client.access.connection import skip_deprecated_assets
from eechips.engine.service.served_archives import ServedArchives
from eechips.errors import ConfigurationError
from eechips.files.removal import LockedFolder, RecordedFile, remove, remove_empty, remove_tree
from eechips.files.scratch_folders import temporary_folder
from eechips.manifest.source_files import SourceFile
from eechips.processes.child_processes import check_open_files, module_command

_log = logging.getLogger(__name__)

PROJECT = "local"
"""Project of the requests. Every project is served."""
_MISSING_MODULE = re.compile(r"No module named '([^'.]+)")
_START_TIMEOUT = 60.0  # seconds; a cold start imports rasterio and reads the list of algorithms
_STOP_TIMEOUT = 10.0
_CATALOG_FILE = "_schema.json"
_MOST_RESTARTS = 5
"""A server that is killed more often has too little memory, or another process ends it on purpose."""
EXPORTS_FOLDER = "exports"
"""In the folder of a script's run: folders that stand for Google Drive, Cloud Storage and assets."""
_OWN_FILES = ("catalog.json", ".index.sqlite", ".lock", ".eechips-local-")
"""Beginnings of the names of what the server makes in an asset folder without assets."""
UNUSED_EXPORTS = f"{EXPORTS_FOLDER}/assets/catalog.json"
"""The only visible file of an asset folder without assets. The server makes it when it starts."""


class LocalServer:
    """A running local Earth Engine. If a signal kills it, it is started again at the same address, up to five times.

    Exports that were in progress are lost.

    Attributes:
        url: its address.

    Args:
        command: starts the server; its port is the last word.
        errors: file of its standard error.
        stubs: file of the ids of datasets whose stubs it has loaded.
    """

    def __init__(self, command: Sequence[str], errors: IO[bytes], stubs: Path) -> None:
        self._command, self._errors, self._stubs = list(command), errors, stubs
        self._owner = os.getpid()
        self._restarts = 0
        self._is_closing = False
        self._turn = threading.Lock()
        self._process = _start(self._command, errors)
        try:
            self.url = str(_announcement(self._process, errors)["url"])
        except BaseException:
            _stop(self._process)
            raise
        self._command[-1] = self.url.rpartition(":")[2]
        self._watcher = threading.Thread(target=self._watch, daemon=True, name="eechips-local-server")
        self._watcher.start()

    def check(self) -> None:
        """Raise ConfigurationError if the server has ended and is not started again."""
        status = self._process.poll()
        if status is None or self._watcher.is_alive():
            return
        if status < 0:
            raise ConfigurationError(
                f"the local Earth Engine was killed by signal {-status}, {self._restarts + 1} times in all; the results"
                " so far are kept, and the same command resumes the run. What helps: more memory, or fewer requests at"
                " a time (`in_flight`)"
            )
        raise ConfigurationError(f"the local Earth Engine has ended (status {status}): {last_error(self._errors)}")

    def close(self) -> None:
        """End the server, unless this is a fork of the process that started it, and which still uses it."""
        if os.getpid() != self._owner:
            return
        with self._turn:
            self._is_closing = True
        _stop(self._process)
        self._watcher.join()

    def _watch(self) -> None:
        """Wait for the end of the server; start it again if a signal has killed it."""
        while self._process.wait() < 0 and self._restarts < _MOST_RESTARTS:
            with self._turn:
                if self._is_closing:
                    return
                self._restarts += 1
                if self._restarts == 1:
                    _log.warning(
                        "The local Earth Engine was killed by signal %s: it is started again, and the requests that it"
                        " had are repeated.", -self._process.returncode,
                    )  # fmt: skip
                _stop(self._process)
                self._process = _start(self._command, self._errors)
                try:
                    _announcement(self._process, self._errors)
                except (ConfigurationError, OSError, ValueError) as error:  # check() reports the end of the process
                    _log.warning("%s", error)
                    self._process.kill()

    def initialize(self) -> None:
        """Initialise the client (``ee``) for this server. It needs no credentials."""
        import ee
        from google.auth.credentials import AnonymousCredentials

        skip_deprecated_assets()
        ee.Initialize(AnonymousCredentials(), url=self.url, project=PROJECT)  # type: ignore[no-untyped-call]

    def stubs(self) -> list[str]:
        """Return the ids of the datasets whose synthetic stubs requests have loaded so far, in order.

        They are known also where the server was killed meanwhile.
        """
        return sorted(set(self._stubs.read_text(encoding="utf-8").splitlines()))

    def archives(self) -> list[dict[str, Any]]:
        """Return the open archives that it serves, with their datasets: id, terms, and what differs.

        Raises:
            ConfigurationError: if one does not answer that is asked for its datasets.
        """
        self.check()
        return list(ServedArchives.ask(self.url).archives)

    def files(self, images: Sequence[str], bands: Sequence[str] = ()) -> dict[str, tuple[SourceFile, ...]]:
        """Return the files of open archives from which images are read, by the ids of the images.

        Args:
            images: ids, at most 500; the result has no entry for an id that is not of an archive.
            bands: bands of the images; all if empty.

        Raises:
            ValueError: if an archive does not answer.
        """
        self.check()
        return ServedArchives(self.url, ()).files(images, bands)


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
    archive: str | Path | Sequence[str | Path] = (),
) -> Iterator[LocalServer]:
    """Run a local Earth Engine, a process of its own, for the duration of the block.

    Args:
        assets: folder of assets, or catalogue, to serve; None for the demo planet, or the archives.
        demo: serve the demo planet; None to serve it only without ``assets`` and ``archive``.
        in_flight: maximum number of requests that it answers at a time.
        workers: processes that compute; None for one for each core, or four with archives.
        allow_remote: read files elsewhere that the assets refer to.
        log: file for its standard error; removed if empty. None to discard it.
        drive: folder that stands for Google Drive, for ``ee.batch.Export``; None rejects such exports.
        buckets: folder of folders that stand for buckets of Cloud Storage, likewise.
        export_assets: folder of the assets that exports make, likewise.
        asset_bytes: number of bytes of the asset of all assets of a project or user in that folder; None for no limit.
        asset_count: number of assets of assets of a project or user in that folder, likewise.
        demo_datasets: ``"all"``, or a folder of STAC collections: serve synthetic stubs of datasets that the demo
            planet lacks, as ``eechips serve --demo-datasets`` does.
        archive: open archives to serve, as ``eechips serve --archive`` does: "earth-search", the address of a STAC
            API, or a file.

    Yields:
        The server, ready. Its ``url`` is an ``endpoint`` of eechips, and of ``ee.Initialize``.

    Raises:
        ConfigurationError: if it does not start.

    Example:
        >>> with eechips.local_earth_engine() as server:
        ...     server.initialize()
        ...     run = eechips.sample("NAIP", per_ecoregion=1, endpoint=server.url, project="local")
    """
    check_open_files()
    archives = (archive,) if isinstance(archive, (str, Path)) else archive
    command = [*module_command("eechips_local.run_server"), "--exit-with-parent", "--rate", "none"]
    command += ["--concurrency", str(in_flight)]
    if assets is not None:  # a catalogue has a schema file
        command += ["--catalog" if (Path(assets) / _CATALOG_FILE).is_file() else "--assets", str(assets)]
    command += ["--demo" if demo or (demo is None and assets is None and not archives) else "--no-demo"]
    command += [] if workers is None else ["--workers", str(workers)]
    command += ["--allow-remote"] if allow_remote else []
    command += [f"--archive={archive_name}" for archive_name in archives]
    options = {
        "--drive": drive, "--buckets": buckets, "--export-assets": export_assets, "--asset-bytes": asset_bytes,
        "--asset-count": asset_count, "--demo-datasets": demo_datasets,
    }  # fmt: skip
    for option, value in options.items():
        command += [] if value is None else [option, str(value)]
    with log.open("w+b") if log is not None else tempfile.TemporaryFile() as errors, temporary_folder() as folder:
        stubs = folder / "stubs"
        stubs.touch()
        command += ["--stubs-file", str(stubs), "--port", "0"]
        with contextlib.closing(LocalServer(command, errors, stubs)) as server:
            yield server
    if log is not None:
        remove(log, RecordedFile(0, None))


def _start(command: Sequence[str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
    # A separate session: Ctrl-C in the terminal does not reach the server, which requests in flight need.
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        bufsize=0,  # a selector does not see data that a buffer has read
        start_new_session=True,
    )


def remove_unused_exports(out: Path) -> None:
    """Remove the folder of exported assets, which the server makes when it starts, if there are no assets.

    Args:
        out: the folder of the run, whose lock this process holds; the server has ended.
    """
    folder = out.absolute() / EXPORTS_FOLDER
    assets = folder / "assets"
    if assets.is_dir() and all(path.name.startswith(_OWN_FILES) for path in assets.iterdir()):
        remove_tree(assets, LockedFolder(out))
        remove_empty(folder)


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
    reason = reason.partition(".run_server: error: ")[2] or reason  # argparse begins with the name of the program
    missing = _MISSING_MODULE.search(reason)
    if missing is not None and missing[1] not in sys.stdlib_module_names:
        raise ConfigurationError(
            f"the local Earth Engine needs {missing[1]}, which is not installed: pip install 'eechips[local]', with"
            " open archives 'eechips[local,archive]'"
        )
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
        while not line.endswith(b"\n") and selector.select(max(0.0, deadline - time.monotonic())):
            if not (byte := stream.read(1)):
                break
            line += byte
    return line


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server, also where a fork of this process holds its input open; kill it if it does not end."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
