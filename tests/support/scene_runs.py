"""Scenes on a file server, catalogues of them, and runs that fetch them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import from_bounds

import eechips
from tests.support.scene_servers import FileServer, item, multihash

TIFF = "image/tiff; application=geotiff"


EDGE = 256


def write(path: Path, seed: int, **changes: Any) -> Path:
    """A small GeoTIFF that nothing compresses: 131 kB a band."""
    profile = {"driver": "GTiff", "width": EDGE, "height": EDGE, "count": 1, "dtype": "uint16", "crs": "EPSG:32613"}
    profile |= {"transform": from_origin(500_000 + 10_000 * seed, 4_430_000, 10, 10), "tiled": True, **changes}
    values = np.random.default_rng(seed).integers(1, 65536, (profile["count"], EDGE, EDGE), dtype="uint16")
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **profile) as file:
        file.write(values)
    return path


def items(server: FileServer, **changes: Any) -> list[dict[str, Any]]:
    """A STAC item for each file."""
    found = []
    for number, path in enumerate(sorted(server.folder.glob("*.tif"))):
        data = path.read_bytes()
        asset = {"href": f"{server.url}/{path.name}", "type": TIFF, "roles": ["data"], "file:size": len(data)}
        asset |= {"file:checksum": multihash(data), "proj:shape": [EDGE, EDGE], "proj:code": "EPSG:32613", **changes}
        west = -105.0 + 0.2 * number
        moment = f"2020-06-{number + 1:02d}T10:00:00Z"
        box = (west, 40.0, west + 0.1, 40.1)
        found.append(item(path.stem, {"B04": asset}, box=box, moment=moment, **{"eo:cloud_cover": 10.0 * number}))
    return found


def catalogue(folder: Path, found: list[dict[str, Any]]) -> Path:
    """A list of items in a file."""
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": found}))
    return path


def fetch(stac: str | Path, out: Path, **options: Any) -> eechips.Run:
    return eechips.scenes(str(stac), out=out, quiet=True, **options)


def steps(out: Path, step: str | None = None) -> list[dict[str, Any]]:
    """Lines of run.log on scenes."""
    lines = [json.loads(line) for line in (out / "run.log").read_text().splitlines()]
    return [line for line in lines if line["event"] == "scene" and step in (None, line["step"])]


def assert_same(run: eechips.Run, folder: Path) -> None:
    """Every file is the one that is served."""
    units = run.units
    assert list(units["state"]) == ["done"] * len(units)
    for unit, file, digest in zip(units["unit"], units["file"], units["sha256"], strict=True):
        assert (run.path / file).read_bytes() == (folder / f"{unit['item']}.tif").read_bytes()
        assert digest == hashlib.sha256((run.path / file).read_bytes()).hexdigest()
    assert run.verify() == []
    assert not (run.path / "partial").exists()


def chips_are_windows(run: eechips.Run, sources: dict[str, Path], *, bands: int = 1) -> int:
    """Compares every chip with what rasterio reads of its source there; returns how many there were."""
    for _, row in run.units.iterrows():
        assert row["state"] == "done"
        (name,) = {str(source).rpartition("/")[2] for source in row["sources"]}
        with rasterio.open(run.path / row["file"]) as chip, rasterio.open(sources[name]) as source:
            window = from_bounds(*chip.bounds, source.transform).round_offsets().round_lengths()
            wanted = source.read(list(range(1, bands + 1)), window=window)
            assert chip.crs == source.crs
            assert chip.read()[:bands].tobytes() == wanted.tobytes()
    return len(run.units)
