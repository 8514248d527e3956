"""The behaviour that all object stores share: those with a server on loopback, and a file system of fsspec."""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from eechips.errors import ConfigurationError, StorageError, UsageError
from eechips.files.temporary_names import new_writer
from eechips.processes.parallel_map import parallel_map
from eechips.storage import ObjectStore, is_address
from local_tests.support.local_earth_engine import wait_until
from local_tests.support.object_server import (
    STORES,
    ObjectServer,
    missing_packages,
    remove_store_settings,
    serving_objects,
)
from tests.support.programs import run_program

MEGABYTES = Random(0).randbytes(6_400_000)


@pytest.fixture(scope="module", params=[*STORES, "file"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    if request.param == "file":
        folder = tmp_path_factory.mktemp("store")
        found = ObjectServer(f"file://{folder}")
        found.content = lambda key: _content(folder / key)
        yield found
        return
    reason = missing_packages(request.param)
    if reason is not None:
        pytest.skip(reason)
    with (
        serving_objects(f"bucket-{uuid.uuid4().hex[:8]}", request.param) as found,
        pytest.MonkeyPatch.context() as patch,
    ):
        for variable, value in found.environment.items():
            patch.setenv(variable, value)
        yield found


@pytest.fixture
def store(server: ObjectServer) -> ObjectStore:
    server.forget()
    return ObjectStore(f"{server.bucket}/run-{uuid.uuid4().hex[:8]}")


def held(server: ObjectServer, store: ObjectStore, name: str) -> bytes | None:
    """Return the content of an object from the server itself."""
    return server.content(f"{store.url.removeprefix(server.bucket + '/')}/{name}")


def sizes_of(store: ObjectStore, folders: list[str]) -> dict[str, int]:
    return {file.name: file.size for file in store.files(folders)}


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def await_counts(server: ObjectServer, store: ObjectStore, name: str) -> None:
    """Wait until the server has counted all requests so far: Azurite's come from its log, in their order."""
    put(store, name, b"")
    wait_until(lambda: any(key.endswith(f"/{name}") for key in tuple(server.puts)))


def put(store: ObjectStore, name: str, data: bytes) -> None:
    store.commit(store.stage(name, data, "token"))


def test_objects_are_stored_completely(server: ObjectServer, store: ObjectStore, tmp_path: Path) -> None:
    staged = store.stage("chips/a b/é=1.png", b"content", "token")
    store.commit(staged)
    assert (staged.size, staged.sha256) == (7, hashlib.sha256(b"content").hexdigest())
    assert held(server, store, "chips/a b/é=1.png") == b"content"
    assert store.read("chips/a b/é=1.png") == b"content"
    assert store.size("chips/a b/é=1.png") == 7
    store.fetch("chips/a b/é=1.png", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"content"
    put(store, "chips/a b/é=1.png", b"another")
    assert held(server, store, "chips/a b/é=1.png") == b"another"


def test_missing_objects_are_reported(store: ObjectStore, tmp_path: Path) -> None:
    store.check()
    assert store.size("none.png") is None
    assert list(store.files(["chips"])) == []
    for ask in (store.read, store.sha256, lambda name: store.fetch(name, tmp_path / "x")):
        with pytest.raises(FileNotFoundError):
            ask("none.png")
    store.remove("none.png")


def test_objects_are_listed_below_what_folders_have_in_common(server: ObjectServer, store: ObjectStore) -> None:
    for name in ("manifest.parquet", "chips/1/a.png", "chips/2/b.png", "chips/2/c.png", "chipsy.png"):
        put(store, name, name.encode())
    server.forget()
    assert sizes_of(store, ["chips/1", "chips/2"]) == {"chips/1/a.png": 13, "chips/2/b.png": 13, "chips/2/c.png": 13}
    assert len(sizes_of(store, ["", "chips/2"])) == len(sizes_of(store, ["."])) == 5
    assert list(store.files([])) == []
    assert "HEAD" not in server.asked


def test_an_object_is_read_by_one_request(server: ObjectServer, store: ObjectStore) -> None:
    put(store, "a.csv", b"content")
    assert store.read("a.csv") == b"content"  # whatever a client asks once
    if server.bucket.startswith("file:"):
        return
    await_counts(server, store, "one")
    server.forget()
    for _ in range(3):
        assert store.read("a.csv") == b"content"
    await_counts(server, store, "two")
    assert server.asked["GET"] + server.asked["HEAD"] == 3


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # gcsfs does that
def test_a_file_is_uploaded_whatever_its_size(server: ObjectServer, store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "mosaic.tif"
    path.write_bytes(MEGABYTES)
    told: list[int] = []
    store.upload("mosaic.tif", path, told.append)
    assert held(server, store, "mosaic.tif") == MEGABYTES
    assert store.sha256("mosaic.tif") == hashlib.sha256(MEGABYTES).hexdigest()
    assert told[-1] == len(MEGABYTES)


def test_objects_are_removed(server: ObjectServer, store: ObjectStore) -> None:
    store.discard(store.stage("a.png", b"1", "token"))
    assert held(server, store, "a.png") is None
    assert list(store.files([""])) == []


def test_of_several_that_create_an_object_one_succeeds(server: ObjectServer, store: ObjectStore) -> None:
    if server.bucket.startswith("file:"):
        with pytest.raises(UsageError, match="no conditional writes"):
            store.create("a.json", b"1")
        return
    if server.bucket.startswith("gs:"):
        pytest.skip("gcp-storage-emulator ignores ifGenerationMatch")
    contents = [b"%d" % number for number in range(8)]
    won = [done for done in parallel_map(lambda data: (store.create("a.json", data), data), contents, 8) if done[0]]
    assert len(won) == 1
    assert held(server, store, "a.json") == won[0][1]
    assert not store.create("a.json", b"later")
    assert held(server, store, "a.json") == won[0][1]
    store.remove("a.json")
    assert store.create("a.json", b"again")


def test_a_missing_bucket_is_reported(server: ObjectServer) -> None:
    if server.bucket.startswith("file:"):
        pytest.skip("folders are made")
    store = ObjectStore(f"{server.bucket}-none/run")
    with pytest.raises(ConfigurationError, match=r"could not list \w+://bucket-\w+-none/run: .*bucket"):
        store.check()
    with pytest.raises(StorageError, match=r"could not upload .*/run/a.png: .*(no such bucket|does not exist)"):
        store.stage("a.png", b"1", "token")


def test_a_store_is_serialisable(store: ObjectStore) -> None:
    store.check()
    again = pickle.loads(pickle.dumps(store))
    put(again, "a.png", b"1")
    assert store.read("a.png") == b"1"


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", ""])
def test_names_cannot_leave_the_prefix(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="inside the output folder"):
        ObjectStore(f"file://{tmp_path}").stage(name, b"", "token")


def test_a_file_system_that_is_no_store_shows_whole_results_only(tmp_path: Path) -> None:
    store = ObjectStore(f"file://{tmp_path}")
    assert not store.is_overwritten
    staged = store.stage("chips/a.png", b"content", "t1")
    assert [path.name for path in tmp_path.rglob("*.png")] == []
    store.commit(staged)
    assert (tmp_path / "chips/a.png").read_bytes() == b"content"
    writer = new_writer()
    store.stage("chips/b.png", b"left", str(writer))
    assert store.sweep(new_writer()) == 0
    assert store.sweep(writer, own=True) == 1
    assert [path.name for path in (tmp_path / "chips").iterdir()] == ["a.png"]


@pytest.mark.parametrize("out", ["outputs/x", "/data/x", "s3:/x", "C:\\x", "s3://"])
def test_paths_are_not_store_urls(out: str) -> None:
    assert not is_address(out)
    with pytest.raises(UsageError, match="not a URL"):
        ObjectStore(out)


def test_a_package_that_is_not_installed_is_named_with_its_extra() -> None:
    program = (
        "import sys; sys.modules['adlfs'] = None\n"
        "from eechips.errors import ConfigurationError\n"
        "from eechips.storage import ObjectStore\n"
        "try: ObjectStore('az://container/run').check()\n"
        "except ConfigurationError as error: print(error)\n"
    )
    ended = run_program(sys.executable, "-c", program, status=0, timeout=60)
    assert "az://container/run needs a package that is not installed: pip install 'eechips[azure]'" in ended.stdout


def test_tests_have_no_account_and_keep_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("AWS_CA_BUNDLE", "certificates.pem")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
    remove_store_settings()
    names = [name for name in os.environ if name.startswith(("AWS_", "AZURE_"))]
    assert sorted(names) == ["AWS_CA_BUNDLE", "AWS_EC2_METADATA_DISABLED"]
    assert os.environ["AWS_EC2_METADATA_DISABLED"] == "true"


def test_unknown_schemes_are_refused() -> None:
    with pytest.raises(UsageError, match="not the URL of a store"):
        ObjectStore("nobody://bucket").check()


def test_a_forked_process_uses_a_store_that_its_parent_has_used(store: ObjectStore, server: ObjectServer) -> None:
    """As workers of PyTorch's DataLoader are, which have none of the threads of obstore or fsspec."""
    program = (
        "import os, sys\n"
        "from eechips.storage import ObjectStore\n"
        "store = ObjectStore(sys.argv[1])\n"
        "store.commit(store.stage('a.txt', b'parent', 'token'))\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    try: store.commit(store.stage('b.txt', store.read('a.txt') + b' and child', 'token'))\n"
        "    finally: os._exit(0)\n"
        "os.waitpid(child, 0)\n"
        "print(store.read('b.txt').decode())\n"
    )
    done = run_program(sys.executable, "-W", "ignore", "-c", program, store.url, status=0, timeout=120)
    assert done.stdout == "parent and child\n"


@pytest.mark.exhaustive
@pytest.mark.slow
def test_s3_lists_a_thousand_objects_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = missing_packages("s3")
    if reason is not None:
        pytest.skip(reason)
    with serving_objects("bucket-pages") as served:
        for name, value in served.environment.items():
            monkeypatch.setenv(name, value)
        store = ObjectStore("s3://bucket-pages/run")
        for _ in parallel_map(lambda n: put(store, f"chips/{n}.png", b"%d" % n), range(2_345), 8):
            pass
        served.forget()
        assert sizes_of(store, ["chips"]) == {f"chips/{n}.png": len(str(n)) for n in range(2_345)}
        assert served.asked == {"LIST": 3}


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX path")
def test_messages_carry_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    if missing_packages("s3"):
        pytest.skip("obstore is not installed")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ConfigurationError) as raised:
        ObjectStore("s3://bucket/run").check()
    assert "very-secret" not in str(raised.value)
    assert "could not list s3://bucket/run" in str(raised.value)
