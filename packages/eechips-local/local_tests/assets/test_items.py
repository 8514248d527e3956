"""STAC items that others wrote, with local files and files on a web server, against rasterio and pystac."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import rasterio.shutil
from click.testing import CliRunner
from pystac.extensions.eo import Band, EOExtension

from eechips_local.assets import FolderStore, IngestError, UnreadableFileError, UnsafeHrefError, ingest
from eechips_local.cli.assets_commands import assets_command
from eechips_local.evaluation.asset_model import PixelWindow, Query
from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.ingested_rasters import image, noise, pixels, raster
from local_tests.support.range_server import Files, range_server

COG = "image/tiff; application=geotiff; profile=cloud-optimized"


def cog(path: Path, values: np.ndarray, **options: Any) -> Path:
    """A cloud-optimised GeoTIFF with overviews, as GDAL writes it."""
    draft = raster(path.with_suffix(".draft.tif"), values, **options)
    rasterio.shutil.copy(str(draft), str(path), driver="COG", blocksize=128)
    draft.unlink()
    return path


def item(own: str, assets: dict[str, Any], **properties: Any) -> dict[str, Any]:
    """A STAC item's document."""
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": own, "geometry": None, "bbox": [0, 0, 1, 1], "links": [],
        "properties": {"datetime": "2020-06-01T10:00:00Z", **properties}, "assets": assets,
    }  # fmt: skip


def asset(href: str, **more: Any) -> dict[str, Any]:
    return {"href": href, "type": COG, "roles": ["data"], **more}


def write(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(json.dumps(document))
    return path


RED, NIR = noise(1, 300, 400, dtype="uint16"), noise(1, 150, 200, dtype="uint16", seed=1)
QUAD = noise(4, 300, 400, seed=2)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A folder with an item and its files: two bands of one asset each, a picture, a mask, and metadata."""
    folder = tmp_path / "scene"
    folder.mkdir()
    cog(folder / "red.tif", RED, nodata=0)
    cog(folder / "nir.tif", NIR, transform=rasterio.Affine(10, 0, 485900, 0, -10, 5209247))
    cog(folder / "cloud.tif", noise(1, 300, 400, seed=3))
    assets = {
        "thumbnail": {"href": "./thumbnail.png", "type": "image/png", "roles": ["thumbnail"]},
        "overview": asset("./red.tif", roles=["overview"]),
        "red": asset(
            "./red.tif", **{"eo:bands": [{"name": "B4"}], "raster:bands": [{"scale": 0.0001, "offset": -0.1}]}
        ),
        "nir": asset("nir.tif", bands=[{"name": "B8", "nodata": 7}]),
        "cloud": {"href": "./cloud.tif", "type": COG, "roles": ["quality"]},
        "info": {"href": "./info.xml", "type": "application/xml", "roles": ["metadata"]},
    }
    more = {"eo:cloud_cover": 12.5, "platform": "sentinel-2a", "proj:epsg": 26914, "created": "2021-01-01T00:00:00Z"}
    write(folder / "item.json", item("S2A_1", assets, end_datetime="2020-06-01T10:05:00Z", **more))
    return folder


@pytest.mark.parametrize("by_reference", [False, True])
def test_an_item_becomes_an_image(scene: Path, tmp_path: Path, by_reference: bool) -> None:
    ids = ingest(
        scene / "item.json",
        tmp_path / "store",
        "S2/x",
        bands=["red"],
        properties={"mine": 1},
        by_reference=by_reference,
    )
    assert ids == ["S2/x"]
    found = image(FolderStore(tmp_path / "store"), "S2/x")
    (stored,) = (tmp_path / "store" / "S2").rglob("*.tif")
    assert dict(found.properties) == {
        "eo:cloud_cover": 12.5, "platform": "sentinel-2a", "mine": 1, "red_scale": 0.0001, "red_offset": -0.1,
        "system:index": "x", "system:time_start": 1591005600000, "system:time_end": 1591005900000,
        "system:asset_size": stored.stat().st_size,
    }  # fmt: skip
    values, valid = pixels(found)
    np.testing.assert_array_equal(values, RED[0])
    np.testing.assert_array_equal(valid, RED[0] != 0)
    assert found.bands[0].source.levels[:2] == (1, 2)
    if by_reference:
        assert stored.samefile(scene / "red.tif")
        assert not stored.is_symlink()


def test_all_data_assets_become_bands(scene: Path, tmp_path: Path) -> None:
    ingest(scene / "item.json", tmp_path / "store", "S2/x")
    found = image(FolderStore(tmp_path / "store"), "S2/x")
    assert [band.name for band in found.bands] == ["red", "nir"]
    assert [band.grid.transform.a for band in found.bands] == [5.0, 10.0]
    values, valid = pixels(found, 1)
    np.testing.assert_array_equal(values, NIR[0])
    np.testing.assert_array_equal(valid, NIR[0] != 7)  # the item knows what the file does not
    with pytest.raises(IngestError, match=r"no nodata value, not 7\.0: ingest a copy"):
        ingest(scene / "item.json", tmp_path / "store", "S2/y", by_reference=True)


@pytest.mark.parametrize(
    ("fields", "nodata"),
    [
        ({"nodata": 7, "raster:scale": 0.5}, 7),
        ({"nodata": 3, "bands": [{"name": "nir", "nodata": 7}], "raster:scale": 0.5}, 7),
        ({"nodata": 7, "bands": [{"name": "nir"}], "raster:scale": 0.5}, 7),
        ({"nodata": "nan", "bands": [{"name": "nir", "raster:scale": 0.5}]}, None),
        ({"raster:bands": [{"nodata": -9999, "scale": 0.5}]}, None),
    ],
)
def test_values_of_all_bands_may_be_those_of_their_asset(tmp_path: Path, fields: Any, nodata: int | None) -> None:
    """STAC 1.1 moves equal values there. What no pixel of the type can have is no nodata value."""
    cog(tmp_path / "nir.tif", NIR)
    write(tmp_path / "item.json", item("a", {"nir": asset("nir.tif", **fields)}))
    ingest(tmp_path / "item.json", tmp_path / "store", "x")
    found = image(FolderStore(tmp_path / "store"), "x")
    assert found.properties["nir_scale"] == 0.5
    values, valid = pixels(found)
    np.testing.assert_array_equal(values, NIR[0])
    np.testing.assert_array_equal(valid, NIR[0] != nodata if nodata is not None else np.ones_like(valid))
    if nodata is None:
        ingest(tmp_path / "item.json", tmp_path / "store", "x", by_reference=True)


@pytest.mark.parametrize(
    "kind",
    [
        "IMAGE/TIFF; Application=GeoTIFF",
        "image/geotiff",
        "application/octet-stream",
        "application/octet-stream; charset=binary",
    ],
)
def test_media_types_are_read_as_writers_spell_them(tmp_path: Path, kind: str) -> None:
    cog(tmp_path / "nir.tif", NIR)
    write(tmp_path / "item.json", item("a", {"nir": asset("nir.tif", type=kind)}))
    ingest(tmp_path / "item.json", tmp_path / "store", "x")
    assert [band.name for band in image(FolderStore(tmp_path / "store"), "x").bands] == ["nir"]


def test_values_of_all_assets_may_be_those_of_their_item(tmp_path: Path) -> None:
    """A field of an asset or band takes precedence; null is no value."""
    cog(tmp_path / "nir.tif", NIR)
    fields: dict[str, dict[str, Any]] = {
        "a": {}, "b": {"nodata": 9}, "c": {"nodata": None}, "d": {"raster:bands": [{"nodata": 9, "scale": 0.25}]},
        "e": {"raster:bands": [{"nodata": None, "scale": None, "offset": None}]},
        "f": {"bands": [{"name": None, "nodata": None, "raster:scale": 0.25}]},
    }  # fmt: skip
    assets = {key: asset("nir.tif", **stated) for key, stated in fields.items()}
    write(tmp_path / "item.json", item("a", assets, **{"nodata": 7, "raster:scale": 0.5}))
    ingest(tmp_path / "item.json", tmp_path / "store", "x")
    found = image(FolderStore(tmp_path / "store"), "x")
    assert {name: value for name, value in found.properties.items() if name.endswith("scale")} == {
        "a_scale": 0.5, "b_scale": 0.5, "c_scale": 0.5, "d_scale": 0.25, "e_scale": 0.5, "f_scale": 0.25,
    }  # fmt: skip
    for band, nodata in enumerate((7, 9, 7, 9, 7, 7)):
        _, valid = pixels(found, band)
        np.testing.assert_array_equal(valid, NIR[0] != nodata)


@pytest.mark.parametrize("by_reference", [False, True])
def test_an_alpha_band_masks_the_others_unless_it_has_the_name_of_another(tmp_path: Path, by_reference: bool) -> None:
    """As of NAIP, whose near infrared many files call alpha."""
    quad = np.where(np.arange(400) < 200, 0, QUAD).astype("uint8")
    raster(tmp_path / "quad.tif", quad, photometric="RGB", alpha="YES")
    for last, are_valid in (("N", [1, 1, 1, 1]), ("Alpha", [0, 0, 0, 1]), (None, [0, 0, 0])):
        names = [{"name": name} for name in ("R", "G", "B", last) if name]
        path = write(tmp_path / "item.json", item("a", {"quad": asset("quad.tif", bands=names)}))
        ingest(path, tmp_path / "store", "x", by_reference=by_reference)
        found = image(FolderStore(tmp_path / "store"), "x")
        assert [band.name for band in found.bands] == [band["name"] for band in names]
        for band, is_valid in enumerate(are_valid):
            values, valid = pixels(found, band)
            np.testing.assert_array_equal(values, quad[band])
            np.testing.assert_array_equal(valid, is_valid | (quad[3] > 0))
        if last == "N":
            with pytest.raises(IngestError, match="calls its last band alpha"):
                ingest(path, tmp_path / "store", "y", bands=["R"], by_reference=True)


def test_pyramids_are_chosen_by_the_names_of_bands(tmp_path: Path) -> None:
    cog(tmp_path / "nir.tif", RED)
    path = write(tmp_path / "item.json", item("a", {"nir": asset("nir.tif"), "same": asset("nir.tif")}))
    ingest(path, tmp_path / "store", "x", resampling={"same": "nearest"})
    bands = image(FolderStore(tmp_path / "store"), "x").bands
    mean, sample = (band.source.read([band.index], PixelWindow(0, 0, 9, 9), 1)[0] for band in bands)
    np.testing.assert_array_equal(sample[0], RED[0, :18:2, :18:2])
    assert (mean != sample).any()
    with pytest.raises(IngestError, match="no band 'nri' to make a pyramid of; there are nir, same"):
        ingest(path, tmp_path / "y", "y", resampling={"nri": "nearest"})


def test_external_masks_and_overviews_are_not_copied(tmp_path: Path) -> None:
    path = raster(tmp_path / "a.tif", noise(1, 600, 600))
    write(tmp_path / "item.json", item("a", {"a": asset("a.tif")}))
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as file:
        file.build_overviews([2], rasterio.enums.Resampling.nearest)
    assert (tmp_path / "a.tif.ovr").exists()
    ingest(tmp_path / "item.json", tmp_path / "store", "N/x", by_reference=True)
    assert image(FolderStore(tmp_path / "store"), "N/x").bands[0].source.levels == (1,)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        file.write_mask(noise(1, 600, 600)[0] > 9)
    assert (tmp_path / "a.tif.msk").exists()
    with pytest.raises(IngestError, match="has its mask in another file"):
        ingest(tmp_path / "item.json", tmp_path / "store", "N/x", by_reference=True)
    ingest(tmp_path / "item.json", tmp_path / "store", "N/x")
    np.testing.assert_array_equal(pixels(image(FolderStore(tmp_path / "store"), "N/x"))[1], noise(1, 600, 600)[0] > 9)


def test_a_composite_beside_its_parts_has_names_of_its_own(tmp_path: Path) -> None:
    """As the Planetary Computer's Sentinel-2: ``visual`` has the bands B04, B03 and B02 once more."""
    parts = [f"B0{number}" for number in (2, 3, 4)]
    values = noise(3, 40, 50)
    for name, own in zip(parts, values, strict=True):
        raster(tmp_path / f"{name}.tif", own[np.newaxis])
    raster(tmp_path / "visual.tif", 255 - values)
    assets = {name: asset(f"{name}.tif", **{"eo:bands": [{"name": name}]}) for name in parts}
    assets["visual"] = asset("visual.tif", **{"eo:bands": [{"name": name} for name in parts]})
    ingest(write(tmp_path / "item.json", item("S2", assets)), tmp_path / "store", "S2/x")
    found = image(FolderStore(tmp_path / "store"), "S2/x")
    assert [band.name for band in found.bands] == [*parts, *(f"visual_{name}" for name in parts)]
    for band in range(6):
        np.testing.assert_array_equal(pixels(found, band)[0], values[band] if band < 3 else 255 - values[band - 3])
    ingest(tmp_path / "item.json", tmp_path / "store", "S2/y", bands=[f"visual_{parts[1]}", parts[1]])
    found = image(FolderStore(tmp_path / "store"), "S2/y")
    assert [band.name for band in found.bands] == [f"visual_{parts[1]}", parts[1]]
    np.testing.assert_array_equal(pixels(found, 0)[0], 255 - values[1])
    alike = write(tmp_path / "item.json", item("S2", {"visual": {**assets["visual"], "eo:bands": [{"name": "v"}] * 3}}))
    ingest(alike, tmp_path / "store", "S2/z")
    found = image(FolderStore(tmp_path / "store"), "S2/z")
    assert [band.name for band in found.bands] == ["visual_1", "visual_2", "visual_3"]


def test_bands_are_chosen_by_asset_or_by_name(scene: Path, tmp_path: Path) -> None:
    ingest(scene / "item.json", tmp_path / "store", "S2/x", bands=["cloud", "nir"])
    assert [band.name for band in image(FolderStore(tmp_path / "store"), "S2/x").bands] == ["cloud", "nir"]
    with pytest.raises(IngestError, match="has no band 'B11'; there are thumbnail, overview, red, nir"):
        ingest(scene / "item.json", tmp_path / "store", "S2/x", bands=["red", "B11"])


@pytest.mark.parametrize("by_reference", [False, True])
def test_some_bands_of_a_file_are_chosen(tmp_path: Path, by_reference: bool) -> None:
    cog(tmp_path / "quad.tif", QUAD)
    bands = [{"name": name} for name in ("R", "G", "B", "N")]
    write(tmp_path / "item.json", item("m_1", {"image": asset("quad.tif", **{"eo:bands": bands})}))
    ingest(tmp_path / "item.json", tmp_path / "store", "N/x", bands=["N", "G"], by_reference=by_reference)
    (tmp_path / "store" / ".index.sqlite").unlink()  # what follows comes from the documents
    found = image(FolderStore(tmp_path / "store"), "N/x")
    assert [band.name for band in found.bands] == ["N", "G"]
    np.testing.assert_array_equal(pixels(found, 0)[0], QUAD[3])
    np.testing.assert_array_equal(pixels(found, 1)[0], QUAD[1])


@pytest.mark.slow
def test_a_collection_saved_by_pystac_is_ingested(tmp_path: Path) -> None:
    extent = pystac.Extent(pystac.SpatialExtent([-180.0, -90.0, 180.0, 90.0]), pystac.TemporalExtent([None, None]))
    collection = pystac.Collection("quads", "", extent, license="other")
    for number in (2, 1):
        path = cog(tmp_path / f"quad {number}.tif", QUAD + number)
        new = pystac.Item(f"m_{number}", None, None, pystac.utils.str_to_datetime(f"2020-01-0{number}"), {})
        new.add_asset("image", pystac.Asset(str(path), media_type=COG, roles=["data"]))
        eo = EOExtension.ext(new.assets["image"], add_if_missing=True)
        eo.bands = [Band.create(name) for name in ("R", "G", "B", "N")]
        collection.add_item(new)
    root = pystac.Catalog("root", "")
    root.add_child(collection)
    root.normalize_and_save(str(tmp_path / "stac"), pystac.CatalogType.SELF_CONTAINED)
    for document in ("catalog.json", "quads/collection.json"):
        ids = ingest(tmp_path / "stac" / document, tmp_path / "store", "NAIP")
        assert sorted(ids) == ["NAIP/m_1", "NAIP/m_2"]
    store = FolderStore(tmp_path / "store")
    assert [found.id for found in store.get("NAIP").images(Query(start=1577923200000))] == ["NAIP/m_2"]  # type: ignore[union-attr]
    np.testing.assert_array_equal(pixels(image(store, "NAIP/m_1"), 3)[0], QUAD[3] + 1)


def test_a_list_of_items_is_ingested(tmp_path: Path) -> None:
    features = [
        item(f"m_{number}", {"image": asset(str(cog(tmp_path / f"{number}.tif", QUAD[:1] + number)))})
        for number in (1, 2)
    ]
    found = write(tmp_path / "search.json", {"type": "FeatureCollection", "features": features})
    assert ingest(found, tmp_path / "store", "N") == ["N/m_1", "N/m_2"]
    features[1]["id"] = "m_1"
    write(found, {"type": "FeatureCollection", "features": features})
    with pytest.raises(IngestError, match="both have the id m_1"):
        ingest(found, tmp_path / "store", "N")


def test_a_catalogue_that_leads_to_itself_ends(tmp_path: Path) -> None:
    link = {"rel": "child", "href": "./catalog.json"}
    catalog = {"type": "Catalog", "id": "c", "stac_version": "1.0.0", "links": [link, link]}
    with pytest.raises(IngestError, match="leads to no item"):
        ingest(write(tmp_path / "catalog.json", catalog), tmp_path / "store", "N")


HREFS = [
    ("https://example.com/a.tif", UnsafeHrefError, "only read where --allow-remote"),
    ("https://someone:secret@example.com/a.tif", UnsafeHrefError, "without a password"),
    ("http://169.254.169.254/latest/a.tif", UnsafeHrefError, "at an address where no file is: nothing was sent"),
    ("http://0xa9fea9fe/a.tif", UnsafeHrefError, "at an address where no file is: nothing was sent"),
    ("http://[::ffff:169.254.169.254]/a.tif", UnsafeHrefError, "at an address where no file is: nothing was sent"),
    ("http://Metadata.google.internal./a.tif", UnsafeHrefError, "at an address where no file is: nothing was sent"),
    ("http://exa mple.com/a.tif", UnsafeHrefError, "not the URL of a file"),
    ("s3://bucket/a.tif", UnsafeHrefError, r"only files and http\(s\)"),
    ("/vsicurl/http://example.com/a.tif", UnsafeHrefError, r"only files and http\(s\)"),
    ("/vsizip/a.zip/a.tif", UnsafeHrefError, r"only files and http\(s\)"),
    ("ftp://example.com/a.tif", UnsafeHrefError, r"only files and http\(s\)"),
    ("", UnsafeHrefError, r"only files and http\(s\)"),
    ("missing.tif", UnreadableFileError, "there is no file"),
    ("outside.vrt", UnreadableFileError, "cannot be read as a raster"),
]  # fmt: skip


@pytest.mark.parametrize(("href", "error", "message"), HREFS)
def test_other_files_are_not_read(tmp_path: Path, href: str, error: type[Exception], message: str) -> None:
    cog(tmp_path / "secret.tif", QUAD)
    rasterio.shutil.copy(str(tmp_path / "secret.tif"), str(tmp_path / "outside.vrt"), driver="VRT")
    write(tmp_path / "item.json", item("m_1", {"image": asset(href)}))
    for by_reference in (False, True):
        with pytest.raises(error, match=message) as caught:
            ingest(tmp_path / "item.json", tmp_path / "store", "N/x", by_reference=by_reference)
        assert "secret@" not in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_unsuitable_documents_are_refused(scene: Path, tmp_path: Path) -> None:
    document = json.loads((scene / "item.json").read_text())
    slash = write(scene / "slash.json", {**document, "id": "../../x"})
    bare = write(scene / "bare.json", {**document, "assets": {}})
    odd = write(scene / "odd.json", {**document, "assets": {"a": asset("red.tif", bands=[{"raster:scale": "x"}])}})
    twice = write(scene / "twice.json", {**document, "assets": {"red": asset("red.tif"), "B4": asset("red.tif")}})
    links = [{"rel": "item", "href": "https://example.com/item.json?sig=1"}]
    far = write(scene / "far.json", {"type": "Collection", "id": "c", "stac_version": "1.0.0", "links": links})
    rasterio.shutil.copy(str(scene / "red.tif"), str(scene / "a.png"), driver="PNG")
    png = write(scene / "png.json", {**document, "assets": {"a": {"href": "a.png", "type": COG}}})
    cases: list[tuple[str, Any, dict[str, Any]]] = [
        ("cannot be the name of an image", [slash, scene / "item.json"], {}),
        ("has no raster of data among its assets", bare, {}),
        ("what is no number", odd, {}),
        ("items are read from files", far, {}),
        ("is a STAC document, .* is none", [scene / "item.json", scene / "red.tif"], {}),
        ("leave dates out", scene / "item.json", {"time_start": "2020-01-01"}),
        ("leave name out", scene / "item.json", {"name": "{stem}"}),
        ("leave resampling, nodata and crs out", scene / "item.json", {"by_reference": True, "nodata": 3.0}),
        ("a.png cannot be read as a raster", png, {"by_reference": True}),
    ]
    for message, files, options in cases:
        with pytest.raises(IngestError, match=message):
            ingest(files, tmp_path / "store", "N/x", **options)
    ingest(twice, tmp_path / "store", "N/x", by_reference=True)


@pytest.mark.parametrize("by_reference", [False, True])
def test_jpeg_2000_items_are_ingested(scene: Path, tmp_path: Path, by_reference: bool) -> None:
    rasterio.shutil.copy(
        str(scene / "nir.tif"), str(scene / "a.jp2"), driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE=True
    )
    assets = {"a": {"href": "a.jp2", "type": "image/jp2"}, "cloud": asset("cloud.tif")}
    write(scene / "both.json", item("both", assets))
    write(scene / "alone.json", item("alone", {"a": assets["a"]}))
    for name in ("both", "alone"):
        ingest(scene / f"{name}.json", tmp_path / "store", f"N/{name}", by_reference=by_reference)
    found = image(FolderStore(tmp_path / "store"), "N/alone")
    values, valid = pixels(found)
    np.testing.assert_array_equal(values, NIR[0])
    assert valid.all()  # JPEG 2000 has no value for no data
    assert bool(list((tmp_path / "store").rglob("*.jp2"))) is by_reference
    # GeoTIFFs come first: the same bands are there as JPEG 2000, too.
    assert [band.name for band in image(FolderStore(tmp_path / "store"), "N/both").bands] == ["cloud"]


# --- on a web server ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GeoTIFF of a few megabytes."""
    return cog(tmp_path_factory.mktemp("big") / "big.tif", noise(2, 1536, 1280, dtype="uint16", seed=5), nodata=3)


@pytest.fixture
def web(tmp_path: Path, big: Path) -> Iterator[Files]:
    """A server with a GeoTIFF of a few megabytes."""
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "big.tif").hardlink_to(big)
    with range_server(folder) as files:
        yield files


def remote_item(tmp_path: Path, href: str) -> Path:
    return write(tmp_path / "item.json", item("far", {"a": asset(href, bands=[{"name": "one"}, {"name": "two"}])}))


@pytest.mark.slow
def test_a_remote_file_is_copied_where_that_is_allowed(tmp_path: Path, web: Files) -> None:
    document = remote_item(tmp_path, f"{web.url}/big.tif?sig=secret")
    with pytest.raises(UnsafeHrefError, match=f"refers to {web.url}/big.tif: .*--allow-remote") as caught:
        ingest(document, tmp_path / "store", "W/x")
    assert "secret" not in str(caught.value)
    assert not web.bytes  # nothing was asked for
    ingest(document, tmp_path / "store", "W/x", remote=True)
    assert web.queries == {"sig=secret"}
    found = image(FolderStore(tmp_path / "store"), "W/x")
    with rasterio.open(web.folder / "big.tif") as truth:
        for band in range(2):
            values, valid = pixels(found, band)
            np.testing.assert_array_equal(values, truth.read(band + 1))
            np.testing.assert_array_equal(valid, values != 3)


@pytest.mark.slow
def test_a_remote_file_is_referred_to_and_read_by_ranges(tmp_path: Path, web: Files) -> None:
    size = (web.folder / "big.tif").stat().st_size
    document = remote_item(tmp_path, f"{web.url}/big.tif?sig=secret")
    ingest(document, tmp_path / "store", "W/x", remote=True, by_reference=True)
    assert not list((tmp_path / "store").rglob("*.tif"))
    refused = image(FolderStore(tmp_path / "store"), "W/x")
    assert refused.bands[0].source.levels[:3] == (1, 2, 4)
    with pytest.raises(InvalidError, match=f"'W/x' refers to {web.url}/big.tif, .*--allow-remote") as caught:
        pixels(refused)
    assert "secret" not in str(caught.value)
    web.bytes.clear()
    (tmp_path / "store" / ".index.sqlite").unlink()
    found = image(FolderStore(tmp_path / "store", remote=True), "W/x")
    values, valid = found.bands[1].source.read([1], PixelWindow(640, 512, 128, 128), 0)
    with rasterio.open(web.folder / "big.tif") as truth:
        np.testing.assert_array_equal(values[0], truth.read(2)[512:640, 640:768])
    np.testing.assert_array_equal(valid, values != 3)
    assert 0 < web.bytes["big.tif"] < size / 4


@pytest.mark.slow
def test_relative_references_are_meant_from_where_the_item_was(tmp_path: Path, web: Files) -> None:
    document = item("far", {"a": asset("./big.tif")})
    document["links"] = [{"rel": "self", "href": f"{web.url}/item.json"}]
    path = write(tmp_path / "item.json", document)
    with pytest.raises(UnsafeHrefError, match="--allow-remote"):
        ingest(path, tmp_path / "store", "W/x")
    ingest(path, tmp_path / "store", "W/x", remote=True, by_reference=True)
    found = FolderStore(tmp_path / "store", remote=True)
    assert [band.name for band in image(found, "W/x").bands] == ["a_1", "a_2"]


def test_a_remote_vrt_reads_no_other_files(tmp_path: Path, web: Files) -> None:
    rasterio.shutil.copy(str(web.folder / "big.tif"), str(web.folder / "trap.tif"), driver="VRT")
    document = remote_item(tmp_path, f"{web.url}/trap.tif")
    for by_reference in (False, True):
        with pytest.raises(UnreadableFileError, match=r"trap\.tif cannot be read as a raster"):
            ingest(document, tmp_path / "store", "W/x", remote=True, by_reference=by_reference)


def test_a_missing_remote_file_is_reported(tmp_path: Path, web: Files) -> None:
    with pytest.raises(UnreadableFileError, match=r"gone\.tif cannot be read as a raster: .*404"):
        ingest(remote_item(tmp_path, f"{web.url}/gone.tif?sig=s"), tmp_path / "store", "W/x", remote=True)


@pytest.mark.slow
def test_remote_assets_are_replaced(tmp_path: Path, web: Files) -> None:
    document = remote_item(tmp_path, f"{web.url}/big.tif")
    for by_reference in (True, False, True, True):
        ingest(document, tmp_path / "store", "W/x", remote=True, by_reference=by_reference, bands=["two"])
        assert len(list((tmp_path / "store").rglob("*.tif"))) == (0 if by_reference else 1)
    assert [band.index for band in image(FolderStore(tmp_path / "store"), "W/x").bands] == [1]


def test_items_are_ingested_by_the_command(tmp_path: Path, web: Files) -> None:
    arguments = [
        "ingest",
        str(remote_item(tmp_path, f"{web.url}/big.tif")),
        "--into",
        str(tmp_path / "store"),
        "--id",
        "W/x",
    ]
    refused = CliRunner().invoke(assets_command, arguments)
    assert refused.exit_code == 2
    assert "--allow-remote" in refused.output
    assert "Traceback" not in refused.output
    found = CliRunner().invoke(assets_command, [*arguments, "--allow-remote", "--by-reference", "--bands", "two"])
    assert (found.exit_code, found.output) == (0, "W/x\n")
