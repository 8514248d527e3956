"""A store of assets of the local Earth Engine, which a process of its own fills: none of that code is imported here."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from eechips.engine.local_server import last_error
from eechips.errors import StorageError, UsageError

Put = Callable[[Path, str, Sequence[str]], object]
"""Puts a scene into a store of assets: given its STAC item, whose files are here, the id of the image that it is to
become, and the names of its assets. Raises UsageError if it cannot become one."""

_NEEDED = "pystac"  # of the extra


def check_store() -> None:
    """Check that the packages that fill stores are installed.

    Raises:
        UsageError: if one is missing.
    """
    if find_spec(_NEEDED) is None:
        raise UsageError(f"`ingest` needs {_NEEDED}: pip install 'eechips[local]'")


@contextlib.contextmanager
def open_store(into: Path) -> Iterator[Put]:
    """Start a process that adds scenes to the store in a folder, for the duration of the block.

    Yields:
        It raises UsageError for a scene that cannot become an asset, StorageError if the process has ended.
    """
    command = [sys.executable, "-m", "eechips.emulator.assets", str(into)]
    # A session of its own: Ctrl-C in the terminal is for us alone. It ends with its input, and so with us.
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
            with contextlib.suppress(BrokenPipeError):  # then there is no answer either
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
