"""Cache drawings that are the same on every start in the user's cache folder (``EECHIPS_CACHE``): some 15 MB that may
be deleted.

The name of a file says what drew it: the demo planet's modules and the libraries whose versions may round differently.
Files are written whole or not at all, and their checksums looked at, so that any number of processes may share them;
what cannot be read is drawn, and a folder that cannot be written is gone without.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from eechips_local.assets.store_files import make_private
from eechips_local.assets.user_cache import cache_folder

_PREFIX = "demo-planet-"
_OTHERS = 6
"""Files of other versions that are left when one is written: people go back and forth between two."""
_UNFINISHED = 3600.0
"""Seconds after which a file that is still being written never will be."""

Arrays = Mapping[str, npt.NDArray[Any]]


def kept(name: str, draw: Callable[[], Arrays]) -> Arrays:
    """Return arrays as they were drawn once, by this process or another.

    Args:
        name: name of the drawing, as in a file's name.
        draw: makes the arrays; none of Python objects.
    """
    folder = cache_folder()
    version = _version()
    if folder is None or version is None:
        return draw()
    path = folder / f"{_PREFIX}{version}-{name}.npz"
    # Not there yet, or not whole: neither is a reason to fail, nor is a folder that belongs to somebody else.
    with contextlib.suppress(OSError, ValueError, EOFError, zipfile.BadZipFile):
        return _read(path)
    drawn = draw()
    with contextlib.suppress(OSError):
        _write(path, drawn)
    return drawn


@cache
def _version() -> str | None:
    """Return a digest of all that a drawing depends on; None where the modules' sources are not at hand."""
    sources = sorted(path for kind in ("*.py", "*.txt") for path in Path(__file__).parents[1].rglob(kind))
    if not sources:
        return None
    libraries = (np.__version__, shapely.__version__, shapely.geos_version_string, platform.machine())
    digest = hashlib.sha256(repr(libraries).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _read(path: Path) -> Arrays:
    with path.open("rb") as file, np.load(file) as archive:
        return {key: archive[key] for key in archive.files}


def _write(path: Path, arrays: Arrays) -> None:
    make_private(path.parent)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{_PREFIX}", delete=False) as file:
        try:
            np.savez(file, **arrays)  # type: ignore[arg-type]
            file.close()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    _remove_others(path)


def _remove_others(path: Path) -> None:
    """Remove what older versions left, but for the newest few, and what killed processes left half written."""
    own = path.name[: len(_PREFIX) + 16]
    others = _dated(other for other in path.parent.glob(f"{_PREFIX}*.npz") if not other.name.startswith(own))
    unfinished = _dated(path.parent.glob(f".{_PREFIX}*"))
    late = time.time() - _UNFINISHED
    for _, other in [*others[_OTHERS:], *(entry for entry in unfinished if entry[0] < late)]:
        with contextlib.suppress(OSError):
            other.unlink()


def _dated(paths: Iterable[Path]) -> list[tuple[float, Path]]:
    """Return files with their times of change, the newest first; another process may be removing them."""
    dated_paths = []
    for path in paths:
        with contextlib.suppress(OSError):
            dated_paths.append((path.stat().st_mtime, path))
    return sorted(dated_paths, reverse=True)


def kept_shapes(name: str, draw: Callable[[], Mapping[str, shapely.Geometry]]) -> dict[str, shapely.Geometry]:
    """Return named geometries as they were drawn once, every bit of them; see :func:`kept`."""
    arrays = kept(name, lambda: _packed(draw()))
    everything, ends = arrays["shapes"].tobytes(), arrays["ends"].tolist()
    parts = [everything[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    names = arrays["names"].tobytes().decode().split("\n")
    return dict(zip(names, shapely.from_wkb(np.array(parts, dtype=object)), strict=True))


def _packed(shapes: Mapping[str, shapely.Geometry]) -> Arrays:
    parts = [shapely.to_wkb(shape) for shape in shapes.values()]
    return {
        "names": np.frombuffer("\n".join(shapes).encode(), dtype=np.uint8),
        "ends": np.cumsum([len(part) for part in parts], dtype=np.int64),
        "shapes": np.frombuffer(b"".join(parts), dtype=np.uint8),
    }
