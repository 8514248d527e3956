"""Storage: names that stay inside, files that are whole or absent."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from io import FileIO
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eechips.errors import StorageError, UsageError
from eechips.files.temporary_names import new_writer, temporary_name
from eechips.manifest.export import write_table
from eechips.manifest.folder_lock import lock_folder
from eechips.processes.parallel_map import parallel_map
from eechips.storage import (
    LocalStore,
    NameTemplate,
    fold_case,
    local_path,
    make_folder,
    name_fields,
    open_atomic,
    safe_component,
    write_file,
)
from eechips.storage.paths import is_device
from tests.support.programs import name_ended_writer

ID = "0123456789abcdef" * 4


@given(st.text())
@example("../../etc/passwd")
@example("..")
@example("con")
@example("é" * 200)
def test_a_component_is_one_safe_name(text: str) -> None:
    found = safe_component(text)
    assert found
    assert found not in (".", "..")
    assert not found.startswith(".")
    assert "/" not in found
    assert "\\" not in found
    assert "\0" not in found
    assert len(found.encode()) <= 121
    assert safe_component(found) == found


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("con", "con_"),
        ("NUL.txt", "NUL_.txt"),
        ("com¹", "com¹_"),
        ("aux.", "aux_"),
        ("nullius", "nullius"),
        ("a.nul", "a.nul"),
    ],
)
def test_a_component_is_no_device_of_windows(text: str, name: str) -> None:
    """With any suffix: https://learn.microsoft.com/windows/win32/fileio/naming-a-file."""
    assert safe_component(text) == name


def test_long_components_stay_apart() -> None:
    assert safe_component("a" * 300 + "b") != safe_component("a" * 300 + "c")


@given(st.text(), st.text())
def test_values_cannot_make_folders_or_leave(first: str, second: str) -> None:
    template = NameTemplate("{first}/x{second}/{id}")
    name = template.render({"kind": "point", "first": first, "second": second}, ID, 0)
    assert name.count("/") == 2
    path = LocalStore(Path("/root/out")).path(name)
    assert Path(os.path.normpath(path)).is_relative_to("/root/out")


ON_WINDOWS = pytest.mark.skipif(os.sep != "\\", reason="elsewhere a backslash is a letter of a name")


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../../x", "", "a\0b", pytest.param("a\\..\\..\\b", marks=ON_WINDOWS)]
)
def test_names_cannot_leave_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="inside the output folder"):
        LocalStore(tmp_path).path(name)


@pytest.mark.parametrize(
    "text",
    ["{id", "/abs/{id}", "a//b", "../{id}", "{a[0]}", "{}", "a/./b", "{a!r}x{", "{a!r:>99999999999}", "{id:1000}"],
)
def test_malformed_templates_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="name template"):
        NameTemplate(text)


def test_fields_come_from_the_unit_and_its_properties() -> None:
    unit = {"kind": "point", "eco_name": "Great Basin", "coordinates": [1, 2], "properties": {"year": 2019}}
    assert NameTemplate("{eco_name}/{year}-{index:05d}-{id}").render(unit, ID, 7) == (
        "Great_Basin/2019-00007-0123456789abcdef"
    )
    assert set(name_fields(unit, ID, 7)) == {"kind", "eco_name", "year", "id", "index"}
    assert NameTemplate("{kind}-{year}").render({"kind": "call", "value": {"year": 3}}, ID, 0) == "call-3"


def test_an_unknown_field_lists_what_there_is() -> None:
    with pytest.raises(UsageError, match=r"asks for 'eco'; a unit has: kind, name, id, index"):
        NameTemplate("{eco}").render({"kind": "point", "name": "x"}, ID, 0)
    unit = {"kind": "image", "region": "B/2", "properties": {"crop": None}}
    with pytest.raises(UsageError, match=r"asks for 'crop', which has no value in unit 7 \(region B/2\)"):
        NameTemplate("{crop}/{region}").render(unit, ID, 7)
    with pytest.raises(UsageError, match="cannot write 'name'"):
        NameTemplate("{name:05d}").render({"kind": "point", "name": "x"}, ID, 0)


def test_a_staged_file_is_invisible_until_it_is_committed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    staged = store.stage("a/b/c.png", b"content", "t1")
    assert [file.name for file in store.files(["a/b"])] == [staged.temporary]
    assert not (tmp_path / "a/b/c.png").exists()
    store.commit(staged)
    assert (tmp_path / "a/b/c.png").read_bytes() == b"content"
    assert (staged.size, staged.sha256) == (7, hashlib.sha256(b"content").hexdigest())
    assert [(file.name, file.size) for file in store.files(["a/b", "missing"])] == [("a/b/c.png", 7)]


def test_leftovers_are_swept(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    writer = new_writer()
    store.stage("a/c.png", b"1", f"{writer}-1")
    store.stage("c.png", b"1", str(writer))
    store.discard(store.stage("d.png", b"1", str(writer)))
    store.commit(store.stage("e.png", b"1", str(writer)))
    assert store.sweep(new_writer()) == 0
    assert store.sweep(writer, own=True) == 2
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["e.png"]


class _FullFile(FileIO):
    def write(self, _: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eechips.storage.local_store.FileIO", _FullFile)
    with pytest.raises(StorageError, match="the disk is full"):
        LocalStore(tmp_path).stage("c.png", b"x", str(new_writer()))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_a_link_with_the_temporary_name_of_a_result_is_not_followed(tmp_path: Path, kind: str) -> None:
    """Who may write to the folder knows the next names, as they have the same token, and may lead writes elsewhere."""
    writer, outside, root = new_writer(), tmp_path / "outside", tmp_path / "root"
    outside.write_bytes(b"kept")
    root.mkdir()
    begun, _, written = temporary_name("c.png", str(writer)).removesuffix(".part").rpartition("-")
    for seconds in range(60):
        link = root / f"{begun}-{int(written, 16) + seconds:x}.part"
        link.symlink_to(outside) if kind == "symbolic" else link.hardlink_to(outside)
    store = LocalStore(root)
    store.commit(store.stage("c.png", b"content", str(writer)))
    assert outside.read_bytes() == b"kept"
    assert not (root / "c.png").is_symlink()
    assert store.read("c.png") == b"content"


def test_a_folder_that_a_link_replaces_is_not_followed(tmp_path: Path) -> None:
    store, outside = LocalStore(tmp_path / "root"), tmp_path / "outside"
    outside.mkdir()
    staged = store.stage("a/1.png", b"content", "t")
    (tmp_path / "root/a").rename(tmp_path / "root/b")
    (tmp_path / "root/a").symlink_to(outside)
    for write in (lambda: store.stage("a/2.png", b"content", "t"), lambda: store.commit(staged)):
        with pytest.raises(UsageError, match="a is a link that leads out of it"):
            write()
    assert list(outside.iterdir()) == []


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    for name in ("a/b.png", "a/b/c.png"):
        with pytest.raises(UsageError, match=r"/a is a file. Choose another name"):
            LocalStore(tmp_path).stage(name, b"x", "t")
    # The folder of the run itself is not a matter of the name.
    with pytest.raises(StorageError, match="could not write"):
        LocalStore(tmp_path / "a").stage("b.png", b"x", "t")
    with pytest.raises(StorageError, match=r"cannot use .* as output folder: .*. Name another by --out"):
        make_folder(tmp_path / "a" / "b")


def test_writing_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_file(path, b"1")
    write_file(path, b"22")
    assert path.read_bytes() == b"22"
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_a_single_file_leaves_nothing_else_after_a_kill_or_a_failure(tmp_path: Path) -> None:
    """Commands that sweep no folder, such as ``card``, left one temporary file more after each kill."""
    path = tmp_path / "README.md"
    ended = name_ended_writer()
    for write in (lambda: write_file(path, b"1"), lambda: write_table(path, pyarrow.schema([]), [])):
        Path(temporary_name(str(path), ended)).write_bytes(b"left by a process that has ended")
        write()
        assert [each.name for each in tmp_path.iterdir()] == ["README.md"]
    path.unlink()
    with pytest.raises(StorageError), open_atomic(path):
        (path / "a").mkdir(parents=True)  # so that no file can be renamed over it
    with pytest.raises(UsageError):
        write_file(path, b"1")
    assert [each.name for each in tmp_path.iterdir()] == ["README.md"]


def test_errors_are_named(tmp_path: Path) -> None:
    error: Any = LocalStore(tmp_path)._failed(tmp_path / "x", OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert "disk is full" in str(error)


@pytest.mark.parametrize(
    ("text", "is_unique"),
    [
        ("{id}", True), ("a/{plot}{id}x", True), ("{index}", True), ("chip{index:06d}", True), ("{plot}_{index}", True),
        ("{index}-{plot}", True), ("{plot}/{index:x}/1", True),
        ("{id:.2}", False), ("{id:>3.1}", False), ("{index:.0e}", False), ("{index:1>4}", False),
        ("{index:0<4}", False),
        ("{plot}{index}", False), ("{index}{plot}", False), ("{a}_{index}_{b}", False), ("{plot}", False),
    ],
)  # fmt: skip
def test_a_template_is_unique_only_if_it_keeps_every_unit_apart(text: str, is_unique: bool) -> None:
    assert NameTemplate(text).is_unique is is_unique


@given(
    st.sampled_from(["{id}", "{index}", "{index:03d}_{a}", "{a}-{index:x}", "c{index:5}", "{a}{id}{b}", "{index},{a}"]),
    st.lists(st.tuples(st.text("01aA_-. é", max_size=130), st.text("01a_", max_size=3)), min_size=2, max_size=40),
)
def test_names_of_a_unique_template_are_different_everywhere(text: str, values: list[tuple[str, str]]) -> None:
    template = NameTemplate(text)
    assert template.is_unique
    names = [
        template.render({"kind": "point", "a": a, "b": b}, hashlib.sha256(str(n).encode()).hexdigest(), n)
        for n, (a, b) in enumerate(values)
    ]
    assert len({fold_case(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("one", "other"), [("Plot", "pLOT"), ("é", "e\u0301"), ("É", "e\u0301"), ("Straße", "STRASSE"), ("ΐ", "Ϊ́")]
)
def test_names_that_a_file_system_may_take_for_one_fold_to_one(one: str, other: str) -> None:
    assert fold_case(one) == fold_case(other)
    assert fold_case(one) != fold_case(one + "x")


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StorageError, match="its file system has no working flock"), lock_folder(tmp_path):
        pytest.fail("it was not locked")


def test_files_that_disappear_while_a_folder_is_listed_are_left_out(tmp_path: Path) -> None:
    """Workers rename their temporary files at any time."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"content")
    found = LocalStore(tmp_path).files(["."])
    first, size, _ = next(found)
    assert size == 7
    for path in tmp_path.iterdir():
        path.unlink()
    assert list(found) == []
    assert first in {"a", "b", "c"}


def test_of_several_that_create_a_file_one_succeeds(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    contents = [b"%d" % number * 1000 for number in range(8)]
    won = [
        data for done, data in parallel_map(lambda data: (store.create("a/b.json", data), data), contents, 8) if done
    ]
    assert len(won) == 1
    assert store.read("a/b.json") == won[0]
    assert not store.create("a/b.json", b"later")
    assert store.read("a/b.json") == won[0]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.json"]


def test_paths_that_libraries_take_for_something_else_are_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert local_path("~/chips") == local_path(Path("~/chips")) == Path("/home/me/chips")
    for name in ("./~", "./~x/y", "~nobody-of-this-name/x", "s3:x", "file:x", "memory:", "GTIFF_DIR:1/x"):
        assert local_path(name) == tmp_path / name
        assert local_path(local_path(name)) == tmp_path / name
    for name in ("a", "a/b:c", ".", "../~", "/a:b", "$HOME"):
        assert local_path(name) == Path(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "path is empty"), ("a\0b", "null character"), ("a\udcffb", "it, or this locale, is not UTF-8")],
)
def test_what_is_no_path_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        local_path(name)


def test_files_in_memory_are_no_devices() -> None:
    assert [is_device(Path(name)) for name in ("/dev/stdout", "/dev/fd/3", "/dev/shm/a.jsonl", "/data/dev")] == [
        *(True, True, False, False)
    ]


def test_a_file_is_kept_if_nothing_was_written_before_an_error(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text("earlier\n")

    def stop(_: int) -> None:
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"), open_atomic(path, keeps=True):
        stop(0)
    assert path.read_text() == "earlier\n"
    with pytest.raises(ValueError, match="stop"), open_atomic(path, keeps=True) as file:
        stop(file.write("now\n"))
    assert path.read_text() == "now\n"
    assert [each.name for each in tmp_path.iterdir()] == ["lines.jsonl"]


@pytest.mark.skipif(os.name == "nt", reason="they are paths there")
@pytest.mark.parametrize("text", ["C:\\Users\\me\\out", "d:/out", "\\\\server\\share"])
def test_paths_of_windows_make_no_folder(text: str) -> None:
    with pytest.raises(UsageError, match=r"is a path of Windows, and this is .*/home/me/out"):
        local_path(text)
    assert local_path("a:b/c").name == "c"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        *((text, "a store is s3://") for text in ("s3:/bucket/out", "S3://bucket/out", "s3://", "file:/out")),
        ("s3://bucket/out", "by the folder of its ledger, such as outputs/s3-bucket-folder"),
        ("https://example.com/fields.geojson", "download it first"),
    ],
)
def test_addresses_make_no_folder(text: str, hint: str) -> None:
    """``Path`` leaves one of the slashes of an address; ``eechips status`` and the like take no address at all."""
    with pytest.raises(UsageError, match=f"is an address, not a file or folder of this machine; .*{hint}"):
        local_path(text)
