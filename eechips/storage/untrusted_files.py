"""Read JSON and tables from other users, with bounded memory, and with errors of eechips; keep leading zeros and long
integers of CSV.
"""

from __future__ import annotations

import contextlib
import io
import json
import mmap
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eechips.errors import EechipsError, StorageError
from eechips.storage.paths import resolve_inside

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.parquet as pq

_MOST_NESTED = 64  # levels of nested lists and objects
_MOST_BYTES = 64 << 20  # of a JSON document
_EXACT = 1 << 53  # below which float64 has all integers
_LEADING_ZERO = re.compile(rb'(?:^|[\n",])-?0[0-9]')
_MOST_VALUES = 1 << 27  # of a Parquet file: 1 GiB of numbers, which a file of some bytes can claim to have


def parse_json(data: bytes | str) -> Any:
    """Parse JSON. Lone surrogates, which no file and no terminal takes, become references such as ``&#55296;``.

    Raises:
        ValueError: if it is malformed, or nested too deep.
    """
    try:
        value = json.loads(data)
        escapes = (b"\\ud", b"\\uD") if isinstance(data, bytes) else ("\\ud", "\\uD")
        if any(escape in data for escape in escapes):  # type: ignore[operator]
            value = json.loads(json.dumps(value, ensure_ascii=False).encode(errors="xmlcharrefreplace"))
    except RecursionError:
        raise ValueError("its values are nested too deep") from None
    level = [value]
    for _ in range(_MOST_NESTED):
        inner: list[Any] = []
        for outer in level:
            inner += outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ()
        level = [container for container in inner if isinstance(container, (dict, list))]
        if not level:
            return value
    raise ValueError("its values are nested too deep")


def read_json(path: Path, folder: Path) -> Any:
    """Read a JSON document in a folder.

    Raises:
        FileNotFoundError: if it does not exist.
        StorageError: if it is malformed, too large, or nested too deep.
        UsageError: if it is a link out of the folder, or not a regular file.
    """
    resolve_inside(path, folder)
    if not path.exists():
        raise FileNotFoundError(path)
    with translate_read_errors(path):
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES >> 20} MiB")
        return parse_json(data)


def is_local_path(text: str) -> bool:
    """Say whether a text from others names a file of this machine, or an address, where a name of data is expected.

    Paths from the root, the home or a parent folder are recognised by their form, so that nobody learns which exist.
    """
    if text.startswith(("/", "~", "\\")) or "://" in text or ".." in Path(text).parts or "\0" in text:
        return True
    try:
        return Path(text).exists() and not Path(text).is_dir()
    except (OSError, ValueError):  # too long
        return False


def has_metadata(path: Path, key: bytes) -> bool:
    """Return whether a Parquet file has a metadata entry, by which eechips recognises its own tables."""
    try:
        with open_parquet(path) as file:
            return key in (file.schema_arrow.metadata or {})
    except EechipsError:
        return False


@contextlib.contextmanager
def translate_read_errors(path: Path | str) -> Iterator[None]:
    """Convert errors of pandas, pyarrow and Python for a damaged file to one error.

    Raises:
        StorageError: with the path of the file.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(f"{path} is missing") from error
    except OSError as error:
        # pyarrow's errors of damage have no number of the system.
        what = "is damaged" if error.errno is None else "cannot be read"
        raise StorageError(f"{path} {what}: {error.strerror or ' '.join(str(error).split())[:200]}") from error
    except (ValueError, TypeError, KeyError, IndexError, NotImplementedError, MemoryError) as error:
        # pyarrow's errors are of these classes: https://arrow.apache.org/docs/python/api/exceptions.html
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise StorageError(f"{path} is damaged: {reason}") from error


@contextlib.contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file, and convert errors inside the block.

    Raises:
        StorageError: if it is missing or damaged, or has more values than fit into memory.
        UsageError: if it is a link out of the folder, or no regular file.
    """
    from eechips.geo.untrusted_parquet import BoundedParquet

    resolve_inside(path, path.parent)
    with translate_read_errors(path), BoundedParquet(path, page_checksum_verification=True) as file:
        _check_size(file)
        yield file


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> Any:
    """Read a Parquet file as an Arrow table.

    Args:
        columns: names; None for all.

    Raises:
        StorageError: see :func:`open_parquet`; or if a column is missing.
        UsageError: see :func:`open_parquet`.
    """
    with open_parquet(path) as file:
        lacking = [name for name in columns or () if name not in file.schema_arrow.names]
        if lacking:
            raise ValueError(f"it has no column {lacking[0]}")
        return file.read(columns=None if columns is None else list(columns))


def read_frame(
    source: Path | bytes,
    suffix: str,
    *,
    columns: Sequence[str] | None = None,
    rows: int | None = None,
    texts: Collection[str] = (),
    name: str = "",
) -> pd.DataFrame:
    """Read a table of results, CSV or Parquet.

    Columns of long integers with missing values have Python's integers. In CSV, a column of digits of which one begins
    with a zero, such as 08013, has texts: an id, not a number.

    Args:
        suffix: ``csv`` or ``parquet``.
        columns: names; None for all.
        rows: number of first rows; None for all.
        texts: columns of CSV that are texts in any case.
        name: name of the content, for messages.

    Raises:
        StorageError, UsageError: see :func:`open_parquet`.
    """
    import pandas as pd

    from eechips.geo.untrusted_parquet import BoundedParquet

    if isinstance(source, Path):
        resolve_inside(source, source.parent)
    buffer: Any = io.BytesIO(source) if isinstance(source, bytes) else source
    with translate_read_errors(name or str(source)):
        if suffix == "csv":
            usecols = None if columns is None else list(columns)
            csv_frame = pd.read_csv(buffer, usecols=usecols, nrows=rows, dtype=dict.fromkeys(texts, str))
            rounded = rounded_columns(csv_frame)
            if rounded or _has_leading_zeros(source):
                if isinstance(buffer, io.BytesIO):
                    buffer.seek(0)
                _mend_numbers(csv_frame, pd.read_csv(buffer, usecols=usecols, nrows=rows, dtype=str), rounded)
            return csv_frame
        with BoundedParquet(buffer) as file:
            _check_size(file)
            wanted = None if columns is None else list(columns)
            batches = file.iter_batches(batch_size=rows or 1, columns=wanted)
            some = None if rows == 0 else next(batches, None) if rows else file.read(columns=wanted)
            table = file.schema_arrow.empty_table() if some is None else some
            frame: pd.DataFrame = table.to_pandas()
            for column in rounded_columns(frame):
                frame[column] = table.column(column).to_pandas(integer_object_nulls=True)
            return frame


def _has_leading_zeros(source: Path | bytes) -> bool:
    """Return whether a cell of a CSV, perhaps of a row that is not read, begins with a zero and another digit."""
    if isinstance(source, bytes):
        return _LEADING_ZERO.search(source) is not None
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _LEADING_ZERO.search(content) is not None


def _mend_numbers(frame: pd.DataFrame, cells: pd.DataFrame, rounded: Sequence[str]) -> None:
    """Replace columns whose numbers are not what the file has.

    Args:
        frame: table of a CSV.
        cells: its cells as texts.
        rounded: see :func:`rounded_columns`.
    """
    import pandas as pd

    for position, column in enumerate(frame.columns):
        texts = cells.iloc[:, position]
        if not pd.api.types.is_numeric_dtype(frame.dtypes.iloc[position]):
            continue
        if texts.str.match(r"-?0[0-9]").any():
            frame[column] = texts
        elif column in rounded and texts.dropna().str.fullmatch(r"-?[0-9]+").all():
            whole = [int(text) if isinstance(text, str) else None for text in texts]
            frame[column] = pd.Series(whole, frame.index, dtype=object)


def rounded_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns of floats that may have been long integers: beside missing values, pandas rounds them."""
    floats = frame.select_dtypes("float64") if frame.columns.is_unique else frame.iloc[:, :0]
    return [str(name) for name in floats.columns if floats[name].abs().max() >= _EXACT]


def _check_size(file: pq.ParquetFile) -> None:
    metadata = file.metadata
    if metadata.num_rows * max(metadata.num_columns, 1) > _MOST_VALUES:
        raise ValueError(f"it claims to have {metadata.num_rows:,} rows of {metadata.num_columns:,} columns")
