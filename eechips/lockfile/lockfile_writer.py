"""Write the lockfile of a run: its units, the checksums of their results, and what makes them again; say which runs
cannot be locked.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eechips.errors import StorageError, UsageError
from eechips.files.local_paths import expand_home, is_file
from eechips.lockfile.content_hashes import LARGEST_CONTENT, hash_content
from eechips.lockfile.lockfile_format import LARGEST_INPUT, Lockfile, write_lockfile
from eechips.lockfile.lockfile_records import LockedAsset, LockedFile, LockedInput, LockedUnit, LockHeader
from eechips.manifest.extensions import plan_parts, read_completions
from eechips.manifest.manifest_columns import State, decode_columns
from eechips.manifest.metadata_keys import ASSEMBLED, PLANS_GRADUALLY
from eechips.manifest.run import Run, open_run
from eechips.manifest.run_signature import is_own
from eechips.manifest.source_files import SourceFile, hash_versions, read_source_files
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_queries import FilesAhead, read_files, read_sources, read_unit_files
from eechips.processes.parallel_map import parallel_map
from eechips.recipe.asset_version import AssetVersion
from eechips.storage import ObjectStore, Store
from eechips.text.timestamps import parse_timestamp
from eechips.web.redaction import REDACTED

_METADATA = ("bands", "dtype", "crs", "transform", "sources", "dates")
_COLUMNS = ("position", "lower(hex(id))", "unit", "name", "state", "finished", "file", "bytes", "sha256", *_METADATA)
_SCENES = "scenes"  # a recipe
_WITHOUT = "Without a lockfile, `eechips verify {}` compares its files with their sha256"
_READERS = 8  # files of an object store that are read at once
_SHAPEFILE = (".shp", ".shx", ".dbf", ".prj", ".cpg")


@dataclass(frozen=True, slots=True)
class ServiceQueries:
    """Queries of the service and the recipe about assets and units.

    Attributes:
        versions: returns the versions of assets that exist, by id.
        expression: returns the SHA-256 of what a unit, given by its position and JSON, requests; None if it is unknown.
    """

    versions: Callable[[Iterable[str]], Mapping[str, AssetVersion]]
    expression: Callable[[int, str], str | None]


ConnectToSource = Callable[[LockHeader, Mapping[tuple[str, str], str]], AbstractContextManager[ServiceQueries]]
"""Connects to the service of a run: receives what the lockfile says of it, and the paths of the files that the command
reads, by option and value."""


def lock_run_results(
    run: Run,
    path: Path,
    inputs: Callable[[str], frozenset[str]],
    connect: ConnectToSource,
    tell: Callable[[], object] = lambda: None,
) -> tuple[LockHeader, tuple[str, ...]]:
    """Write the lockfile of a run.

    Args:
        inputs: returns the names of the options of a command that may be paths of files.

    Returns:
        What it says of the run as a whole, and the ids of the assets that have changed since their results were
        fetched: the lockfile has no version of them.

    Raises:
        UsageError: if the run is not finished, or nothing can make it again, or there is another file of this name.
        StorageError: if a file is missing or has changed, or the lockfile cannot be written.
    """
    run = open_run(run.path) if run.results is None else run
    info = run.info
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        meta = ledger.meta()
        command, options = _call(run, info, meta)
        counts = _count(run, ledger)
        files = [(option, value) for option in inputs(command) for value in _texts(options.get(option))]
        input_files = list(_read_inputs(run, info, files))
        store = run.store
        header = LockHeader(
            command=command,
            options=options,
            inputs=tuple(input_file.locked for input_file in input_files),
            assets=0,
            assembled=tuple(
                _locked(store, file["file"], file["bytes"], file["sha256"]) for file in meta.get(ASSEMBLED) or ()
            ),
            extensions=tuple(replace(part, command="") for part in plan_parts(meta)),
            **counts,
            **_describe_run(info, meta),
        )
        _check_replaced(path, header)
        paths: dict[tuple[str, str], str] = {}
        for input_file in input_files:
            paths.setdefault((input_file.locked.option, input_file.locked.path), str(input_file.path.absolute()))
        with connect(header, paths) as queries:
            assets, replaced = _assets(ledger, header, queries, archive_versions(run.path))
            header = replace(header, assets=len(assets))
            data, lines = (input_file.data for input_file in input_files), (asset.to_line() for asset in assets)
            write_lockfile(path, header, data, lines, _lines(ledger, store, queries, tell))
    return header, replaced


def _check_replaced(path: Path, header: LockHeader) -> None:
    """Raise UsageError if a file that the lockfile replaces is not an earlier lockfile of the same run."""
    if not path.exists():
        return
    try:
        with Lockfile(path) as earlier:
            there = earlier.header
    except (UsageError, StorageError):
        raise UsageError(f"{path} is not a lockfile and is not replaced: choose another `out`") from None
    if (there.identity, there.started) != (header.identity, header.started):
        when = f", of {there.started[:10]}" if there.started else ""
        raise UsageError(f"{path} is the lockfile of another run ({there.recipe}{when}): choose another `out`")


def archive_versions(folder: Path) -> dict[str, AssetVersion]:
    """Return the versions that images of open archives had when a run read them, by their ids.

    Raises:
        StorageError: if its sources.parquet is damaged.
    """
    files: dict[str, list[SourceFile]] = {}
    for file in read_source_files(folder):
        files.setdefault(file.source, []).append(file)
    return {source: AssetVersion(etags=hash_versions(image_files)) for source, image_files in files.items()}


def _assets(
    ledger: Ledger, header: LockHeader, queries: ServiceQueries, known: Mapping[str, AssetVersion]
) -> tuple[list[LockedAsset], tuple[str, ...]]:
    """Return the assets that results show, and the ids of those that have changed since.

    An asset whose last change is earlier than the results that show it had the same version then.

    Args:
        known: versions that were recorded when the results were fetched, also of images that results do not name.
    """
    fetched = {**dict.fromkeys(sorted(known)), **dict(read_sources(ledger.database))}
    others = {str(dataset["id"]) for dataset in header.datasets if dataset.get("id")} - fetched.keys()
    shown = {name.rpartition("/")[0] for name in fetched}  # collections whose images are named need no version
    fetched |= dict.fromkeys(sorted(others - shown), header.started)
    versions = {**queries.versions([name for name in fetched if name not in known]), **known}
    assets, replaced = [], []
    for name, moment in fetched.items():
        version = versions.get(name, AssetVersion())
        time = None if moment is None else parse_timestamp(moment)
        if time is not None and version.is_later(time):
            replaced.append(name)
            version = AssetVersion()
        assets.append(LockedAsset(name, version))
    return assets, tuple(replaced)


def _call(run: Run, info: Mapping[str, Any], meta: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the command and the options that make a run again."""
    call, without = info.get("call"), _WITHOUT.format(shlex.quote(str(run.path)))
    if meta.get(PLANS_GRADUALLY):
        raise UsageError(
            f"{run.path} cannot be locked: a script made it, and its units are unknown before the script runs. Write a"
            f" recipe of two functions instead (eechips init), and run that. {without}"
        )
    if meta.get("recipe") == _SCENES:
        raise UsageError(
            f"{run.path} cannot be locked: its files were downloaded from a catalogue, and do not come from Earth"
            " Engine. Its items.parquet and manifest.parquet have their addresses and checksums."
            f" {without}"
        )
    if (
        not isinstance(call, dict)
        or not isinstance(call.get("command"), str)
        or not isinstance(call.get("options"), dict)
    ):
        raise UsageError(
            f"{run.path} cannot be locked: run.json has no command that makes it again, because functions of a program"
            " or notebook, or an earlier version of eechips, made it. Put the functions into a file, and run it with"
            f" `eechips run FILE`. {without}"
        )
    if REDACTED in json.dumps(call["options"]):
        raise UsageError(f"{run.path} cannot be locked: an option of its command contained a secret, which is not kept")
    return call["command"], call["options"]


def _describe_run(info: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a header says of the recipe, the service, the software and the time, by the names of its fields."""
    return {
        "recipe": str(meta.get("recipe")),
        "identity": str(meta.get("identity")),
        "source": str(meta.get("source") or ""),
        "datasets": tuple(info.get("datasets") or ()),
        "versions": info.get("versions") or {},
        "started": info.get("started"),
        "finished": info.get("finished"),
    }


def _count(run: Run, ledger: Ledger) -> dict[str, Any]:
    """Count what is locked, by the names of the header's fields; raise UsageError if the run has open units."""
    counts = ledger.counts()
    if ledger.is_partial or counts.get(State.PLANNED) or not any(state.has_result for state in counts):
        raise UsageError(f"{run.path} is not finished: repeat its command first")
    results = _with_results(ledger)
    kept = _complete(ledger, results)
    sizes = [file.size for file in read_files(ledger.database) if file.position in kept]
    left_out = sum(count for state, count in counts.items() if not state.has_result) + len(results) - len(kept)
    return {"units": len(kept), "files": len(sizes), "bytes": sum(sizes), "left_out": left_out}


def _complete(ledger: Ledger, results: frozenset[int]) -> frozenset[int]:
    """Return units with results without those whose sample lacks the result of another unit, by their positions."""
    samples = ({first, *further} for first, further in read_completions(ledger).items())
    return results.difference(*(sample for sample in samples if not sample <= results))


def _with_results(ledger: Ledger) -> frozenset[int]:
    """Return the positions of the units with results that no other unit replaces."""
    replaced = {position for (position,) in ledger.rows(("replaces",))}
    return frozenset(
        position
        for position, state, file in ledger.rows(("position", "state", "file"))
        if State(state).has_result and not (file is None and position in replaced)
    )


def _lines(ledger: Ledger, store: Store, queries: ServiceQueries, tell: Callable[[], object]) -> Iterator[str]:
    """Yield the units of a lockfile, each as a line."""

    def line(unit: LockedUnit) -> str:
        files = tuple(
            _locked(store, file.file, file.bytes, file.sha256, file.layer, file.metadata) for file in unit.files
        )
        tell()
        return replace(unit, files=files).to_line()

    units = (replace(unit, expression=queries.expression(unit.position, unit.unit)) for unit in _units(ledger))
    return parallel_map(line, units, _READERS) if isinstance(store, ObjectStore) else map(line, units)


def _units(ledger: Ledger) -> Iterator[LockedUnit]:
    """Yield the units of a lockfile in the order of the plan; their files have no hashes of content yet."""
    kept = _complete(ledger, _with_results(ledger))
    several = FilesAhead(read_unit_files(ledger.database))
    for position, identifier, unit, name, state, finished, file, size, digest, *metadata in ledger.rows(_COLUMNS):
        files = tuple(map(_locked_file, several.of(position)))
        if position not in kept:
            continue
        if not files and file is not None:
            fields = decode_columns(zip(_METADATA, metadata, strict=True))
            files = (LockedFile(file, size, digest, metadata=fields),)
        yield LockedUnit(position, identifier, unit, name, State(state), finished, files)


def _locked_file(row: tuple[Any, ...]) -> LockedFile:
    """Return a file of :func:`read_unit_files`, without hashes of its content."""
    _, _, layer, file, size, digest, metadata = row
    fields = decode_columns((name, value) for name, value in json.loads(metadata).items() if name in _METADATA)
    return LockedFile(file, size, digest, layer or "", fields)


def _locked(
    store: Store, file: str, size: int, digest: str, layer: str = "", metadata: Mapping[str, Any] | None = None
) -> LockedFile:
    """Read a result, and return it with the hashes of its content.

    Raises:
        StorageError: if it is missing, or has changed since it was recorded.
    """
    data: bytes | None = None
    try:
        if size <= LARGEST_CONTENT:
            data = store.read(file)
        actual_digest = store.sha256(file) if data is None else hashlib.sha256(data).hexdigest()
    except (FileNotFoundError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StorageError(f"{file} cannot be locked: {reason}. The same command fetches missing files again") from None
    if actual_digest != digest:
        raise StorageError(
            f"{file} cannot be locked: it has changed since it was recorded. Remove it, and the same command fetches it"
        )
    hashes = None if data is None else hash_content(data, file.rpartition(".")[2])
    return LockedFile(file, size, digest, layer, metadata or {}, hashes)


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


@dataclass(frozen=True, slots=True)
class _InputFile:
    """A file that the command reads, with its place and its content."""

    locked: LockedInput
    path: Path
    data: bytes


def _read_inputs(run: Run, info: Mapping[str, Any], values: list[tuple[str, str]]) -> Iterator[_InputFile]:
    """Yield the files that a command reads.

    Raises:
        UsageError: if one is too large, or the command is another user's: it could name any file of this machine.
    """
    for option, value in values:
        path = Path(info.get("directory") or ".", expand_home(value))
        for file in _with_companions(path):
            if not is_file(file):
                continue
            if not is_own(info, run.path):
                raise UsageError(
                    f"{run.path} was made by another user, or moved, and its command reads {value}: to read that file"
                    f" and put it into the lockfile: eechips trust {shlex.quote(str(run.path))}"
                )
            if file.stat().st_size > LARGEST_INPUT:
                raise UsageError(f"{file} is too large for a lockfile: {LARGEST_INPUT >> 20} MiB is the most")
            data = file.read_bytes()
            yield _InputFile(LockedInput(option, value, file.name, hashlib.sha256(data).hexdigest()), file, data)


def _with_companions(path: Path) -> list[Path]:
    """Return a file, and those that a shapefile consists of."""
    if path.suffix.lower() != _SHAPEFILE[0]:
        return [path]
    return [path, *(path.with_suffix(suffix) for suffix in _SHAPEFILE[1:])]
