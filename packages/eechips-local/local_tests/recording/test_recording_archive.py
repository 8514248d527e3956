"""A recording is packed into one file, and no file of a stranger leads out of the folder into which it is unpacked."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from eechips_local.recording.recording_archive import pack_recording, unpacked_recording
from eechips_local.recording.recording_folder import RecordingError, create_recording
from eechips_local.recording.secret_search import find_secrets

KEY = "0" * 64


def write(folder: Path, **files: str | bytes) -> Path:
    """Write a recording with some files below value-compute; names are suffixes."""
    create_recording(folder)
    (folder / "value-compute").mkdir(exist_ok=True)
    for suffix, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / "value-compute" / f"{KEY}.{suffix}").write_bytes(data)
    return folder


def read(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_recording_is_unpacked_as_it_was_packed(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", json="{}", npy=b"\x93NUMPY")
    (folder / "results.json").write_text("{}")
    files = read(folder)
    (folder / ".hidden").write_text("x")
    (folder / "notes.txt").write_text("mine")
    (folder / "value-compute" / f"{'1' * 64}.json").symlink_to("/etc/passwd")
    size = pack_recording(folder, tmp_path / "a.zip")
    assert size == (tmp_path / "a.zip").stat().st_size
    with unpacked_recording(tmp_path / "a.zip") as found:
        assert read(found) == files
    assert not found.exists()


def test_the_same_recording_is_the_same_file(tmp_path: Path) -> None:
    for name in "ab":
        pack_recording(write(tmp_path / name, json='{"a": 1}'), tmp_path / f"{name}.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_folder_is_given_as_it_is(tmp_path: Path) -> None:
    with unpacked_recording(tmp_path) as found:
        assert found == tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "../recording.json", "/tmp/recording.json", "value-compute/../../x.json", f"value-compute/{KEY}.json/x",
        f"../{KEY}.json", f".ssh/{KEY}.json", "value-compute/authorized_keys", f"value-compute\\{KEY}.json", "",
    ],
)  # fmt: skip
def test_a_name_that_no_recording_has_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), "x")
    with pytest.raises(RecordingError), unpacked_recording(path):
        pytest.fail("it was unpacked")
    assert [each.name for each in tmp_path.iterdir()] == ["a.zip"]


def test_links_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    link = zipfile.ZipInfo("recording.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(RecordingError, match="no recording has"), unpacked_recording(path):
        pytest.fail("it was unpacked")


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eechips_local.recording.recording_archive._MOST_BYTES", 1 << 20)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"payloads/{KEY}.bin", bytes(2 << 20))
    with pytest.raises(RecordingError, match="more than 1 MiB"), unpacked_recording(path):
        pytest.fail("it was unpacked")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path: Path, compression: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"payloads/{KEY}.bin", b"x")
    with pytest.raises(RecordingError, match="compression other than deflate"), unpacked_recording(path):
        pytest.fail("it was unpacked")


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("é", "x")
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xff"))
    with pytest.raises(RecordingError, match="not the archive"), unpacked_recording(path):
        pytest.fail("it was unpacked")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"text"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="not the archive"), unpacked_recording(path):
        pytest.fail("it was unpacked")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("token ya29.a0AfH6SMBx-secret", "an access token"),
        ("1//0gRefreshTokenOfAUser-abcdefg", "a refresh token"),
        ("AIzaSyA1234567890123456789012345678901", "an API key"),
        ("GOCSPX-abcdefghij1234", "a client secret"),
        ("-----BEGIN PRIVATE KEY-----", "a private key"),
        ('"authorization": "Bearer abcdefghijklmnopqrstuv"', "an authorization header"),
        ("eyJhbGciOiJSUzI1NiIsInR5cCI6.eyJpc3MiOiJyb2JvdA.x", "a signed token"),
        ("/home/jane/data", "a path of a home folder"),
        ("C:\\\\Users\\\\jane", "a path of a home folder"),
        ("write to jane.doe@example.org", "an e-mail address"),
        ("projects/my-secret-project", "a name of yours"),
    ],
)
def test_secrets_are_found_by_their_form(tmp_path: Path, content: str, kind: str) -> None:
    folder = write(tmp_path / "a", json=content)
    assert [each.kind for each in find_secrets(folder, ["my-secret-project", "abc"])] == [kind]


def test_secrets_are_found_in_archives_of_the_service(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "inner.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("table.csv", "owner\njane.doe@example.org\n" * 20)
    folder = write(tmp_path / "a", zip=(tmp_path / "inner.zip").read_bytes())
    assert [each.kind for each in find_secrets(folder)] == ["an e-mail address"]


@pytest.mark.slow
def test_ordinary_texts_are_no_secrets(tmp_path: Path) -> None:
    text = '{"rootUrl": "{server}/", "project": "{project}", "mail": "***", "id": "LANDSAT/LC08", "https": "a//b"}'
    assert find_secrets(write(tmp_path / "a", json=text, npy=bytes(range(256)) * 40), ["local"]) == []
