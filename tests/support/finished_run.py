"""Finished run folders, made without a service: files of the writers, and a ledger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine

from eechips.engine.results.run_records import encode_info
from eechips.formats import FileMetadata, geotiff, npy, png, validate
from eechips.manifest.manifest_columns import LAYER_COLUMNS, LISTS, Record, State, UnitFile, WorkUnit
from eechips.manifest.run import INFO_NAME, Run
from eechips.manifest.run_signature import FOLDER, signed_folder
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.recipe import canonical_json, unit_id
from eechips.storage import write_file

Files = Mapping[str, tuple[str, bytes]]
"""Suffix and content by layer; the layer of a unit's only file is empty."""

ORIGIN = {"recipe": "test", "identity": "identity", "parameters": {}, "name": "chips/{id}", "source": ""}
"""What the ledger of each run says of it."""

TRANSFORM = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_400_000.0)


def write_run(
    folder: Path,
    units: Iterable[tuple[Mapping[str, Any], Files | None]],
    *,
    frames: Mapping[str, Mapping[str, Any]] | None = None,
    **info: Any,
) -> Run:
    """A finished run.

    Args:
        folder: folder of the run.
        units: each with its files; None if it failed.
        frames: what the ledger says beside of the files of a layer, of time series.
        **info: for run.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    planned, records = [], []
    for position, (unit, files) in enumerate(units):
        identifier = unit_id(dict(unit), "identity")
        name = f"chips/{identifier[:16]}"
        planned.append(WorkUnit(position, identifier, canonical_json(unit), name))
        if files is None:
            records.append(Record(position=position, state=State.FAILED_PERMANENT, error_class="PermanentError"))
            continue
        own = [_written(folder, name, layer, suffix, data, unit) for layer, (suffix, data) in files.items()]
        first, metadata = own[0]
        state = State.EMPTY if metadata.valid_fraction == 0.0 else State.DONE
        texts = {key: _text(key, value) for key, value in asdict(metadata).items()}
        every = tuple(
            UnitFile(*f.values(), layer, "" if "" in files else _json(metadata, (frames or {}).get(layer, {})))
            for (f, metadata), layer in zip(own, files, strict=True)
        )
        records.append(Record(position=position, state=state, **first, **texts, files=every))
    with Ledger(folder / LEDGER_NAME) as ledger:
        ledger.store_plan({**ORIGIN, **{key: info[key] for key in ORIGIN if key in info}}, planned)
        ledger.record(records)
    (folder / INFO_NAME).write_text(json.dumps({"recipe": "test", "notes": [], **info}))
    return Run(folder)


def move_results(run: Run, address: str) -> None:
    """Have a run say that this user has sent its results to an address."""
    with Ledger(run.path / LEDGER_NAME) as ledger:
        ledger.note("results", address)
    write_file(run.path / INFO_NAME, encode_info({**run.info, FOLDER: signed_folder(run.path), "results": address}))


def _written(
    folder: Path, name: str, layer: str, suffix: str, data: bytes, unit: Mapping[str, Any]
) -> tuple[dict[str, Any], FileMetadata]:
    file = f"{name}.{layer}.{suffix}" if layer else f"{name}.{suffix}"
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    write_file(folder / file, data)
    metadata = validate(data, suffix)
    return {"file": file, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}, metadata


def _text(name: str, value: Any) -> Any:
    return json.dumps(value) if name in LISTS and value is not None else value


def _json(metadata: FileMetadata, frame: Mapping[str, Any]) -> str:
    return json.dumps({**{name: getattr(metadata, name, None) for name in LAYER_COLUMNS}, **frame})


def geotiff_of(values: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None = None, *, column: int = 0) -> bytes:
    """A GeoTIFF chip of (bands, rows, columns), so many chips of 64 pixels to the east."""
    mask = np.ones(values.shape[1:], dtype=np.bool_) if mask is None else mask
    names = tuple(f"B{number}" for number in range(1, len(values) + 1))
    transform = Affine(*TRANSFORM) @ Affine.translation(64 * column, 0)
    return geotiff.encode(values, mask, names, rasterio.crs.CRS.from_epsg(32613), transform)


def npy_of(values: npt.NDArray[Any], mask: npt.NDArray[np.bool_]) -> bytes:
    """An NPY chip of (bands, rows, columns)."""
    fields = [*((f"b{number}", values.dtype) for number in range(len(values))), ("mask", np.bool_)]
    array = np.empty(values.shape[1:], dtype=fields)
    for number, band in enumerate(values):
        array[f"b{number}"] = band
    array["mask"] = mask
    return npy.encode(array)


def png_of(values: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_] | None = None) -> bytes:
    """A PNG chip of (bands, rows, columns)."""
    return png.encode(values, None if mask is None else np.where(mask, 255, 0).astype(np.uint8))


def layered(count: int, *, size: int = 8, seed: int = 0) -> list[tuple[dict[str, Any], Files]]:
    """Units with layers ``S2`` (tif), ``DEM`` (npy) and ``cover`` (png), and fields ``class`` and ``zone``."""
    rng = np.random.default_rng(seed)
    units = []
    for number in range(count):
        mask = rng.random((size, size)) < 0.8
        files = {
            "S2": ("tif", geotiff_of(rng.integers(0, 65535, (4, size, size), dtype=np.uint16), mask, column=number)),
            "DEM": ("npy", npy_of(rng.normal(size=(1, size, size)).astype(np.float32), mask)),
            "cover": ("png", png_of(rng.integers(0, 255, (1, size, size), dtype=np.uint8))),
        }
        units.append(({"kind": "point", "number": number, "class": 10 * (number % 3), "zone": "äb"[number % 2]}, files))
    return units


def pictures(count: int, *, size: int = 8, seed: int = 0) -> list[tuple[dict[str, Any], Files]]:
    """Units with one PNG each, some of whose pixels are transparent."""
    rng = np.random.default_rng(seed)
    units = []
    for number in range(count):
        mask = rng.random((size, size)) < 0.7 if number % 2 else None
        data = png_of(rng.integers(0, 255, (3, size, size), dtype=np.uint8), mask)
        units.append(({"kind": "point", "number": number, "eco_name": f"zone {number % 3}"}, {"": ("png", data)}))
    return units
