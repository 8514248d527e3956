"""Compare a rebuilt run with its lockfile, what its command requests and its results, and write ``rebuild.csv`` and
``rebuild-assets.csv``.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from eechips.errors import RunMismatchError, StorageError, UsageError, ValidationError
from eechips.lockfile.content_hashes import LARGEST_CONTENT, ContentChange, compare_contents, hash_content
from eechips.lockfile.lockfile_format import Lockfile
from eechips.lockfile.lockfile_records import LockedFile, LockedUnit, LockHeader
from eechips.lockfile.lockfile_writer import ServiceQueries, archive_versions
from eechips.manifest.manifest_columns import State
from eechips.manifest.metadata_keys import ASSEMBLED
from eechips.manifest.run import Run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_queries import FilesAhead, read_files
from eechips.recipe.asset_version import AssetVersion
from eechips.storage import Store, write_file
from eechips.text.formatting import format_spreadsheet, short_digest

REBUILD_NAME, REPLACED_NAME = "rebuild.csv", "rebuild-assets.csv"

_VERSION = re.compile(r"[0-9][0-9A-Za-z.+]{0,60}")
_COLUMNS = ("file", "unit", "layer", "difference", "share", "largest_share", "column", "row", "width", "height",
            "bands", "sources", "replaced", "details")  # fmt: skip
_ASSET_COLUMNS = ("asset", "before", "now", "files", "changed", "share")


class Difference(str, Enum):
    """How a file differs from that of the lockfile.

    ``values``: pixels or rows have changed. ``encoding``: the bytes have changed, and no value. ``unknown``: the bytes
    have changed, and values of such files are not compared. ``missing``: there is no file now. ``new``: there was none.
    ``failed``: its unit failed, so that it may be there after a repetition.
    """

    VALUES = "values"
    ENCODING = "encoding"
    UNKNOWN = "unknown"
    MISSING = "missing"
    NEW = "new"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RebuiltFile:
    """A file that differs from that of the lockfile.

    Attributes:
        file: path below the folder.
        unit: its id, hexadecimal; empty for a file made of all results.
        layer: its name among the files of the unit; empty if there is one.
        change: change of the content; None if it was not compared.
        bands: names of the bands that have changed; empty if all have, or it is unknown.
        sources: ids of the assets that the file shows, as far as the lockfile knows them.
        replaced: those of them that have another version now, or are gone.
        details: in words; empty if there are none.
    """

    file: str
    unit: str
    layer: str
    difference: Difference
    change: ContentChange | None = None
    bands: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    details: str = ""


@dataclass(frozen=True, slots=True)
class ReplacedAsset:
    """An asset that has another version than in the lockfile.

    Attributes:
        before: in the lockfile: ``system:version``, or the digest of the ETags of an archive's files.
        now: likewise; None if the asset is gone.
        files: number of files that show it.
        changed: number of these that have other values, or cannot be compared.
        share: mean share of pixels that have changed, over all files that show it; None if it cannot be told.
    """

    id: str
    before: int | str
    now: int | str | None
    files: int = 0
    changed: int = 0
    share: float | None = 0.0

    def add(self, rebuilt_file: RebuiltFile | None) -> ReplacedAsset:
        """Return the asset with a further file that shows it; None is a file that is the same to the byte."""
        is_changed = rebuilt_file is not None and rebuilt_file.difference is not Difference.ENCODING
        share: float | None = 0.0
        if rebuilt_file is not None and is_changed:
            share = None if rebuilt_file.change is None else rebuilt_file.change.share
        mean = None if share is None or self.share is None else self.share + (share - self.share) / (self.files + 1)
        return replace(self, files=self.files + 1, changed=self.changed + is_changed, share=mean)


@dataclass(frozen=True, slots=True)
class Rebuild:
    """The results of a lockfile that were fetched again.

    Attributes:
        same: number of files that are the same to the byte.
        files: number of files of the lockfile.
        empty: number of units without a file, in the lockfile and now.
        differences: files that are not the same, in the order of the plan.
        replaced: assets that have another version now, whether or not pixels have changed.
        other_expressions: number of units for which this eechips requests something else than the lockfile's did.
        is_finished: whether every unit was fetched; False after an interruption.
    """

    run: Run
    same: int
    files: int
    empty: int
    differences: tuple[RebuiltFile, ...]
    replaced: tuple[ReplacedAsset, ...] = ()
    other_expressions: int = 0
    is_finished: bool = True

    @property
    def is_same(self) -> bool:
        """Return whether every file is the same to the byte."""
        return self.is_finished and not self.differences

    @property
    def counts(self) -> dict[str, int]:
        """Files by difference; differences without files are left out."""
        tally = Counter(rebuilt_file.difference for rebuilt_file in self.differences)
        return {kind.value: tally[kind] for kind in Difference if tally[kind]}


def check_identity(header: LockHeader, identity: str, here: str) -> None:
    """Check that a recipe requests what the run of a lockfile requested; raise RunMismatchError if it does not."""
    if header.identity != identity:
        there = str(header.versions.get("eechips"))
        if there == here or not _VERSION.fullmatch(there):  # others write it, and the message has it in a command
            raise RunMismatchError(
                "the command and the options of the lockfile request other results than it has: somebody has changed"
                " it, or it was made by another build of eechips"
            )
        raise RunMismatchError(
            f"eechips {here} requests other results than eechips {there}, which made the lockfile, did by the same"
            f" command: pip install eechips=={there}"
        )


def compare(
    lockfile: Lockfile,
    run: Run,
    queries: ServiceQueries,
    old: Run | None = None,
    tell: Callable[[], object] = lambda: None,
) -> Rebuild:
    """Compare the results of a run with those of a lockfile, and write ``rebuild.csv`` and ``rebuild-assets.csv``.

    Args:
        queries: what the service and the recipe say now.
        old: the run of the lockfile, for exact shares; its files that have changed are not used.

    Raises:
        StorageError: if the lockfile or the ledger is damaged, or a table cannot be written.
    """
    same = empty = others = 0
    differences: list[RebuiltFile] = []
    old_store = None if old is None else old.store
    replaced = _find_replaced(lockfile, queries, run.path)
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        now = _now(ledger)
        for unit, state, files in _paired(lockfile.units(), now):
            if unit.expression is not None:
                others += queries.expression(unit.position, unit.unit) not in (None, unit.expression)
            for file in unit.files:
                difference = _difference(run.store, old_store, unit.id, file, files.get(file.file), state)
                shown = tuple(name for name in _sources(file) if name in replaced)
                for name in shown:
                    replaced[name] = replaced[name].add(difference)
                differences += [] if difference is None else [replace(difference, replaced=shown)]
                same += difference is None
            for name in sorted(files.keys() - {file.file for file in unit.files}):
                differences.append(RebuiltFile(name, unit.id, "", Difference.NEW))
            if not unit.files and not files and state.has_result:
                empty += 1
            elif not unit.files and not files:
                differences.append(RebuiltFile(unit.name, unit.id, "", Difference.FAILED, details="its unit failed"))
            tell()
        digests = {assembled["file"]: assembled["sha256"] for assembled in ledger.meta().get(ASSEMBLED) or ()}
    for file in lockfile.header.assembled:
        difference = _difference(run.store, old_store, "", file, digests.get(file.file), State.DONE)
        differences += [] if difference is None else [difference]
        same += difference is None
    count = lockfile.header.files + len(lockfile.header.assembled)
    assets = tuple(replaced.values())
    _write_table(run.path / REBUILD_NAME, _COLUMNS, map(_row, differences))
    _write_table(run.path / REPLACED_NAME, _ASSET_COLUMNS, map(_asset_row, assets))
    return Rebuild(run, same, count, empty, tuple(differences), assets, others)


def _find_replaced(lockfile: Lockfile, queries: ServiceQueries, folder: Path) -> dict[str, ReplacedAsset]:
    """Return the assets of a lockfile whose version has changed, by id; the new run knows the versions of archives."""
    before = {locked.id: locked.version for locked in lockfile.assets()}
    of_archives = archive_versions(folder)
    now = {**queries.versions([name for name, locked in before.items() if locked.version is not None]), **of_archives}
    replaced = {}
    for name, version in before.items():
        current = now.get(name, AssetVersion())
        if version.version is not None and current.version != version.version:
            replaced[name] = ReplacedAsset(name, version.version, current.version)
        elif version.etags is not None and name in of_archives and current.etags != version.etags:
            replaced[name] = ReplacedAsset(name, version.etags, current.etags)
    return replaced


def _sources(file: LockedFile) -> tuple[str, ...]:
    return tuple(map(str, file.metadata.get("sources") or ()))


def _now(ledger: Ledger) -> Iterator[tuple[int, State, dict[str, str | None]]]:
    """Yield position, state, and SHA-256 by path of the files of each unit, in the order of the plan."""
    files = FilesAhead(read_files(ledger.database))
    for position, state in ledger.rows(("position", "state")):
        yield position, State(state), {file.name: file.sha256 for file in files.of(position)}


def _paired(
    units: Iterable[LockedUnit], now: Iterator[tuple[int, State, dict[str, str | None]]]
) -> Iterator[tuple[LockedUnit, State, dict[str, str | None]]]:
    """Yield the units of a lockfile with their new states and files."""
    for unit in units:
        for position, state, files in now:
            if position == unit.position:
                yield unit, state, files
                break
        else:
            raise RunMismatchError(f"unit {short_digest(unit.id)} of the lockfile is not in the plan of the run")


def _difference(
    store: Store, old_store: Store | None, unit: str, file: LockedFile, digest: str | None, state: State
) -> RebuiltFile | None:
    """Describe how a file differs, None if it is the same; ``digest`` is the new SHA-256, None if there is no file."""
    if digest == file.sha256:
        return None
    sources = _sources(file)
    if digest is None:
        is_failed = not state.has_result
        kind, details = (Difference.FAILED, "its unit failed") if is_failed else (Difference.MISSING, "it has no data")
        return RebuiltFile(file.file, unit, file.layer, kind, sources=sources, details=details)
    is_compared, change = _change(store, old_store, file)
    if not is_compared:
        return RebuiltFile(file.file, unit, file.layer, Difference.UNKNOWN, sources=sources)
    if change is None:
        return RebuiltFile(file.file, unit, file.layer, Difference.ENCODING, sources=sources)
    names = file.metadata.get("bands") or ()
    is_named = bool(change.bands) and len(change.bands) < len(names)
    bands = tuple(str(names[number]) for number in change.bands if number < len(names)) if is_named else ()
    return RebuiltFile(
        file.file, unit, file.layer, Difference.VALUES, change, bands, sources=sources, details=change.reason
    )


def _change(store: Store, old_store: Store | None, file: LockedFile) -> tuple[bool, ContentChange | None]:
    """Return whether the content of a file can be compared, and how it differs."""
    size = store.size(file.file)
    if file.hashes is None or size is None or size > LARGEST_CONTENT:
        return False, None
    suffix, data = file.file.rpartition(".")[2], store.read(file.file)
    before = _old_content(old_store, file)
    if before is not None:
        try:
            return True, compare_contents(before, data, suffix)
        except (ValidationError, UsageError, StorageError, io.UnsupportedOperation):
            return False, None
    hashes = hash_content(data, suffix)
    if hashes is None or type(hashes) is not type(file.hashes):
        return False, None
    return True, file.hashes.compare(hashes)  # type: ignore[arg-type]


def _old_content(store: Store | None, file: LockedFile) -> bytes | None:
    """Return the old content of a file; None if it is not there, or is another."""
    if store is None:
        return None
    try:
        data = store.read(file.file)
    except (OSError, StorageError):
        return None
    return data if hashlib.sha256(data).hexdigest() == file.sha256 else None


def _row(rebuilt_file: RebuiltFile) -> tuple[object, ...]:
    change = rebuilt_file.change or ContentChange()
    return (
        rebuilt_file.file,
        rebuilt_file.unit,
        rebuilt_file.layer,
        rebuilt_file.difference.value,
        _number(change.share),
        _number(change.largest_share),
        *(change.window or ("", "", "", "")),
        " ".join(rebuilt_file.bands),
        " ".join(rebuilt_file.sources),
        " ".join(rebuilt_file.replaced),
        rebuilt_file.details,
    )


def _asset_row(asset: ReplacedAsset) -> tuple[object, ...]:
    now = "" if asset.now is None else asset.now
    return asset.id, asset.before, now, asset.files, asset.changed, _number(asset.share)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[tuple[object, ...]]) -> None:
    write_file(path, format_spreadsheet([columns, *rows]).encode())
