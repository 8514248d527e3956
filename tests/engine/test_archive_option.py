"""The option ``archive`` of a run: what it excludes, and the source that a run records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eechips.engine.config import RunConfig
from eechips.engine.service.doctor import check_archives
from eechips.engine.service.served_archives import ServedArchives
from eechips.errors import ConfigurationError, UsageError
from eechips.manifest.data_source import ArchiveTraffic, DataSource
from eechips.manifest.source_files import SourceFile, hash_versions, read_source_files, write_source_files
from tests.support.commands import run_command
from tests.support.raw_server import message, raw_server


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"local": True}, "synthetic"),
        ({"endpoint": "http://127.0.0.1:1"}, "`archive` starts a server of its own"),
        ({"send_credentials": True}, "needs no credentials"),
        ({"export_to": "gs://bucket/folder"}, "`archive` has no buckets"),
        ({"archive": "https://user:secret@host/stac"}, "neither a user nor a query"),
    ],
)
def test_what_an_archive_excludes_is_told(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        RunConfig(**{"out": tmp_path, "archive": "earth-search", **options})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("wrong", [None, 5, ("earth-search", None)])
def test_an_archive_that_is_no_text_is_refused(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(UsageError, match="`archive` must be a text, as on the command line or a list, not"):
        RunConfig(out=tmp_path, archive=wrong)


RECIPE = """
from eechips import Table

def get_requests():
    return [1]

def get_result(index, number):
    return Table([{"number": number}])
"""


@pytest.mark.exhaustive
def test_a_mistyped_archive_beside_an_existing_run_is_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the folder, which holds another run than that of any such name."""
    monkeypatch.chdir(tmp_path)
    Path("recipe.py").write_text(RECIPE)
    words = ("run", "recipe.py", "--out", "out", "-q", "--executor", "threads")
    run_command(*words, "--local", status=0)
    for archive, said in (
        (
            "erth-search",
            "the local Earth Engine did not start: --archive: 'erth-search' is no archive. Did you mean earth-search?",
        ),
        ("absent.parquet", "the local Earth Engine did not start: --archive: there is no file"),
        ("earth-search", "out holds another run (source:"),
    ):
        assert run_command(*words, "--archive", archive, status=2).stderr.startswith(f"Error: {said}")


def test_the_source_of_a_run_names_its_archives_and_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "assets").mkdir()
    config = RunConfig(
        out=tmp_path / "out", archive=("earth-search", "https://a.b/v1", "mirror.toml"), local=tmp_path / "assets"
    )
    assert config.archives == ("earth-search", "https://a.b/v1", str(tmp_path / "mirror.toml"))
    assert not config.is_synthetic
    source = DataSource.parse(config.source)
    assert source.archives == config.archives
    assert source.folder == (tmp_path / "assets").resolve()
    assert str(source) == config.source
    assert source.describe() == "the open archives earth-search, https://a.b/v1, mirror.toml and local files"


@pytest.mark.parametrize("text", ["local:demo", "local:/a/b", "https://earthengine.googleapis.com", "archive:x"])
def test_a_source_is_read_as_it_was_written(text: str) -> None:
    assert str(DataSource.parse(text)) == text


def test_source_files_have_one_version_if_all_have_an_etag(tmp_path: Path) -> None:
    files = [SourceFile("S2/a", "a", f"https://h/{band}.tif", (band,), f'"{band}1"') for band in ("B4", "B3")]
    write_source_files(tmp_path, files)
    assert read_source_files(tmp_path) == files
    assert hash_versions(files) == hash_versions(reversed(files))
    assert hash_versions(files) != hash_versions([*files[:1], SourceFile("S2/a", "a", files[1].href, ("B3",), '"2"')])
    assert hash_versions([*files, SourceFile("S2/a", "a", "https://h/B2.tif", ("B2",), "")]) is None
    assert hash_versions([]) is None


@pytest.mark.parametrize("status", [200, 500])
def test_a_truncated_list_of_archives_is_an_error_of_the_connection(status: int) -> None:
    """As of a proxy before a local Earth Engine."""
    with raw_server() as server:
        server.answers["/_archives"] = lambda number, headers: message(status, b'{"arch', Content_Length=40)
        with pytest.raises(ConfigurationError, match=r"cannot be read|cannot reach"):
            ServedArchives.ask(server.url)


@pytest.mark.parametrize("damage", [{"Content_Length": 40}, {}])
def test_a_list_of_archives_that_a_proxy_has_cut_is_requested_again(damage: dict[str, int]) -> None:
    with raw_server() as server:
        listed = message(200, b'{"archives": [{"name": "a"}]}')
        server.answers["/_archives"] = lambda number, headers: (
            message(200, b'{"arch', **damage) if not number else listed
        )
        assert ServedArchives.ask(server.url).archives == ({"name": "a"},)


def test_doctor_reports_archives_that_cannot_be_read_or_serve_nothing() -> None:
    with raw_server() as server:
        server.answers["/_archives"] = lambda number, headers: message(502, b'{"error": {"message": "no route"}}')
        (found,) = check_archives(server.url)
        assert (found.name, found.state, found.detail) == (
            "archive",
            "failed",
            "the open archive cannot be read: no route",
        )
        assert found.advice.startswith("check the network")
        listed: list[dict[str, Any]] = [{"title": "Empty", "datasets": []}]
        server.answers["/_archives"] = lambda number, headers: message(200, json.dumps({"archives": listed}).encode())
        (found,) = check_archives(server.url)
        assert (found.state, found.detail) == ("failed", "Empty serves no dataset")
        listed.append({"title": "Full", "datasets": [{"id": "A/B"}]})
        images = "/v1/projects/earthengine-public/assets/A/B:listImages?pageSize=1"
        server.answers[images] = lambda number, headers: message(200, b'{"images": []}')
        assert [(each.state, each.detail) for each in check_archives(server.url)] == [
            ("warning", "Empty serves no dataset"),
            ("ok", "Full answers"),
        ]


def test_redirect_of_another_service_is_not_followed() -> None:
    with raw_server() as server:
        server.answers["/_archives"] = lambda number, headers: message(302, b"", Location=f"{server.url}/elsewhere")
        assert ServedArchives.ask(server.url).archives == ()
        assert list(server.asked) == ["/_archives"]


@pytest.mark.parametrize(
    ("counts", "taken"),
    [
        ((b'{"requests": 500, "bytes": 9000}', b'{"requests": 503, "bytes": 9900}'), ArchiveTraffic(3, 900)),
        ((b'{"requests": 500, "bytes": 9000}', b'{"requests": 20, "bytes": 100}'), None),  # it was started anew
        ((b'{"requests": 500, "bytes": 9000}', None), None),
        ((None, b'{"requests": 503, "bytes": 9900}'), None),  # others may have taken all of it
        ((b"5", b"5"), None),
        (
            (b'{"requests": 5, "bytes": 9}, "instance": "a"', b'{"requests": 7, "bytes": 19}, "instance": "a"'),
            ArchiveTraffic(2, 10),
        ),
        ((b'{"requests": 5, "bytes": 9}, "instance": "a"', b'{"requests": 7, "bytes": 19}, "instance": "b"'), None),
    ],
)
def test_traffic_that_a_shared_server_does_not_tell_is_unknown(
    counts: tuple[bytes | None, ...], taken: ArchiveTraffic | None
) -> None:
    def answer(number: int, headers: object) -> bytes:
        stats = counts[number - 1]
        return message(503, b"{}") if stats is None else message(200, b'{"archives": ' + stats + b"}")

    with raw_server() as server:
        server.answers["/_stats"] = answer
        assert ServedArchives(server.url, ({"name": "a"},)).shared().traffic() == taken
