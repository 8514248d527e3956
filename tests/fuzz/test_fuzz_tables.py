"""Files of regions that somebody has changed at random: no exception but those of eechips, no other file read."""

from __future__ import annotations

import json
import random
import sys
import traceback
from pathlib import Path

import geopandas
import pytest
import shapely

from eechips.errors import EechipsError, RegionError
from eechips.geo.vectors import read_features
from tests.fuzz.budget import Budget
from tests.support.watched_folder import watch_folder

SUFFIXES = {".geojson": "GeoJSON", ".gpkg": "GPKG", ".fgb": "FlatGeobuf", ".parquet": ""}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("regions")
    shapes = [shapely.box(8, 50, 9, 51), shapely.Point(8, 50).buffer(1)]
    frame = geopandas.GeoDataFrame({"name": ["a", "b"], "geometry": shapes}, crs="EPSG:4326")
    for suffix, driver in SUFFIXES.items():
        path = folder / f"regions{suffix}"
        frame.to_parquet(path) if suffix == ".parquet" else frame.to_file(path, driver=driver)
    return sorted(folder.iterdir())


def changed(draw: random.Random, data: bytes) -> bytes:
    kind = draw.randrange(4)
    if kind == 0:
        return data[: draw.randrange(len(data) + 1)]
    if kind == 1:
        words = (b"null", b"1e999", b"[]", b"{}", b"-1", b'"x"', b"[" * 3000, b"\xff\xfe", b"EPSG:99999", b"nan")
        place = draw.randrange(len(data))
        return data[:place] + draw.choice(words) + data[place + draw.randrange(9) :]
    found = bytearray(data)
    for _ in range(draw.choice((1, 4, 64))):
        found[draw.randrange(len(found))] = draw.randrange(256)
    return bytes(found)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # GDAL's, on files that it repairs; it raises none
def test_a_changed_file_of_regions_raises_errors_of_eechips_alone(
    budget: Budget, originals: list[Path], tmp_path: Path
) -> None:
    for draw in budget.draws(least=8):  # each starts a process
        original = draw.choice(originals)
        path = tmp_path / f"{budget.last}{original.suffix}"
        path.write_bytes(changed(draw, original.read_bytes()))
        try:
            read_features(path)
        except EechipsError:
            continue
        except Exception:  # noqa: BLE001 - that none is raised is what is looked at
            pytest.fail(f"seed {budget.last}: {path.name}\n{traceback.format_exc()}", pytrace=False)


@pytest.mark.skipif(sys.platform != "linux", reason="inotify tells who reads")
@pytest.mark.parametrize("name", ["regions.vrt", "regions.geojson", "regions.xml"])
def test_a_virtual_source_does_not_read_other_files(name: str, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    canary = tmp_path / "outside" / "canary.geojson"
    canary.write_text(json.dumps({"type": "Point", "coordinates": [8, 50]}))
    source = f"<SrcDataSource>{canary}</SrcDataSource>"
    text = f'<OGRVRTDataSource><OGRVRTLayer name="canary">{source}</OGRVRTLayer></OGRVRTDataSource>'
    (tmp_path / name).write_text(text)
    with watch_folder(canary.parent) as outside:
        with pytest.raises(RegionError, match=r"virtual data source|its content is XML"):
            read_features(tmp_path / name)
        assert outside.touched() == []
