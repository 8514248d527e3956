"""Read and write splits.parquet: the split of each unit of a run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow
import pyarrow.parquet

from eechips.errors import UsageError
from eechips.storage import write_file
from eechips.storage.untrusted_files import has_metadata, open_parquet, parse_json, read_parquet, translate_read_errors

if TYPE_CHECKING:
    import pandas as pd

SPLITS_NAME = "splits.parquet"
NONE = "none"
"""The split of units that were left out, as they are too close to another split."""

WHOLE = "all"
"""The split of all units of a run that was not split."""

NEAR_FOOTPRINTS = "near_footprints"
"""Column: whether a unit is near the footprints of another data set; there if they were given."""

ABSENT = "absent_blocks"
"""Option of a split: the splits of earlier blocks of which no chip was there."""

_METADATA = b"eechips.split"


def read(folder: str | Path) -> pd.Series[str]:
    """Read the split of every unit: ``train``, …, or ``none`` for units that were left out.

    Returns:
        Names of splits by id of the unit, in the order of the plan.

    Raises:
        UsageError: if the run was not split.
    """
    frame = table(folder)
    return frame["split"]


def check_names(folder: Path, splits: Iterable[str | None], *names: str) -> None:
    """Check that the samples of a run have splits of some names.

    Args:
        folder: folder of the run.
        splits: split of each sample.

    Raises:
        UsageError: if the run was not split, or has no such split.
    """
    known = sorted({split for split in splits if isinstance(split, str)} - {NONE})
    if not known:
        raise _no_splits(folder)
    for name in names:
        if name not in known:
            raise UsageError(f"unknown split '{name}'; known are {', '.join(known)}")


def table(folder: str | Path) -> pd.DataFrame:
    """Read splits.parquet: columns split, block, and home (the split of the block), by id of the unit.

    Raises:
        UsageError: if the run was not split, or another program has left out a column that it takes.
    """
    path = _path(folder)
    with translate_read_errors(path):
        frame: pd.DataFrame = read_parquet(path).to_pandas()
    if not {"id", "split"} <= set(frame.columns):
        raise UsageError(
            f"{_path(folder)} has no columns id and split: eechips split {shlex.quote(str(folder))} --fresh"
        )
    missing = {name: frame["split"] for name in ("block", "home") if name not in frame.columns}
    return frame.assign(**missing).set_index("id")


def options(folder: str | Path) -> dict[str, Any]:
    """Read the options of the split, seed included; empty if another program made it.

    Raises:
        UsageError: if the run was not split.
    """
    with open_parquet(_path(folder)) as file:
        recorded: dict[str, Any] = parse_json((file.schema_arrow.metadata or {}).get(_METADATA, "{}"))
        if not isinstance(recorded, dict):
            raise ValueError("its metadata are not those of a split")
    return recorded


def write(folder: Path, frame: pd.DataFrame, options: Mapping[str, Any]) -> Path:
    """Write splits.parquet atomically.

    Args:
        frame: columns id, split and block, home where that is not the split, and ``near_footprints`` if chips near
            other footprints were looked for; in the order of the plan.

    Raises:
        UsageError: if there is a file of that name that eechips has not written.
        StorageError: if it cannot be written.
    """
    if "home" not in frame:
        frame = frame.assign(home=frame["split"])
    fields = [(name, pyarrow.string()) for name in ("id", "split", "block", "home")]
    if NEAR_FOOTPRINTS in frame:
        fields.append((NEAR_FOOTPRINTS, pyarrow.bool_()))
    schema = pyarrow.schema(fields)
    arrow_table = pyarrow.Table.from_pandas(frame, schema=schema, preserve_index=False)
    arrow_table = arrow_table.replace_schema_metadata({_METADATA: json.dumps(dict(options)).encode()})
    buffer = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(arrow_table, buffer, compression="zstd")
    path = folder / SPLITS_NAME
    if path.is_file() and not path.is_symlink() and not has_metadata(path, _METADATA):
        raise UsageError(f"{path} was not written by eechips split and is not replaced: move it away")
    write_file(path, buffer.getvalue().to_pybytes())
    return path


def _path(folder: str | Path) -> Path:
    path = Path(folder) / SPLITS_NAME
    if not path.is_file():
        raise _no_splits(folder)
    return path


def _no_splits(folder: str | Path) -> UsageError:
    return UsageError(f"{folder} has no splits yet: eechips split {shlex.quote(str(folder))}")
