"""STAC APIs that are not ours: stac-fastapi-pgstac on PostgreSQL with PostGIS, and rustac.

PostgreSQL comes from Debian's packages (``apt-get install postgresql-15 postgresql-15-postgis-3``), the server of
pgstac from pip, into an environment of its own: its pins are not ours. ``EECHIPS_TEST_PGSTAC`` names the Python of an
environment with ``stac-fastapi.pgstac``, ``pypgstac[psycopg]`` and ``uvicorn`` that is there already.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

_PACKAGES = ("stac-fastapi.pgstac>=5", "pypgstac[psycopg]>=0.9", "uvicorn>=0.29")
_PATIENCE = 90.0


@contextlib.contextmanager
def rustac_api(items: Sequence[Mapping[str, Any]], folder: Path) -> Iterator[str]:
    """Serve items by ``rustac serve``; yield the address of its STAC API."""
    if sys.version_info < (3, 11):
        pytest.skip("the last rustac for Python 3.10 listens, and never answers")
    program = shutil.which("rustac", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    if program is None:
        pytest.skip("rustac is not installed: pip install rustac")
    path = folder / "served.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    address = f"127.0.0.1:{_free_port()}"
    with _running(
        [program, "serve", str(path), "--create-collections", "--addr", address], folder, address, os.environ
    ):
        yield f"http://{address}"


@contextlib.contextmanager
def pgstac_api(items: Sequence[Mapping[str, Any]], python: Path) -> Iterator[str]:
    """Serve items by stac-fastapi-pgstac; yield the address of its STAC API.

    Args:
        items: items of any collections.
        python: Python interpreter of an environment with the server, from :func:`find_pgstac`.
    """
    with _postgres() as (folder, environment):
        names = sorted({str(item["collection"]) for item in items})
        _write_lines(folder / "collections.json", map(_collection, names))
        _write_lines(folder / "items.json", items)
        loader = str(python.with_name("pypgstac"))
        _call([loader, "migrate"], environment)
        for kind in ("collections", "items"):
            _call([loader, "load", kind, str(folder / f"{kind}.json"), "--method", "upsert"], environment)
        port = _free_port()
        command = [str(python), "-m", "uvicorn", "stac_fastapi.pgstac.app:create_app", "--factory"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
        with _running(command, folder, f"127.0.0.1:{port}", environment):
            yield f"http://127.0.0.1:{port}"


def find_pgstac(folder: Path) -> Path:
    """Return the Python of an environment with stac-fastapi-pgstac, made in a folder if there is none; or skip."""
    if _postgres_programs() is None:
        pytest.skip("PostgreSQL with PostGIS is not installed: apt-get install postgresql-15 postgresql-15-postgis-3")
    named = os.environ.get("EECHIPS_TEST_PGSTAC")
    if named:
        return Path(named)
    if sys.version_info < (3, 11):
        pytest.skip("stac-fastapi-pgstac needs Python 3.11")
    python = folder / "bin" / "python"
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "-q", *_PACKAGES],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=280)
        if done.returncode:
            pytest.skip(f"stac-fastapi-pgstac cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
    return python


def _postgres_programs() -> Path | None:
    """Return the folder of the newest PostgreSQL that has PostGIS."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if Path("/usr/share/postgresql", folder.parent.name, "extension/postgis.control").exists():
            return folder
    return None


@contextlib.contextmanager
def _postgres() -> Iterator[tuple[Path, dict[str, str]]]:
    """Run an empty database; yield a folder, and the environment by which clients find it."""
    programs = _postgres_programs()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="eechips-postgres-"))  # short: a socket's path has 107 bytes at most
    user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("the tests run as root, and there is no user postgres to run PostgreSQL as")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        user = ["runuser", "-u", "postgres", "--"]
    data, port = folder / "data", _free_port()
    control = [*user, str(programs / "pg_ctl"), "-D", str(data), "-w"]
    environment = {
        **os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "postgres", "PGPASSWORD": "none",
        "PGDATABASE": "postgres", "STAC_FASTAPI_TITLE": "Tests",
    }  # fmt: skip
    environment.pop("PYTHONPATH", None)
    try:
        _call(
            [*user, str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8"],
            os.environ,
        )
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        _call([*control, "-o", options, "-l", str(folder / "log"), "start"], os.environ)
        try:
            folder.chmod(0o755)
            yield folder, environment
        finally:
            _call([*control, "-m", "immediate", "stop"], os.environ)
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _running(command: Sequence[str], folder: Path, address: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Run a server for the block, once it answers."""
    log = folder / "server.log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process:
        try:
            end = time.monotonic() + _PATIENCE
            while True:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, f"nobody answers at {address}"
                with contextlib.suppress(OSError), urlopen(f"http://{address}/", timeout=5):
                    break
                time.sleep(0.05)
            yield
        finally:
            process.kill()


def _call(command: Sequence[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=280, cwd="/"
    )
    assert done.returncode == 0, done.stderr


def _write_lines(path: Path, values: Iterator[Any] | Sequence[Any]) -> None:
    path.write_text("".join(f"{json.dumps(value)}\n" for value in values))


def _collection(name: str) -> dict[str, Any]:
    return {
        "type": "Collection", "stac_version": "1.0.0", "id": name, "description": name, "license": "other", "links": [],
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
    }  # fmt: skip


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
