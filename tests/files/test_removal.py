"""Removal: nothing is removed that is not known to be eechips' own, and only one module removes."""

from __future__ import annotations

import ast
import os
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from eechips.engine.queues.beam_queue import BEAM_QUEUES, recover
from eechips.errors import StorageError
from eechips.files.abandoned_files import sweep_folder
from eechips.files.removal import (
    LockedFolder,
    NamedPath,
    NotOwnedError,
    RecordedFile,
    ReservedName,
    TemporaryName,
    place_new,
    remove,
    remove_tree,
    set_aside,
)
from eechips.files.scratch_folders import make_scratch, temporary_folder
from eechips.files.temporary_names import SCRATCH_PREFIX, Writer, new_writer, temporary_name
from eechips.manifest.folder_lock import LOCK_NAME, lock_folder
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.storage import LocalStore
from tests.support.programs import run_program
from tests.support.source_tree import source_files

ELSEWHERE = "0123456789ab"


def ended_writer() -> Writer:
    """The writer of a process that has ended."""
    code = "from eechips.files.temporary_names import new_writer; print(new_writer())"
    return Writer.parse(run_program(sys.executable, "-c", code).stdout.strip())


ENDED = ended_writer()


@pytest.fixture(scope="module")
def running() -> Writer:
    """The writer of another process that is running: of the one that started the tests."""
    here = new_writer()
    stat = Path(f"/proc/{os.getppid()}/stat")
    if not stat.exists():
        pytest.skip("processes are found in /proc")
    return replace(here, pid=os.getppid(), started=int(stat.read_text().rpartition(")")[2].split()[19]))


def test_temporary_files_of_this_process_and_of_ended_ones_are_removed_and_those_of_others_stay(
    tmp_path: Path, running: Writer
) -> None:
    own, ended, other, far = (
        tmp_path / temporary_name("a.tif", str(writer))
        for writer in (new_writer(), ENDED, running, replace(ENDED, place=ELSEWHERE))
    )
    for path in (own, ended, other, far):
        path.write_bytes(b"1")
    assert remove(own, NamedPath())
    assert remove(ended, NamedPath())
    for path in (other, far):
        with pytest.raises(NotOwnedError):
            remove(path, NamedPath())
    assert remove(other, NamedPath(running))
    assert not remove(other, NamedPath())


@pytest.mark.parametrize("right", [NamedPath(), TemporaryName(), ReservedName("partial"), LockedFolder(Path())])
def test_a_file_of_the_user_is_never_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: NamedPath | TemporaryName | ReservedName | LockedFolder
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.tif", ".a.part", "partial", ".scratch-mine"):
        (tmp_path / name).write_bytes(b"mine")
        if name != ".scratch-mine" or not isinstance(right, TemporaryName):
            with pytest.raises(NotOwnedError):
                remove(tmp_path / name, right)
        assert (tmp_path / name).read_bytes() == b"mine"


def test_contents_of_a_locked_folder_are_removed_except_links_and_other_runs(tmp_path: Path) -> None:
    folder, outside = tmp_path / "out", tmp_path / "outside"
    for path in (folder / "a" / "old", folder / "nested" / "run" / "deep" / "old", outside / "old"):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"1")
    (folder / "nested" / "run" / LOCK_NAME).touch()
    (folder / "link").symlink_to(outside)
    with pytest.raises(NotOwnedError):
        remove(folder / "a" / "old", LockedFolder(folder))
    with lock_folder(folder):
        assert remove(folder / "a" / "old", LockedFolder(folder))
        for path in (folder / "nested/run/deep/old", folder / "link/old", folder / "link/../outside/old"):
            with pytest.raises(NotOwnedError):
                remove(path, LockedFolder(folder))
        assert remove_tree(folder / "link", LockedFolder(folder))  # the link itself
    assert (outside / "old").exists()
    with pytest.raises(NotOwnedError):
        remove(folder / LOCK_NAME, LockedFolder(folder))


def test_a_changed_result_is_kept(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    staged = store.stage("a.tif", b"pixels", str(new_writer()))
    store.commit(staged)
    right = RecordedFile(staged.size, staged.sha256)
    (tmp_path / "a.tif").write_bytes(b"mine!!")
    assert not remove(tmp_path / "a.tif", right)
    assert (tmp_path / "a.tif").read_bytes() == b"mine!!"
    (tmp_path / "a.tif").write_bytes(b"pixels")
    (tmp_path / "link").symlink_to(tmp_path / "a.tif")
    assert not remove(tmp_path / "link", right)
    assert remove(tmp_path / "a.tif", right)


def test_a_file_in_the_way_is_set_aside_under_a_free_name(tmp_path: Path) -> None:
    for number, content in enumerate((b"first", b"second"), start=1):
        path = tmp_path / "run.json"
        path.write_bytes(content)
        kept = set_aside(path)
        assert (kept.name, kept.read_bytes(), path.exists()) == (f"run.kept-{number}.json", content, False)


def test_a_file_gets_a_new_name_only_if_that_is_free(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "old").write_bytes(b"old")
    assert not place_new(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == b"old"
    assert place_new(tmp_path / "new", tmp_path / "free")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["free", "old"]


@pytest.mark.parametrize("folder", [".", "link"], ids=["same", "link"])
def test_a_file_that_has_its_new_name_already_stays(tmp_path: Path, folder: str) -> None:
    (tmp_path / "link").symlink_to(".")
    (tmp_path / "file").write_bytes(b"content")
    assert place_new(tmp_path / "file", tmp_path / folder / "file")
    assert (tmp_path / "file").read_bytes() == b"content"


@pytest.mark.parametrize("name", ["file", "FILE"])
def test_a_name_that_differs_by_case_loses_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "File").write_bytes(b"content")
    assert place_new(tmp_path / "File", tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"content"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_hard_link_whose_name_differs_by_case_is_another_entry(tmp_path: Path) -> None:
    (tmp_path / "File").write_bytes(b"content")
    if (tmp_path / "file").exists():
        pytest.skip("the disk ignores upper and lower case")
    (tmp_path / "file").hardlink_to(tmp_path / "File")
    assert place_new(tmp_path / "File", tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_folders_of_killed_processes_among_the_temporary_files_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: Writer
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, other = make_scratch(tmp_path, ENDED), make_scratch(tmp_path, running)
    (left / "file").touch()
    with temporary_folder() as folder:
        assert folder.is_dir()
        assert not left.exists()
        assert other.is_dir()
    assert list(tmp_path.iterdir()) == [other]


@pytest.mark.parametrize(
    "token",
    ["../../mine", "..", "", 7, f"{ENDED}-0/../../../mine"],
    ids=["above", "parent", "empty", "number", "ended"],  # that of a process differs between the workers of the tests
)
def test_a_foreign_ledger_removes_no_folder(tmp_path: Path, token: object) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    out = tmp_path / "out"
    (out / "beam").mkdir(parents=True)
    with Ledger(out / LEDGER_NAME) as ledger:
        ledger.store_plan({}, ())
        ledger.note(BEAM_QUEUES, [token])
        with pytest.raises(StorageError, match="damaged or belongs to another user"):
            recover(ledger, LocalStore(out), None)  # type: ignore[arg-type]
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


WRITERS = st.sampled_from(["own", "ended", "running", "far"])
NAMES = st.sampled_from(["a.tif", "b/c.tif", "nest/d.tif", "nest/run/e.tif", "f.part", ".g.part", ".scratch-user"])


@hypothesis.given(st.lists(st.tuples(WRITERS, NAMES, st.booleans()), max_size=20), st.booleans())
def test_a_sweep_removes_what_dead_writers_have_left_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, running: Writer, left: list[tuple[str, str, bool]], own: bool
) -> None:
    root = tmp_path_factory.mktemp("sweep")
    (root / "nest" / "run").mkdir(parents=True)
    (root / "nest" / "run" / LOCK_NAME).touch()
    asking = new_writer("a run")
    writers = {"own": asking, "ended": ENDED, "running": running, "far": replace(ENDED, place=ELSEWHERE)}
    kept: dict[Path, bytes] = {}
    gone: list[Path] = []
    for number, (word, name, is_temporary) in enumerate(left):
        path = root / name
        if is_temporary:
            token = replace(writers[word], number=f"{number:08x}") if word != "own" else asking
            path = path.with_name(temporary_name(f"{number}{path.name}", str(token)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(str(number).encode())
        is_nested = path.is_relative_to(root / "nest" / "run")
        if is_temporary and not is_nested and (word == "ended" or (word == "own" and own)):
            gone.append(path)
        else:
            kept[path] = path.read_bytes()
    for _ in range(2):
        sweep_folder(root, asking, own=own)
        assert not [path for path in gone if path.exists()]
        assert {path: path.read_bytes() for path in kept} == kept


# Where files are removed or replaced outside of eechips.files.removal, and why that is right.
ALLOWED = {
    "files/removal.py": "the module itself",
    "eechips_local/archives/items/file_table.py": "a cache",
    "eechips_local/archives/files/range_cache.py": "a cache",
    "eechips_local/assets/store_files.py": "the same for the local Earth Engine, which shares no code with the rest",
    "eechips_local/demo/painting/drawing_cache.py": "a cache",
    "storage/single_files.py": "temporary name; in place what is no regular file",
    "storage/object_backends.py": "the calls of a store, which only object_store.py makes",
    "storage/object_store.py": "objects: staged and abandoned ones by their names, results by their recorded content",
}
# Where files are written in place: under a temporary name, in a scratch folder, or by adding to their end.
WRITTEN = {
    "files/removal.py": "the module itself",
    "storage/single_files.py": "temporary name; in place what is no regular file",
    "storage/local_copies.py": "scratch folder",
    "storage/local_store.py": "a second name, which the system gives only if it is free",
    "lockfile/lockfile_format.py": "a member of an archive under a temporary name",
    "eechips_local/assets/store_files.py": "temporary name",
    "archive/catalogs/partitions/commit.py": "scratch folder",
    "archive/catalogs/ingestion/ingest.py": "scratch folder",
    "archive/catalogs/update.py": "scratch folder",
    "cubes/box_cache.py": "a lock, never written to",
    "training/formats/hdf5.py": "scratch folder of the pack",
    "training/formats/tfrecord.py": "scratch folder of the pack",
    "training/formats/webdataset.py": "scratch folder of the pack",
    "scripts/pooling/appended_files.py": "in place, as a script may hold the file open",
    "training/packs/shard_writer.py": "journal, to which lines are added",
    "training/quality/quality_table.py": "journal, to which lines are added",
    "archive/downloads/partial_files.py": "second name of a file on its way",
    "engine/executors/beam.py": "log, to which lines are added",
    "engine/service/local_server.py": "log of the server of this run, whose lock is held",
    "engine/run_log.py": "log, to which lines are added",
    "archive/scenes/assembly.py": "temporary name, of Results.make",
    "archive/scenes/search.py": "scratch folder",
    "manifest/folder_lock.py": "the note of the holder in the lock file",
    "scripts/working_folder.py": "links to inputs, or copies in their place, in the stage of a call",
    "formats/large_tables.py": "temporary name, of Results.make",
    "formats/mosaic_cog.py": "scratch folder",
    "eechips_local/assets/ingestion/asset_ingestion.py": "scratch folder",
    "eechips_local/assets/ingestion/cogs.py": "scratch folder",
    "eechips_local/quota/compute_quota.py": "appends to a file of the parent process",
    "eechips_local/assets/ingestion/pyramids.py": "scratch folder",
    "eechips_local/assets/ingestion/image_manifest.py": "scratch folder of the task",
    "eechips_local/assets/ingestion/linked_files.py": "scratch folder",
    "eechips_local/assets/ingestion/table_manifest.py": "scratch folder of the task",
    "eechips_local/assets/vectors/vector_formats.py": "scratch folder of the caller",
    "eechips_local/assets/vectors/vector_reader.py": "scratch folder of the caller",
    "geo/vector_formats.py": "scratch folder of the caller",
    "geo/vector_reader.py": "scratch folder of the caller",
    "eechips_local/demo/painting/drawing_cache.py": "temporary name",
    "eechips_local/exports/image_grids.py": "scratch folder of the task",
    "eechips_local/exports/map_exports.py": "scratch folder of the task",
    "eechips_local/exports/patch_files.py": "scratch folder of the task",
    "eechips_local/exports/table_exports.py": "scratch folder of the task",
    "eechips_local/exports/tf_records.py": "scratch folder of the task",
    "eechips_local/exports/videos.py": "scratch folder of the task",
    "eechips_local/recording/recording_archive.py": "scratch folder",
    "eechips_local/recording/recording_folder.py": "scratch folder",
    "eechips_local/evaluation/function_coverage.py": "documentation of the developers",
    "commands/command.py": "text of the help, no file",
    "eechips_local/pytest_plugin.py": "folder of the session",
}
REMOVING = {
    "unlink",
    "rmtree",
    "rmdir",
    "removedirs",
    "renames",
    "rm_file",
    "remove",
    "rename",
    "replace",
    "move",
    "rm",
}
WRITING = {
    "write_text",
    "write_bytes",
    "copyfile",
    "copytree",
    "copy2",
    "symlink_to",
    "hardlink_to",
    "link",
    "truncate",
}
WRITING |= {"ftruncate", "mkdtemp", "mkstemp", "NamedTemporaryFile", "TemporaryDirectory"}
WORDS = re.compile(rf"\.({'|'.join(REMOVING | WRITING | {'open'})})\b")


def calls(tree: ast.AST, names: set[str]) -> list[tuple[ast.Call, str, str]]:
    """Calls of what has one of the names, with the name and the whole text of what is called."""
    return [
        (node, node.func.attr, ast.unparse(node.func))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names
    ]


def removals(tree: ast.AST) -> list[str]:
    """Calls that remove or rename files. Texts, lists and images have methods of the same names."""
    found = []
    for node, name, text in calls(tree, REMOVING):
        is_system = text.startswith(("os.", "shutil."))
        if name in ("remove", "move", "rename", "rm") and not is_system:
            continue
        if name == "replace" and not is_system and (len(node.args) != 1 or node.keywords):
            continue  # str.replace has two, datetime.replace none but named ones
        found.append(f"{node.lineno}: {text}")
    return found


def writes(tree: ast.AST) -> list[str]:
    """Calls that write files by name."""
    found = [f"{node.lineno}: {text}" for node, _, text in calls(tree, WRITING)]
    for node, _, text in calls(tree, {"open"}):
        modes = [
            each.value for each in (*node.args, *(k.value for k in node.keywords)) if isinstance(each, ast.Constant)
        ]
        words = [mode for mode in modes if isinstance(mode, str) and mode and set(mode) <= set("rwabx+t:gz")]
        if any(set(mode) & set("wax+") for mode in words):
            found.append(f"{node.lineno}: {text}")
    return found


@pytest.mark.slow
def test_only_one_module_removes_and_replaces_files() -> None:
    found: dict[str, list[str]] = {}
    for name, path in source_files().items():
        source = path.read_text(encoding="utf-8")
        if not WORDS.search(source):  # parsing takes longer
            continue
        tree = ast.parse(source)
        removed = [] if name in ALLOWED else removals(tree)
        written = [] if name in WRITTEN or name in ALLOWED else writes(tree)
        if removed or written:
            found[name] = removed + written
    assert found == {}


@pytest.mark.slow
def test_every_exception_is_needed() -> None:
    sources = source_files()
    trees = {name: ast.parse(sources[name].read_bytes()) for name in ALLOWED | WRITTEN}
    assert [name for name, tree in trees.items() if not removals(tree) + writes(tree)] == []


@pytest.mark.parametrize(
    ("code", "is_found"),
    [
        ("path.unlink()", True), ("os.remove(x)", True), ("a.replace(b)", True), ("os.replace(a, b)", True),
        ("shutil.rmtree(x)", True), ("text.replace('a', 'b')", False), ("items.remove(x)", False),
        ("folder.rmdir()", True), ("shutil.move(a, b)", True), ("moment.replace(tzinfo=None)", False),
    ],
)  # fmt: skip
def test_the_check_of_the_package_finds_removals(code: str, is_found: bool) -> None:
    assert bool(removals(ast.parse(code))) == is_found


@pytest.mark.parametrize(
    ("code", "is_found"),
    [
        ("path.open('w')", True), ("path.open('rb')", False), ("path.write_text('w')", True),
        ("rasterio.open(p, 'r+')", True), ("path.open(mode='x')", True), ("tempfile.mkdtemp()", True),
    ],
)  # fmt: skip
def test_the_check_of_the_package_finds_writes(code: str, is_found: bool) -> None:
    assert bool(writes(ast.parse(code))) == is_found


def test_names_of_scratch_folders_are_reserved() -> None:
    assert make_scratch.__module__ == "eechips.files.scratch_folders"
    assert SCRATCH_PREFIX.startswith(".")
