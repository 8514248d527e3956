"""Files of open archives of which tables and mosaics are made: their results name no images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import rasterio
from rasterio.warp import transform_bounds
from shapely.geometry import box, mapping, shape

import eechips
from eechips.lockfile.lockfile_format import Lockfile
from local_tests.archives.archive_host import ArchiveHost, archive_host

pytestmark = pytest.mark.slow

S2 = "COPERNICUS/S2_SR_HARMONIZED"
YEARS: dict[str, Any] = {"start": "2021-01-01", "end": "2023-01-01"}


@pytest.fixture(scope="module")
def host(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ArchiveHost, Path]]:
    folder = tmp_path_factory.mktemp("archive")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        collections = ("sentinel-2-l2a",)
        with archive_host(real_data, folder / "files", "planetary-computer", collections=collections) as (found, _):
            yield found, found.description(folder / "tests.toml", "planetary-computer")


def expected_items(host: ArchiveHost, place: Any) -> set[str]:
    """Ids of the items of Sentinel-2 that meet a place in these years."""
    items = [item for item in host.items if item["collection"] == "sentinel-2-l2a"]
    found = {
        item["id"] for item in items
        if "2021" <= item["properties"]["datetime"] < "2023" and shape(item["geometry"]).intersects(place)
    }  # fmt: skip
    assert 0 < len(found) < len(items)
    return found


def check_sources(run: eechips.Run, host: ArchiveHost, place: Any) -> None:
    files = pd.read_parquet(run.path / "sources.parquet")
    assert set(files["item"]) == expected_items(host, place)
    assert files["etag"].all()
    assert {tuple(bands) for bands in files["bands"]} == {("B4",)}
    for href in files["href"]:
        with rasterio.open(host.folder / href.rpartition("/files/")[2]) as file:
            assert box(*transform_bounds(file.crs, "EPSG:4326", *file.bounds)).intersects(place)


@pytest.mark.parametrize("output", ["region", pytest.param("one", marks=pytest.mark.exhaustive)])
def test_a_table_names_the_files_of_the_images_that_meet_its_regions(
    host: tuple[ArchiveHost, Path], tmp_path: Path, output: str
) -> None:
    served, toml = host
    place = box(-75.65, 37.65, -75.63, 37.67)
    regions = {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {"id": "a"}, "geometry": mapping(place)}],
    }
    (tmp_path / "regions.geojson").write_text(json.dumps(regions))

    def run() -> eechips.Run:
        made: eechips.Run = eechips.timeseries(
            S2, regions=str(tmp_path / "regions.geojson"), columns="id=id", bands=["B4"], mask="none", output=output,
            archive=toml, executor="processes:1", out=tmp_path / "run", quiet=True, **YEARS,
        )  # fmt: skip
        return made

    made = run()
    check_sources(made, served, place)
    before = (made.path / "sources.parquet").read_bytes()
    assert (run().path / "sources.parquet").read_bytes() == before


@pytest.mark.exhaustive
def test_a_mosaic_names_the_files_of_the_images_that_meet_it(host: tuple[ArchiveHost, Path], tmp_path: Path) -> None:
    served, toml = host
    run = eechips.mosaic(
        S2, roi="-75.65,37.65,-75.62,37.67", bands=["B4"], mask="none", archive=toml, executor="processes:1",
        out=tmp_path / "run", quiet=True, **YEARS,
    )  # fmt: skip
    assert isinstance(run, eechips.Run)
    check_sources(run, served, box(-75.65, 37.65, -75.62, 37.67))

    lockfile = eechips.lock(run, tmp_path / "run.lock", archive=toml)
    with Lockfile(lockfile) as locked:
        versions = {asset.id: asset.version.etags for asset in locked.assets()}
    assert set(versions) == set(pd.read_parquet(run.path / "sources.parquet")["source"])
    assert all(versions.values())
