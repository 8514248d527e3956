"""Archives by name, address and file; what names none is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from eechips_local.archives.archive_list import ARCHIVES, EARTH_SEARCH, PLANETARY_COMPUTER
from eechips_local.archives.named_archive import ArchiveChoiceError, find_archive
from eechips_local.server_options import OptionError, find_archives
from eechips_local.stores import StoreConfig, StoreError, check


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda each: each.name)
def test_a_known_archive_is_found_by_its_name_and_by_its_address(archive: object) -> None:
    known = next(each for each in ARCHIVES if each is archive)
    assert find_archive(known.name) is known
    assert find_archive(f"{known.api or known.index}/") is known


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("earthsearch", "earth-search"),
        ("Planetary_Computer", "planetary-computer"),
        ("alphaearth", None),
        ("AEF", "aef"),
    ],
)
def test_a_wrong_name_gets_a_suggestion(text: str, meant: str | None) -> None:
    with pytest.raises(ArchiveChoiceError, match="Known archives are earth-search, ") as caught:
        find_archive(text)
    assert (f"is no archive. Did you mean {meant}?" if meant else "is no archive. Known") in str(caught.value)


def test_own_api_replaces_the_table_of_the_archive_that_a_description_is_like(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('like = "aef"\napi = "https://stac.example.org"\n', encoding="utf-8")
    assert (find_archive(str(path)).api, find_archive(str(path)).index) == ("https://stac.example.org", "")


def test_an_address_is_that_of_an_api_whose_host_alone_is_read() -> None:
    found = find_archive("http://127.0.0.1:8080/stac/")
    assert (found.api, found.hosts, found.like) == ("http://127.0.0.1:8080/stac", ("127.0.0.1:8080",), "")
    assert found.signing == "none"


def test_a_description_inherits_what_it_does_not_say(tmp_path: Path) -> None:
    path = tmp_path / "mirror.toml"
    path.write_text('like = "planetary-computer"\napi = "http://127.0.0.1:1/api"\nhosts = ["127.0.0.1:1"]\n')
    found = find_archive(str(path))
    assert found.like == "planetary-computer"
    assert found.name == "mirror"
    assert found.hosts == ("127.0.0.1:1",)
    assert (found.signing, found.token_api) == (PLANETARY_COMPUTER.signing, PLANETARY_COMPUTER.token_api)


def test_what_a_mirror_s_api_can_do_is_not_inherited(tmp_path: Path) -> None:
    """rustac's answers a filter that it does not announce with no item."""
    path = tmp_path / "mirror.toml"
    path.write_text('like = "planetary-computer"\napi = "http://127.0.0.1:1/api"\n')
    assert (find_archive(str(path)).has_cql2, find_archive(str(path)).page_items) == (False, 100)
    path.write_text('like = "planetary-computer"\napi = "http://127.0.0.1:1/api"\nhas_cql2 = true\n')
    assert find_archive(str(path)).has_cql2


def test_a_description_of_a_file_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "copy.toml"
    path.write_text('like = "earth-search"\nfile = "catalog.json"\n')
    found = find_archive(str(path))
    assert (found.file, found.api) == (str(tmp_path / "catalog.json"), "")
    assert found.hosts == EARTH_SEARCH.hosts


def test_a_catalogue_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "catalog.json"
    path.write_text("{}")
    assert find_archive(str(path)).file == str(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("earth-serch", "Known archives are earth-search, planetary-computer"),
        ("https://user:secret@host/stac", "without a user"),
        ("https://host/stac?token=secret", "without a query"),
        ("ftp://host/stac", "https://"),
        ("missing.json", "there is no file"),
        ("missing.toml", "cannot read"),
    ],
)
def test_what_names_no_archive_is_told(text: str, said: str) -> None:
    with pytest.raises(ArchiveChoiceError, match=said) as caught:
        find_archive(text)
    assert "secret" not in str(caught.value)
    with pytest.raises(OptionError, match="--archive"):
        find_archives([text])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('api = "https://a.b"\nurl = "x"', "no field url"),
        ('like = "elsewhere"', "is none of earth-search"),
        ('hosts = "a.b"', "another type"),
        ("page_items = true", "another type"),
        ('connections = "4"', "page_items and connections are numbers of at least 1"),
        ('signing = "magic"\napi = "https://a.b"', "signing is one of"),
        ('hosts = ["a.b"]', "one of api, file and index"),
        ('api = "https://a.b"\nindex = "https://a.b/table.parquet"', "one of api, file and index"),
        ('api = "catalog.json"', "a path is given as file"),
        ("= 3", "is no TOML"),
        (".".join("a" * 40) + " = 3", "is no TOML: a key has more than 32 parts"),
    ],
)
def test_a_wrong_description_is_told(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(content)
    with pytest.raises(ArchiveChoiceError, match=said):
        find_archive(str(path))


def test_connections_of_a_description_are_a_number(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('api = "https://stac.example.org"\nconnections = 4')
    assert find_archive(str(path)).connections == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('api = "http://10.0.0.5/stac"', "10.0.0.5"),
        ('api = "https://stac.example.org"\nhosts = ["https://data.example.org/"]', "data.example.org"),
    ],
)
def test_an_archive_that_may_not_be_asked_stops_the_server_before_it_starts(
    tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(StoreError, match=said):
        check(StoreConfig(archives=(find_archive(str(path)),)))
