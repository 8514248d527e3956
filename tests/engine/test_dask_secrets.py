"""No secret passes between the machines of a Dask cluster: every byte that does is recorded, and searched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from eechips.manifest.run import open_run
from local_tests.support.token_server import TokenServer, token_server
from tests.support.dask_cluster import DaskCluster, dask_cluster
from tests.support.engine_recipes import CHIPS
from tests.support.engine_service import Service
from tests.support.programs import run_program
from tests.support.proxy import tcp_proxy

pytestmark = [pytest.mark.skipif(find_spec("distributed") is None, reason="Dask is not installed"), pytest.mark.slow]

SECRET = "5ecre7-7oken-of-a-recipe"
QUOTES = """
def get_requests(token="", count=4):
    return list(range(count))

def get_result(index, unit, token="", count=4):
    return f"{index} of {len(token)}".encode()
"""


@pytest.fixture
def tokens(service: Service) -> Iterator[TokenServer]:
    with token_server(upstream=service.url) as found:
        yield found


@pytest.fixture
def endpoint(tokens: TokenServer) -> Iterator[str]:
    """The service at an address that is not this machine's own, to which credentials are sent."""
    with tcp_proxy(tokens.url, "127.0.0.2") as wire:
        yield wire.url


def run(folder: Path, source: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a recipe on a Dask cluster."""
    (folder / "recipe.py").write_text(source)
    command = [sys.executable, "-m", "eechips", "run", "recipe.py", "--out", "out", "-p", "count=4", "--rate", "none"]
    return run_program(
        *command, "--executor", "dask:2", *options, cwd=folder, env={**environment(folder), **variables}, timeout=200
    )


def on(cluster: DaskCluster) -> list[str]:
    return ["--executor", f"dask:{cluster.address}"]


def environment(folder: Path) -> dict[str, str]:
    """Of a machine without any credentials."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("GOOGLE_", "EECHIPS_"))}
    return {**bare, "HOME": str(folder), "NO_GCE_CHECK": "true", "CLOUDSDK_CONFIG": str(folder)}


@pytest.mark.exhaustive
@pytest.mark.parametrize("way", ["a key file", "default credentials"])
def test_workers_find_their_own_credentials(tokens: TokenServer, endpoint: str, tmp_path: Path, way: str) -> None:
    key = tokens.key(tmp_path / "key.json")
    variables = {"GOOGLE_APPLICATION_CREDENTIALS": str(key)} if way == "default credentials" else {}
    options = ["--credentials", "key.json"] if way == "a key file" else []
    there = {**environment(tmp_path), **variables}
    with dask_cluster(tmp_path / "cluster", 0, environment=there) as cluster, tcp_proxy(cluster.address) as wire:
        scheduler = wire.url.replace("http", "tcp")
        cluster.add_worker(scheduler)
        found = run(
            tmp_path, CHIPS, *options, "--endpoint", endpoint, "--send-credentials", "--project", "my-project",
            "--executor", f"dask:{scheduler}", **variables,
        )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert open_run(tmp_path / "out").counts == {"done": 4}
    passed = bytes(wire.passed)
    assert b"my-project" in passed  # what is sent can be read
    private = json.loads(key.read_text())["private_key"].splitlines()[1:-1]
    for secret in ("PRIVATE KEY", "ya29.", "Bearer ", *private):
        assert secret.encode() not in passed, secret
    assert tokens.requests["token"] >= 2  # the parent's and the worker's own
    assert tokens.refused == 0


@pytest.mark.exhaustive
def test_a_worker_without_credentials_says_what_to_do(tokens: TokenServer, endpoint: str, tmp_path: Path) -> None:
    key = tokens.key(tmp_path / "key.json")
    with dask_cluster(tmp_path / "cluster", 1, environment=environment(tmp_path)) as cluster:
        found = run(
            tmp_path, CHIPS, "--endpoint", endpoint, "--send-credentials", "--project", "my-project", "--executor",
            f"dask:{cluster.address}", GOOGLE_APPLICATION_CREDENTIALS=str(key),
        )  # fmt: skip
    assert found.returncode == 2, found.stderr
    (last,) = [line for line in found.stderr.splitlines() if line.startswith("Error: ")]
    assert "has no working credentials: no Earth Engine credentials found" in last
    assert "GOOGLE_APPLICATION_CREDENTIALS there" in last
    assert "please report it" not in last


@pytest.mark.exhaustive
def test_secrets_of_a_recipe_are_not_sent_in_clear(service: Service, tmp_path: Path) -> None:
    elsewhere = ["--host", "127.0.0.2"]
    with dask_cluster(tmp_path / "cluster", 1, scheduler_options=elsewhere) as cluster:
        found = run(tmp_path, QUOTES, "-p", f"token={SECRET}", "--endpoint", service.url, *on(cluster))
    assert found.returncode == 2, found.stderr
    assert f"token of the recipe would be sent to {cluster.address}" in found.stderr
    assert SECRET not in found.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.exhaustive
def test_secrets_of_a_recipe_are_sent_by_tls(service: Service, tmp_path: Path) -> None:
    security = pytest.importorskip("distributed").security.Security.temporary()
    files = {"ca_file": security.tls_ca_file, "cert": security.tls_scheduler_cert, "key": security.tls_scheduler_key}
    for name, content in files.items():
        (tmp_path / f"{name}.pem").write_text(content)
    words = [
        f"--tls-ca-file={tmp_path}/ca_file.pem",
        f"--tls-cert={tmp_path}/cert.pem",
        f"--tls-key={tmp_path}/key.pem",
    ]
    prefix = "DASK_DISTRIBUTED__COMM__TLS"
    variables = {
        f"{prefix}__CA_FILE": f"{tmp_path}/ca_file.pem",
        f"{prefix}__CLIENT__CERT": f"{tmp_path}/cert.pem",
        f"{prefix}__CLIENT__KEY": f"{tmp_path}/key.pem",
    }
    options = ["--protocol", "tls", *words, "--host", "127.0.0.2"]
    with dask_cluster(tmp_path / "cluster", 0, scheduler_options=options, worker_options=words) as cluster:
        assert cluster.address.startswith("tls://127.0.0.2:")
        cluster.add_worker()
        found = run(
            tmp_path, QUOTES, "-p", f"token={SECRET}", "--endpoint", service.url, *on(cluster),
            **variables,
        )  # fmt: skip
        assert found.returncode == 0, found.stderr
        unprepared = run(tmp_path, QUOTES, "--out", "other", "--endpoint", service.url, *on(cluster))
        assert unprepared.returncode == 2
        assert f"no Dask cluster at {cluster.address}" in unprepared.stderr
    run_ = open_run(tmp_path / "out")
    assert run_.counts == {"done": 4}
    assert (tmp_path / "out" / str(run_.units["file"][0])).read_text() == f"0 of {len(SECRET)}"
