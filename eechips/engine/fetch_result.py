"""Fetch the result of a unit, by requests or an export; cut shared requests into chips; encode what the recipe
returned, refuse other types, and validate it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

from eechips.client import retry
from eechips.client.chip_groups import SharedChip, SharedMember
from eechips.client.chip_parts import lies_beyond
from eechips.client.error_classification import raising_recipe_errors
from eechips.client.exports.export_place import ExportPlace
from eechips.client.exports.export_tasks import check_mark, export_obstacle, read_rows, start_export
from eechips.client.fetcher import Fetcher, StoredChip
from eechips.client.http.transport import Transport
from eechips.engine.outcome import Outcome, StartedExports
from eechips.engine.worker_spec import WorkerSpec
from eechips.errors import PermanentError, RecipeError, TooLargeError, ValidationError
from eechips.files.temporary_names import Writer
from eechips.formats import CHIP_FORMATS, EncodedFile, Expectation, npy, sniff, table_format, validate
from eechips.formats.chip_format import DecodedChip, UncertainMaskError
from eechips.formats.raster import check_certain, paste_parts
from eechips.formats.table import arrange_columns
from eechips.geo.grid import Part
from eechips.manifest.manifest_columns import WorkUnit
from eechips.recipe import Chip, FrameStack, Table
from eechips.storage import ObjectStore

_MOST_REREADS = 3  # of an exported file that is not as requested


def fetch_result(fetcher: Fetcher, result: Any, ready: Mapping[int, EncodedFile] | None = None) -> EncodedFile:
    """Return the file of a result.

    Args:
        result: what a recipe has returned, or one of several: a Chip, a FrameStack, a Table, bytes or an array.
        ready: files of chips that were fetched in shared requests, by the identity of the chip.

    Raises:
        RecipeError: if it is something else.
        RequestError: classified, if the service does not answer, or its response is not as requested.
        ee.EEException: if the service refuses the expression.
    """
    if ready is not None and id(result) in ready:
        return ready[id(result)]
    if isinstance(result, Chip):
        empty = empty_file(result)
        if empty is not None:
            return empty
        fetched: EncodedFile = fetcher.chip(result, _receive, partial(_assemble, result))
        return fetched
    if isinstance(result, FrameStack):
        stack = CHIP_FORMATS.get(result.format).stack
        assert stack is not None  # a stack of frames checks it
        return stack([fetch_result(fetcher, chip, ready) for chip in result.chips], result.times)
    if isinstance(result, Table):
        return _fetch_table(fetcher, result)
    if isinstance(result, bytes):
        suffix = sniff(result)
        return EncodedFile(result, suffix, validate(result, suffix))
    if type(result).__module__ == "numpy" and hasattr(result, "dtype"):
        with _encoding():
            data = npy.encode(result)
        return EncodedFile(data, "npy", validate(data, "npy"))
    raise RecipeError(
        f"get_result returned {type(result).__name__}: it must return a Chip, a Table, bytes, an array, a dict of"
        " these by name, or None"
    )


def fetched_results(result: Any) -> Iterator[Chip | Table]:
    """Yield the chips and tables of a unit that are fetched from the service."""
    for layer in result.values() if isinstance(result, Mapping) else (result,):
        if isinstance(layer, FrameStack):
            yield from layer.chips
        elif isinstance(layer, Chip) or (isinstance(layer, Table) and not layer.has_rows):
            yield layer


def chips_of(result: Any) -> Iterator[Chip]:
    """Yield the chips among the results of a unit."""
    return (part for part in fetched_results(result) if isinstance(part, Chip))


def empty_file(chip: Chip) -> EncodedFile | None:
    """Return the file of a chip that is known to have no valid pixel; None if a request is needed."""
    encode = CHIP_FORMATS.get(chip.format).encode_empty
    return encode(expectation_of(chip), chip.empty_types) if encode is not None and chip.empty_types else None


def fetch_shared(
    fetcher: Fetcher, shared: SharedChip, chips: Sequence[Chip]
) -> tuple[dict[int, EncodedFile], int | None]:
    """Fetch several chips in one request, and return the file of each, the same as :func:`fetch_result`.

    If the stored pixels of some of the chips may be masked, a second request computes what covers these.

    Args:
        shared: the chip that covers them.
        chips: among which its members are.

    Returns:
        The files by the indices of the chips, and the pixels of the largest part if the request was too large for the
        service and was divided; else None.

    Raises:
        RequestError: classified, if the service does not answer, or its response is not as requested.
        ee.EEException: if the service refuses the expression.
    """
    divided: list[int] = []
    doubtful: set[int] = set()

    def accept(part: Chip, body: bytes) -> list[DecodedChip]:
        decoded = _decode(shared.parts, part, body)
        doubtful.clear()
        if isinstance(part, StoredChip):
            doubtful.update(_find_doubtful(shared, part, *decoded))
        return decoded

    def paste(parts: Sequence[Part[list[DecodedChip]]]) -> list[DecodedChip]:
        divided.append(max(part.window.pixels for part in parts))
        return _paste(parts)

    pixels = fetcher.chip(shared.chip, accept, paste)
    files = {m.index: _cut(pixels, m, chips[m.index]) for m in shared.members if m.index not in doubtful}
    if doubtful:
        files |= fetch_shared(fetcher, shared.computed(doubtful), chips)[0]
    is_too_large = divided and not (shared.chip.grid is not None and lies_beyond(shared.chip.grid))
    return files, divided[0] if is_too_large else None


def _find_doubtful(shared: SharedChip, part: StoredChip, stored: DecodedChip) -> set[int]:
    """Return the indices of the chips whose stored pixels may be masked.

    Raises:
        UncertainMaskError: if pixels of most chips, or of a part of the window, may be masked.
    """
    doubtful = {member.index for member in shared.members if not stored.mask[member.window.slices].all()}
    if part.grid != shared.chip.grid:
        check_certain(stored.mask, expectation_of(part))
    elif 2 * len(doubtful) > len(shared.members):
        raise UncertainMaskError("pixels of most chips may be masked")
    return doubtful


def _cut(pixels: Sequence[DecodedChip], member: SharedMember, chip: Chip) -> EncodedFile:
    """Return the file of one of the chips of a shared request."""
    encode = CHIP_FORMATS.get(chip.format).encode
    assert chip.grid is not None
    assert encode is not None
    return encode(pixels[member.part].cut(member.window, chip.grid.transform), expectation_of(chip))


def _decode(chips: Sequence[Chip], part: Chip, body: bytes) -> list[DecodedChip]:
    """Return the pixels of the chips whose bands follow each other in the response for a part of their grid."""
    decode = CHIP_FORMATS.get(part.format).decode
    assert decode is not None
    if isinstance(part, StoredChip):
        return decode(body, [expectation_of(part)])
    return decode(body, [expectation_of(replace(chip, grid=part.grid)) for chip in chips])


def _paste(parts: Sequence[Part[list[DecodedChip]]]) -> list[DecodedChip]:
    """Join the pixels of a shared request that was too large, and was fetched in parts."""
    pasted = []
    for number, chip in enumerate(parts[0].content):
        values = paste_parts([Part(part.window, part.content[number].values) for part in parts])
        mask = paste_parts([Part(part.window, part.content[number].mask) for part in parts])
        pasted.append(replace(chip, values=values, mask=mask))
    return pasted


def _fetch_table(fetcher: Fetcher, table: Table) -> EncodedFile:
    source: Any = table.source
    if not table.has_rows:
        return fetcher.table(source, partial(encode_rows, table))
    with _encoding():
        return encode_rows(table, _made_rows(source))


def encode_rows(table: Table, rows: list[dict[str, Any]]) -> EncodedFile:
    """Return the file of a table, with the rows of its source."""
    names: tuple[str, ...]
    columns: list[Any]
    if table.unpack is not None:
        with _encoding():
            unpacked = table.unpack(rows)
        names, columns = tuple(unpacked), list(unpacked.values())
    else:
        if not table.has_rows and table.columns is None:
            for row in rows:
                del row["system:index"], row[".geo"]
        names, columns = arrange_columns(rows, table.columns)
    written: EncodedFile = table_format(table.format).encode(names, columns)
    return written


def _encoding() -> contextlib.AbstractContextManager[None]:
    """Mark the encoding of a recipe's own values: a value that no format can hold is an error of the recipe."""
    return raising_recipe_errors(of_eechips=(OSError, Warning))


def _receive(part: Chip, body: bytes) -> EncodedFile:
    """Check the response for a chip, or a part of one, by its format."""
    return CHIP_FORMATS.get(part.format).receive(body, expectation_of(part))


def _assemble(chip: Chip, parts: Sequence[Part[EncodedFile]]) -> EncodedFile:
    return CHIP_FORMATS.get(chip.format).assemble(parts, expectation_of(chip))


def expectation_of(chip: Chip) -> Expectation:
    """Return the properties that the response for a chip must have."""
    width, height = chip.size or (None, None)
    if chip.is_picture:
        return Expectation(width=width, height=height, bands=chip.bands)
    return Expectation(
        width=width,
        height=height,
        bands=chip.bands,
        dtype=chip.dtype,
        crs=chip.grid.crs if chip.grid is not None else chip.crs,
        transform=chip.grid.transform if chip.grid is not None else None,
        has_mask_band=not isinstance(chip, StoredChip),
        is_unmasked=isinstance(chip, StoredChip),
    )


def _made_rows(source: Any) -> list[dict[str, Any]]:
    """Return the rows that a recipe has made itself."""
    if isinstance(source, (list, tuple)):
        return [dict(row) for row in source]
    return [{str(k): v for k, v in row.items()} for row in source.to_dict("records")]


class UnitExports:
    """Starts exports, and reads the files.

    Args:
        spec: specification of the run, with a place of exported files.
        recipe_code: surrounds what executes code of the recipe.
    """

    def __init__(
        self, spec: WorkerSpec, transport: Transport, recipe_code: Callable[[], AbstractContextManager[None]]
    ) -> None:
        assert spec.export_to is not None
        self._place = ExportPlace.parse(spec.export_to)
        self._run = Writer.parse(spec.token).run
        self._policy, self._transport, self._recipe_code = spec.policy, transport, recipe_code

    def start(self, assignment: WorkUnit, result: Any, error: TooLargeError) -> Outcome:
        """Start a task for each chip and each table of a unit.

        A run that is resumed starts no second task for a unit that was not tried since.

        Returns:
            The outcome with the tasks.

        Raises:
            TooLargeError: the error itself, if a task would not help.
            EechipsError: classified, if the service does not start a task.
        """
        if error.batch == "never":
            raise error
        fetched = list(fetched_results(result))
        obstacle = next(filter(None, map(export_obstacle, fetched)), None if fetched else "only chips and tables are")
        if obstacle is not None:
            raise error.extended(f"The unit is not exported: {obstacle}.")
        key = f"{self._run} {assignment.id} {assignment.attempts}"
        with self._recipe_code():
            tasks = tuple(start_export(fetched_result, self._place, assignment.id, key) for fetched_result in fetched)
        return Outcome(assignment.position, None, exports=StartedExports(tasks))

    def read(self, assignment: WorkUnit, result: Any) -> dict[int, EncodedFile]:
        """Read the exported files of a unit.

        Returns:
            The files of its chips and tables, by the identity of each: equal to the files that requests give.

        Raises:
            PermanentError: if a file is missing, or is not as requested.
            TransientError, StorageError: if it cannot be read.
        """
        exported = zip(fetched_results(result), assignment.exported, strict=True)
        return {id(fetched_result): self._read_file(fetched_result, url) for fetched_result, url in exported}

    def _read_file(self, result: Chip | Table, url: str) -> EncodedFile:
        """Read an exported file, and some times again if it is not as requested: a proxy may be the cause."""
        folder, _, name = url.rpartition("/")
        repeats = min(_MOST_REREADS, self._policy.retries)
        while True:
            try:
                data = retry.call(lambda: ObjectStore(folder).read(name), self._policy, pause=self._transport.pause)
                return _receive_exported(result, data, url)
            except (FileNotFoundError, ValidationError) as error:
                if not repeats:
                    what = "not there" if isinstance(error, FileNotFoundError) else f"not as requested ({error})"
                    raise PermanentError(
                        f"the exported file '{url}' is {what}: eechips retry exports the unit again"
                    ) from error
            repeats -= 1
            self._transport.pause(self._policy.delay)


def _receive_exported(result: Chip | Table, data: bytes, url: str) -> EncodedFile:
    """Return the file of a chip from an exported GeoTIFF, or of a table from an exported CSV."""
    if isinstance(result, Table):
        return encode_rows(result, read_rows(data, result, url))
    check_mark(data, url)
    own, expectation = CHIP_FORMATS.get(result.format), expectation_of(result)
    if own.request_format == "tif":
        return own.receive(data, expectation)
    decode = CHIP_FORMATS.get("tif").decode
    assert decode is not None
    assert own.encode is not None
    (pixels,) = decode(data, [expectation])
    return own.encode(npy.from_geotiff(pixels), expectation)
