"""Export chips and tables of units whose requests take too long, and read the files: the part of a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from eechips.client import retry
from eechips.client.export_place import ExportPlace
from eechips.client.export_tasks import export_obstacle, read_rows, start_export
from eechips.client.transport import Transport
from eechips.engine.fetch_result import encode_rows, expectation_of
from eechips.engine.outcome import Outcome, StartedExports
from eechips.engine.worker_spec import WorkerSpec
from eechips.errors import PermanentError, TooLargeError, ValidationError
from eechips.files.temporary_names import Writer
from eechips.formats import CHIP_FORMATS, EncodedFile
from eechips.manifest.unit_record import WorkUnit
from eechips.recipe import Chip, FrameStack, Table
from eechips.storage import ObjectStore


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
        fetched = list(_fetched_results(result))
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
            The files of its chips and tables, by the identity of each: the same as those of requests.

        Raises:
            PermanentError: if a file is missing, or is not as requested.
            TransientError, StorageError: if it cannot be read.
        """
        files = {}
        for fetched_result, url in zip(_fetched_results(result), assignment.exported, strict=True):
            data = retry.call(partial(_read, url), self._policy, pause=self._transport.pause)
            try:
                files[id(fetched_result)] = _receive(fetched_result, data)
            except ValidationError as error:
                message = f"{url} is not as requested ({error}): eechips retry exports the unit again"
                raise PermanentError(message) from error
        return files


def _fetched_results(result: Any) -> Iterator[Chip | Table]:
    """Yield the chips and tables of a unit that are fetched from the service."""
    for layer in result.values() if isinstance(result, Mapping) else (result,):
        if isinstance(layer, FrameStack):
            yield from layer.chips
        elif isinstance(layer, Chip) or (isinstance(layer, Table) and not layer.has_rows):
            yield layer


def _read(url: str) -> bytes:
    folder, _, name = url.rpartition("/")
    try:
        return ObjectStore(folder).read(name)
    except FileNotFoundError:
        raise PermanentError(
            f"the export task has succeeded, but there is no {url}: eechips retry exports the unit again"
        ) from None


def _receive(result: Chip | Table, data: bytes) -> EncodedFile:
    """Return the file of a chip from an exported GeoTIFF, or of a table from an exported CSV."""
    if isinstance(result, Table):
        return encode_rows(result, read_rows(data, result))
    own, expectation = CHIP_FORMATS.get(result.format), expectation_of(result)
    if own.request_format == "tif":
        return own.receive(data, expectation)
    from eechips.formats import npy

    decode = CHIP_FORMATS.get("tif").decode
    assert decode is not None
    assert own.encode is not None
    (pixels,) = decode(data, [expectation])
    return own.encode(npy.from_geotiff(pixels), expectation)
