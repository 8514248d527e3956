"""Real imagery as STAC items in the shape of Earth Search and the Planetary Computer, with Cloud Optimized GeoTIFFs.

Names of fields and assets are those of published items: tests of pystac-client and odc-stac, templates of
microsoft/planetary-computer-tasks, examples of stactools-packages. Scenes without a recorded date have a made-up one.
Level-1 numbers stand for Level-2 ones, and bands that the data lack are made of others: numbers are compared with the
files that are served, not with Earth Engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from rasterio.warp import transform_bounds, transform_geom

Archive = Literal["earth-search", "planetary-computer"]
Values = npt.NDArray[Any]
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
RAW_OFFSET = 1000
"""Added to the numbers of Sentinel-2 files since processing baseline 04.00."""

_SENTINEL_NAMES = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2",
    "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B11": "swir16", "B12": "swir22", "SCL": "scl",
    "AOT": "aot", "WVP": "wvp",
}  # fmt: skip
_GSD = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B01": 60, "B09": 60}
_BOUCONNE = ("2018-04-29", "2018-05-13", "2018-07-08", "2018-08-15", "2018-09-15", "2018-10-15", "2018-11-15")
_BOUCONNE_BANDS = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12")
_STATES = {"m_4709963": "nd", "m_3607717": "va", "m_3607824": "va", "m_3211605": "ca"}


@dataclass(frozen=True, slots=True)
class Raster:
    """Pixels with their grid.

    Attributes:
        values: bands, rows, columns.
        crs: "EPSG:32618".
        transform: transform of the upper left corner.
    """

    values: Values
    crs: str
    transform: Affine

    @classmethod
    def read(cls, path: Path) -> Raster:
        with rasterio.open(path) as file:
            return cls(file.read(), file.crs.to_string(), file.transform)

    def band(self, number: int) -> Raster:
        return Raster(self.values[number : number + 1], self.crs, self.transform)

    def every(self, step: int) -> Raster:
        """Return every so manyth pixel, as a coarser grid."""
        return Raster(
            np.ascontiguousarray(self.values[:, ::step, ::step]), self.crs, self.transform @ Affine.scale(step)
        )

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        _, height, width = self.values.shape
        left, top = self.transform @ (0, 0)
        right, bottom = self.transform @ (width, height)
        return left, bottom, right, top

    def projection(self) -> dict[str, Any]:
        """Return the fields of the projection extension that an asset has."""
        _, height, width = self.values.shape
        return {"proj:shape": [height, width], "proj:transform": list(self.transform)[:6]}

    def footprint(self) -> dict[str, Any]:
        """Return bounding box and outline of an item, in degrees."""
        left, bottom, right, top = self.bounds
        ring = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
        outline = transform_geom(self.crs, "EPSG:4326", {"type": "Polygon", "coordinates": [ring]})
        return {"bbox": list(transform_bounds(self.crs, "EPSG:4326", *self.bounds)), "geometry": outline}


def write_cog(raster: Raster, path: Path, nodata: float | None = None) -> None:
    """Write a Cloud Optimized GeoTIFF with blocks of 256 pixels and overviews of the nearest pixels."""
    count, height, width = raster.values.shape
    profile = {
        "driver": "GTiff", "count": count, "height": height, "width": width, "dtype": raster.values.dtype,
        "crs": raster.crs, "transform": raster.transform, "nodata": nodata,
    }  # fmt: skip
    with MemoryFile() as memory:
        with memory.open(**profile) as file:
            file.write(raster.values)
        with memory.open() as file:
            copy(
                file, path, driver="COG", blocksize=256, compress="deflate", level=1, predictor=2,
                overview_resampling="nearest", overview_count=2,
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class RealItems:
    """Items of an archive, and the folder of their files.

    Attributes:
        archive: name.
        folder: folder of the files.
        items: STAC items.
    """

    archive: Archive
    folder: Path
    items: tuple[dict[str, Any], ...]

    def file(self, item_id: str, asset: str) -> Path:
        """Return the path of an asset's file."""
        (item,) = (each for each in self.items if each["id"] == item_id)
        return self.folder / str(item["assets"][asset]["href"]).rpartition("/")[2]

    def of(self, collection: str) -> list[dict[str, Any]]:
        return [item for item in self.items if item["collection"] == collection]


def make_items(data: Path, folder: Path, archive: Archive, url: str, *, collections: Sequence[str] = ()) -> RealItems:
    """Make the items of an archive.

    Args:
        data: folder of the real imagery.
        folder: for the files; those that it has are kept.
        archive: whose shape the items have.
        url: address at which the folder is served.
        collections: "naip", "sentinel-2-l2a", "landsat-c2-l2"; all if empty.
    """
    makers: Mapping[str, Callable[[ItemMaker, Path], Iterator[dict[str, Any]]]] = {
        "naip": _naip, "sentinel-2-l2a": _sentinel, "landsat-c2-l2": _landsat
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    maker = ItemMaker(archive, folder, url)
    chosen = collections or tuple(makers)
    return RealItems(archive, folder, tuple(item for name in chosen for item in makers[name](maker, data)))


@dataclass(frozen=True, slots=True)
class ItemMaker:
    archive: Archive
    folder: Path
    url: str

    @property
    def is_planetary(self) -> bool:
        return self.archive == "planetary-computer"

    def href(self, name: str, raster: Raster, nodata: float | None) -> str:
        path = self.folder / f"{name}.tif"
        if not path.exists():
            write_cog(raster, path, nodata)
        return f"{self.url}/{path.name}"

    def item(
        self, identifier: str, collection: str, of: Raster, properties: Mapping[str, Any], assets: Mapping[str, Any]
    ) -> dict[str, Any]:
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "stac_extensions": [
                "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
                "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
            ],
            "id": identifier,
            **of.footprint(),
            "properties": {**properties, "proj:epsg": int(of.crs.partition(":")[2])},
            "links": [],
            "assets": dict(assets),
            "collection": collection,
        }


def _naip(maker: ItemMaker, data: Path) -> Iterator[dict[str, Any]]:
    names = ("R", "G", "B", "N") if maker.is_planetary else ("Red", "Green", "Blue", "NIR")
    for path in sorted((data / "naip").glob("m_*.tif")):
        state = _STATES.get(path.stem[:9])
        if state is None:
            continue
        stem = path.stem.removesuffix("_subset")
        raster, date = Raster.read(path), stem[-8:]
        properties = {
            "gsd": abs(raster.transform.a),
            "datetime": f"{date[:4]}-{date[4:6]}-{date[6:]}T16:00:00Z",
            "naip:year": date[:4],
            "naip:state": state,
            "proj:bbox": list(raster.bounds),
            **raster.projection(),
            **({} if maker.is_planetary else {"grid:code": f"DOQQ-{stem[2:12].upper().replace('_', '')}"}),
        }
        image = {
            "href": maker.href(f"{maker.archive}-{stem}", raster, None),
            "type": COG,
            "title": "RGBIR COG tile",
            "roles": ["data"],
            "eo:bands": [{"name": name} for name in names],
        }
        yield maker.item(f"{state}_{stem}", "naip", raster, properties, {"image": image})


@dataclass(frozen=True, slots=True)
class SentinelProduct:
    """What the names of a Sentinel-2 product consist of. Times are like "20220713T155829"."""

    satellite: str
    start: str
    strip: str
    sensed: str
    made: str
    baseline: str
    orbit: int
    tile: str

    @property
    def uri(self) -> str:
        number = self.baseline.replace(".", "")
        return f"{self.satellite}_MSIL2A_{self.start}_N{number}_R{self.orbit:03d}_T{self.tile}_{self.made}.SAFE"

    def properties(self, *, is_planetary: bool) -> dict[str, Any]:
        tile, letter = self.tile, self.satellite[-1]
        own = (
            {"platform": f"Sentinel-2{letter}", "s2:mgrs_tile": tile, "datetime": _time(self.start)}
            if is_planetary
            else {
                "platform": f"sentinel-2{letter.lower()}",
                "mgrs:utm_zone": int(tile[:2]),
                "mgrs:latitude_band": tile[2],
                "mgrs:grid_square": tile[3:],
                "grid:code": f"MGRS-{tile}",
                "s2:sequence": "0",
                "earthsearch:boa_offset_applied": self.baseline >= "04.00",
                "datetime": _time(self.sensed),
            }
        )
        return {
            "constellation": "Sentinel 2" if is_planetary else "sentinel-2",
            "instruments": ["msi"],
            "eo:cloud_cover": 1.25,
            "sat:orbit_state": "descending",
            "sat:relative_orbit": self.orbit,
            "s2:product_uri": self.uri,
            "s2:product_type": "S2MSI2A",
            "s2:processing_baseline": self.baseline,
            "s2:generation_time": _time(self.made),
            "s2:datatake_id": f"G{self.satellite}_{self.start}_027952_N{self.baseline}",
            "s2:datatake_type": "INS-NOBS",
            "s2:datastrip_id": f"{self.satellite}_OPER_MSI_L2A_DS_VGS1_{self.made}_S{self.strip}_N{self.baseline}",
            "s2:granule_id": f"{self.satellite}_OPER_MSI_L2A_TL_VGS1_{self.made}_A027952_T{tile}_N{self.baseline}",
            "s2:reflectance_conversion_factor": 0.97,
            "s2:mean_solar_zenith": 28.4,
            "s2:mean_solar_azimuth": 140.2,
            "s2:nodata_pixel_percentage": 0.0,
            **own,
        }


def _time(compact: str) -> str:
    date, clock = compact.split("T")
    return f"{date[:4]}-{date[4:6]}-{date[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}.024000Z"


def _sentinel(maker: ItemMaker, data: Path) -> Iterator[dict[str, Any]]:
    shore: dict[str, Raster] = {}
    for metres, bands in (
        (10, ("B02", "B03", "B04", "B08")),
        (20, ("B05", "B06", "B07", "B8A", "B11", "B12")),
        (60, ("B01", "B09")),
    ):
        raster = Raster.read(data / "optical" / f"s2_l1c_va_eastern_shore_{metres}m.tif")
        shore |= {name: raster.band(number) for number, name in enumerate(bands)}
    for product in (
        SentinelProduct(
            "S2A", "20211016T155251", "20211016T160313", "20211016T160344", "20211016T204512", "03.01", 11, "18SVG"
        ),
        SentinelProduct(
            "S2B", "20220713T154819", "20220713T155741", "20220713T160001", "20220713T200512", "04.00", 54, "18SVG"
        ),
    ):
        yield sentinel_item(maker, product, shore)
    stack = Raster.read(data / "optical" / "2018_3A_Theia_Bouconne.tif")
    unsigned = Raster(stack.values.astype("uint16"), stack.crs, stack.transform)
    for number, date in enumerate(_BOUCONNE):
        day = date.replace("-", "")
        first = number * len(_BOUCONNE_BANDS)
        bands = {name: unsigned.band(first + place) for place, name in enumerate(_BOUCONNE_BANDS)}
        coarse = {name: band if _GSD.get(name, 20) == 10 else band.every(2) for name, band in bands.items()}
        more = {"B01": bands["B02"].every(6), "B09": bands["B8A"].every(6)}
        times = (f"{day}T105029", f"{day}T105452", f"{day}T105501", f"{day}T131712")
        yield sentinel_item(maker, SentinelProduct("S2A", *times, "02.07", 51, "31TCJ"), {**coarse, **more})


def sentinel_item(maker: ItemMaker, product: SentinelProduct, bands: Mapping[str, Raster]) -> dict[str, Any]:
    if maker.is_planetary:
        identifier = "_".join(
            part for number, part in enumerate(product.uri.removesuffix(".SAFE").split("_")) if number != 3
        )
    else:
        identifier = f"{product.satellite}_{product.tile}_{product.start[:8]}_0_L2A"
    is_raw = maker.is_planetary and product.baseline >= "04.00"
    blue, coarse = bands["B02"], bands["B05"]
    ground = (np.clip(coarse.values // 500, 0, 7) + 4).astype("uint8")
    water = Raster((blue.values // 8).astype("uint16"), blue.crs, blue.transform)
    layers = {
        **bands,
        "SCL": Raster(ground, coarse.crs, coarse.transform),
        "AOT": water if maker.is_planetary else water.every(2),
        "WVP": water if maker.is_planetary else water.every(2),
    }
    assets: dict[str, Any] = {}
    for name, raster in layers.items():
        values = raster.values
        if is_raw and name.startswith("B"):
            values = np.where(values > 0, values + RAW_OFFSET, 0).astype("uint16")
        is_class = name == "SCL"
        common = _SENTINEL_NAMES[name]
        metres = _GSD.get(name, 20)
        asset = {
            "href": maker.href(f"{maker.archive}-{identifier}-{name}", Raster(values, raster.crs, raster.transform), 0),
            "type": COG,
            "roles": ["data"] if maker.is_planetary else ["data", "reflectance"],
            **raster.projection(),
        }
        if maker.is_planetary:
            asset |= {"proj:bbox": list(raster.bounds), "gsd": float(metres), "title": name}
            asset |= {} if is_class else {"eo:bands": [{"name": name, "common_name": common}]}
        else:
            scale = {} if is_class else {"scale": 0.0001, "offset": -0.1 if product.baseline >= "04.00" else 0}
            kind = "uint8" if is_class else "uint16"
            asset["raster:bands"] = [{"nodata": 0, "data_type": kind, "spatial_resolution": metres, **scale}]
            asset |= {} if is_class else {"eo:bands": [{"name": common, "common_name": common}]}
        assets[name if maker.is_planetary else common] = asset
    properties = product.properties(is_planetary=maker.is_planetary)
    return maker.item(identifier, "sentinel-2-l2a", blue, properties, assets)


_OLI = {"coastal": 0, "blue": 1, "green": 2, "red": 3, "nir08": 4, "swir16": 5, "swir22": 6, "lwir11": 8}
_ETM = {"blue": 0, "green": 1, "red": 2, "nir08": 3, "swir16": 4, "swir22": 7, "lwir": 5}
_TM = {"blue": 0, "green": 1, "red": 2, "nir08": 3, "swir16": 4, "swir22": 6, "lwir": 5}
_TEMPERATURE = ("atran", "cdist", "drad", "emis", "emsd", "trad", "urad", "qa")


def _landsat(maker: ItemMaker, data: Path) -> Iterator[dict[str, Any]]:
    for file, mission, bands, scale in (
        ("lc08_041027_montana_2015-06-04", "LC08", _OLI, 1),
        ("le07_041027_montana_2007-05-05", "LE07", _ETM, 150),
        ("lt05_041027_montana_1997-06-02", "LT05", _TM, 150),
    ):
        scene = Raster.read(data / "optical" / f"{file}.tif")
        numbers = (scene.values.astype("uint32") * scale).astype("uint16")
        yield _landsat_item(maker, mission, file[-10:], bands, Raster(numbers, scene.crs, scene.transform))


def _landsat_item(maker: ItemMaker, mission: str, date: str, bands: Mapping[str, int], scene: Raster) -> dict[str, Any]:
    identifier = f"{mission}_L2SP_041027_{date.replace('-', '')}_02_T1"
    is_oli = mission == "LC08"
    red = scene.band(bands["red"]).values
    quality = np.where(red > 0, 21824 if is_oli else 5440, 1).astype("uint16")

    def like(values: Values) -> Raster:
        return Raster(values, scene.crs, scene.transform)

    layers: dict[str, tuple[Raster, float | None]] = {name: (scene.band(n), 0) for name, n in bands.items()}
    layers |= {name: (like((red // 16).astype("int16")), -9999) for name in _TEMPERATURE}
    layers |= {"qa_pixel": (like(quality), 1), "qa_radsat": (like((red > 60_000).astype("uint16")), None)}
    if is_oli:
        layers["qa_aerosol"] = (like((red % 255).astype("uint8")), 1)
    else:
        layers |= {"cloud_qa": (like((red % 32).astype("uint8")), None)}
        layers |= {"atmos_opacity": (like((red // 32).astype("int16")), -9999)}
    assets = {
        name: {
            "href": maker.href(f"{maker.archive}-{identifier}-{name}", raster, nodata),
            "type": COG,
            "roles": ["data"],
            "raster:bands": [{"data_type": str(raster.values.dtype), "spatial_resolution": 30, "unit": "1"}],
        }
        for name, (raster, nodata) in layers.items()
    }
    properties = {
        "datetime": f"{date}T18:21:44.071391Z",
        "platform": f"landsat-{mission[-1]}",
        "instruments": {"LC08": ["oli", "tirs"], "LE07": ["etm+"], "LT05": ["tm"]}[mission],
        "gsd": 30,
        "eo:cloud_cover": 22.86,
        "view:off_nadir": 0,
        "view:sun_azimuth": 145.1,
        "view:sun_elevation": 60.9,
        "landsat:cloud_cover_land": 22.9,
        "landsat:wrs_type": "2",
        "landsat:wrs_path": "041",
        "landsat:wrs_row": "027",
        "landsat:collection_category": "T1",
        "landsat:collection_number": "02",
        "landsat:correction": "L2SP",
        "landsat:scene_id": f"{mission[:2]}{mission[3]}0410272015155LGN01",
        **scene.projection(),
    }
    return maker.item(identifier, "landsat-c2-l2", scene, properties, assets)
