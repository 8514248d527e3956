"""Add scenes to an asset store of the local Earth Engine, in a separate process: its code is not imported here."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from eechips.engine.service.local_server import last_error
from eechips.errors import StorageError, UsageError
from eechips.processes.child_processes import module_command

Put = Callable[[Path, str, Sequence[str]], object]
"""Add a scene to an asset store, given the path of its STAC item with local files, the id of the new image, and the
names of its assets. Raises UsageError if the scene cannot become an image."""

_NEEDED = "pystac"  # packages of the extra


def check_store() -> None:
    """Raise UsageError if a package that fills stores is missing."""
    if find_spec(_NEEDED) is None:
        raise UsageError(f"`ingest` needs {_NEEDED}: pip install 'eechips[local]'")


@contextlib.contextmanager
def open_store(into: Path) -> Iterator[Put]:
    """Start a process that adds scenes to the asset store in a folder, for the duration of the block.

    Yields:
        The function that adds a scene. It raises StorageError if the process has ended.
    """
    command = [*module_command("eechips_local.assets"), str(into)]
    # A separate session receives no Ctrl-C of the terminal. The process ends with its input, so with this one.
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        ) as process,
    ):
        orders, answers = process.stdin, process.stdout
        assert orders is not None
        assert answers is not None

        def put(item: Path, asset_id: str, assets: Sequence[str]) -> None:
            order = {"item": str(item.absolute()), "id": asset_id, "bands": list(assets)}
            with contextlib.suppress(BrokenPipeError):  # then it sends no reply either
                orders.write(json.dumps(order) + "\n")
                orders.flush()
            line = answers.readline()
            if not line:
                reason = last_error(errors) or "it does not say why"
                raise StorageError(f"what puts scenes into {into} has ended: {reason}")
            error = json.loads(line)["error"]
            if error is not None:
                raise UsageError(error)

        try:
            yield put
        finally:
            with contextlib.suppress(BrokenPipeError):
                orders.close()
