"""Files, ids and references that an asset store refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.warp
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS

from eechips_local.assets import (
    AssetExistsError,
    FolderStore,
    IngestError,
    InvalidAssetIdError,
    MissingCrsError,
    UnreadableFileError,
    UnsafeHrefError,
    ingest,
)
from eechips_local.assets.asset_names import check_id, folder_of, resolve_href
from eechips_local.evaluation.asset_model import PixelWindow
from eechips_local.evaluation.request_processor import service_error
from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.ingested_rasters import UTM, image, noise, pixels, raster, snapshot, touch


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    store, empty = tmp_path / "store", tmp_path / "empty"
    empty.mkdir()
    good = raster(tmp_path / "good.tif", noise(2, 9, 9))
    text = tmp_path / "text.tif"
    text.write_text("not a raster")
    (tmp_path / "cut.tif").write_bytes(raster(tmp_path / "whole.tif", noise(1, 500, 500)).read_bytes()[:5000])
    nowhere = raster(tmp_path / "nowhere.tif", noise(1, 9, 9), crs=None)
    local = raster(tmp_path / "local.tif", noise(1, 9, 9), crs='LOCAL_CS["site",UNIT["metre",1]]')
    complex_ = raster(tmp_path / "complex.tif", noise(1, 9, 9).astype("complex64"))
    with rasterio.open(complex_) as file:
        profile = file.profile | {"dtype": "complex_int16"}
    with rasterio.open(tmp_path / "pairs.tif", "w", **profile):
        pass
    unsigned = raster(tmp_path / "unsigned.tif", noise(1, 9, 9).astype("uint64"))
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        unplaced = raster(tmp_path / "unplaced.tif", noise(1, 9, 9), transform=Affine.identity())
    cases: list[tuple[type[Exception], str, Any, dict[str, Any]]] = [
        (UnreadableFileError, r"no file .*missing\.tif\.$", tmp_path / "missing.tif", {}),
        (UnreadableFileError, "download or unpack it first", "https://example.org/a.tif", {}),
        (UnreadableFileError, "neither a raster nor a vector", text, {}),
        (UnreadableFileError, "holds no file that looks like", empty, {}),
        (UnreadableFileError, "is damaged", tmp_path / "cut.tif", {}),
        (MissingCrsError, "no coordinate reference system.*--crs EPSG", nowhere, {}),
        (MissingCrsError, "not georeferenced", unplaced, {}),
        (IngestError, r"LOCAL_CS.*local\.tif has no place on Earth.*--crs EPSG", local, {}),
        (IngestError, "complex", complex_, {}),
        (IngestError, "complex", tmp_path / "pairs.tif", {}),
        (IngestError, "unsigned numbers of 64 bits.*-ot Int64", unsigned, {}),
        (IngestError, "no file to ingest", [], {}),
        (IngestError, "2 bands, but 3 names", good, {"bands": ["a", "b", "c"]}),
        (IngestError, "must differ", good, {"bands": ["a", "a"]}),
        (IngestError, "not by 'cubic'", good, {"resampling": "cubic"}),
        (IngestError, "CRS 'EPSG:1' is not understood", good, {"crs": "EPSG:1"}),
        (IngestError, "is not a date", good, {"time_start": "15/08/2011"}),
        (IngestError, "end .* before the start", good, {"time_start": "2011-02-01", "time_end": "2011-01-01"}),
        (IngestError, "not a JSON value", good, {"properties": {"a": float("nan")}}),
        (IngestError, "Earth Engine's own", good, {"properties": {"system:index": "a"}}),
    ]
    for error, message, files, options in cases:
        with pytest.raises(error, match=message):
            ingest(files, store, "A/B/c", **options)
    assert not store.exists() or list(snapshot(store)) == ["catalog.json"]
    ingest(nowhere, store, "A/B/c", crs="EPSG:32613")
    assert image(FolderStore(store), "A/B/c").bands[0].grid.crs == "EPSG:32613"


def test_a_long_crs_is_cut_in_the_message(tmp_path: Path) -> None:
    text = CRS.from_epsg(26914).to_wkt().replace("Transverse Mercator", "Unknown Method")
    with pytest.raises(IngestError, match=r"^The CRS 'PROJCRS.*…' is not understood: .*Proj Error.*$") as refused:
        ingest(raster(tmp_path / "good.tif", noise(1, 9, 9)), tmp_path / "store", "A/b", crs=text[:-9])
    assert len(str(refused.value)) < 400


def test_existing_ids_are_refused(tmp_path: Path) -> None:
    source = raster(tmp_path / "a.tif", noise(1, 9, 9))
    store = tmp_path / "store"
    ingest(source, store, "A/B/c")
    before = snapshot(store)
    for asset_id, message in [
        ("A/B", "there is already the collection A/B:"),
        ("A", "there is already the folder A:"),
        ("A/B/c/d", "nothing can be put under the image A/B/c:"),
    ]:
        with pytest.raises(AssetExistsError, match=message):
            ingest(source, store, asset_id)
    assert snapshot(store) == before


HOSTILE = [
    "",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "a/../b",
    "a/./b",
    "a\\b",
    "a\0b",
    "a\nb",
    "a\u2028b",
    "x" * 300,
    "\udc80",
]


@pytest.mark.parametrize("asset_id", HOSTILE)
def test_invalid_ids_are_refused(tmp_path: Path, asset_id: str) -> None:
    source = raster(tmp_path / "a.tif", noise(1, 9, 9))
    with pytest.raises(InvalidAssetIdError, match="cannot be an asset id"):
        ingest(source, tmp_path / "store", asset_id)
    ingest(source, tmp_path / "store", "A/b")
    if asset_id:
        assert FolderStore(tmp_path / "store").get(asset_id) is None


@given(st.lists(st.text(st.characters(exclude_characters="/"), min_size=1), min_size=1, max_size=4).map("/".join))
def test_folders_of_ids_stay_inside_and_apart(asset_id: str) -> None:
    try:
        check_id(asset_id)
    except InvalidAssetIdError:
        return
    folder = folder_of(asset_id)
    assert folder.isascii()
    assert folder.count("/") == asset_id.count("/")
    for segment, name in zip(asset_id.split("/"), folder.split("/"), strict=True):
        assert "." not in name
        assert bytes.fromhex(name.split("=", 1)[1][:2]) if "=" in name else name == segment


def test_unusual_ids_are_served(tmp_path: Path) -> None:
    source = raster(tmp_path / "a.tif", noise(1, 9, 9))
    ids = ["v1.0/catalog.json/item.json", "v1.0/.lock", "users/jo é/ü?x=1#y%2e", "CON", "a:b", "index.sqlite"]
    for asset_id in ids:
        ingest(source, tmp_path / "store", asset_id)
    store = FolderStore(tmp_path / "store")
    for asset_id in ids:
        assert image(store, asset_id).id == asset_id
    (tmp_path / "store" / ".index.sqlite").unlink()
    assert {asset_id: image(store, asset_id).id for asset_id in ids} == {asset_id: asset_id for asset_id in ids}


@pytest.mark.parametrize(
    "href",
    ["https://someone:secret@example.com/a.tif", "https:///a.tif", "http://example.com/a b.tif", "s3://bucket/a.tif",
     "file:///etc/passwd", "/etc/passwd", "../../../etc/passwd", "..\\a", "~/a", "/vsicurl/http://x", "", "a\0b",
     "../../../outside.tif"],
)  # fmt: skip
def test_references_out_of_the_store_are_refused(tmp_path: Path, href: str) -> None:
    ingest(raster(tmp_path / "outside.tif", noise(1, 9, 9)), tmp_path / "store", "A/b")
    path = tmp_path / "store" / "A" / "b" / "item.json"
    document = json.loads(path.read_text())
    document["assets"]["data"]["href"] = href
    path.write_text(json.dumps(document))
    touch(tmp_path / "store" / "A" / "collection.json")
    with pytest.raises(UnsafeHrefError) as raised:
        FolderStore(tmp_path / "store").get("A/b")
    answer = service_error(raised.value)
    assert (answer.code, "secret" in str(answer)) == (400, False)


def test_symbolic_links_out_of_the_store_are_refused(tmp_path: Path) -> None:
    outside = raster(tmp_path / "outside.tif", noise(1, 9, 9))
    root = tmp_path / "store"
    ingest(outside, root, "A/b")
    (root / "in.tif").symlink_to(root / "A")
    (root / "out.tif").symlink_to(outside)
    (root / "up").symlink_to(tmp_path)
    assert resolve_href(root, "A/b/item.json", "../../in.tif") == "in.tif"
    for href in ("../../out.tif", "../../up/outside.tif"):
        with pytest.raises(UnsafeHrefError, match="outside the store"):
            resolve_href(root, "A/b/item.json", href)
    (stored,) = (root / "A" / "b").glob("*.tif")
    store = FolderStore(root)
    found = image(store, "A/b")
    stored.unlink()
    stored.symlink_to(outside)
    with pytest.raises(OSError, match="leads outside"):
        pixels(found)


def test_files_beside_a_raster_are_not_looked_at(tmp_path: Path) -> None:
    """GDAL would take overviews and masks from them, wherever their links and metadata lead."""
    root = tmp_path / "store"
    ingest(raster(tmp_path / "zeros.tif", np.zeros((1, 600, 600), dtype="uint8")), root, "A/b")
    secret = raster(tmp_path / "secret.tif", np.full((1, 300, 300), 77, dtype="uint8"))
    (stored,) = (root / "A" / "b").glob("*.tif")
    raster(stored, np.zeros((1, 600, 600), dtype="uint8"))  # without a pyramid of its own
    hint = f'<MDI key="OVERVIEW_FILE">{secret}</MDI>'
    metadata = f'<PAMDataset><Metadata domain="OVERVIEWS">{hint}</Metadata></PAMDataset>'
    mask = raster(tmp_path / "mask.tif", np.zeros((1, 600, 600), dtype="uint8"))
    for suffix in (".aux.xml", ".ovr", ".msk"):
        beside = stored.with_name(stored.name + suffix)
        if suffix == ".aux.xml":
            beside.write_text(metadata)
        else:
            beside.symlink_to(mask if suffix == ".msk" else secret)
        source = image(FolderStore(root), "A/b").bands[0].source
        assert source.read([0], PixelWindow(0, 0, 600, 600), 0)[1].all()
        with pytest.raises(OSError, match="verview"):
            source.read([0], PixelWindow(0, 0, 300, 300), 1)
        beside.unlink()


def test_items_and_linked_files_that_contradict_what_they_should_be(tmp_path: Path) -> None:
    raster(tmp_path / "a.tif", noise(1, 9, 12))
    times = {"datetime": "2020-01-01T00:00:00Z"}
    asset = {"href": "a.tif", "type": "image/tiff", "roles": ["data", None, ["x"]]}
    document = {"type": "Feature", "stac_version": "1.0.0", "id": "i", "geometry": None, "links": []}

    def become(asset: dict[str, Any], **properties: Any) -> None:
        text = json.dumps({**document, "assets": {"a": asset}, "properties": properties})
        (tmp_path / "item.json").write_text(text)
        ingest(tmp_path / "item.json", tmp_path / "store", "x", by_reference=True)

    become(asset, **times, cloud=float("nan"), of=[float("inf"), 1])
    properties = image(FolderStore(tmp_path / "store"), "x").properties
    assert (properties["cloud"], properties["of"]) == (None, [None, 1])
    with pytest.raises(IngestError, match="is no date"):
        become(asset, datetime=1577836800)
    with pytest.raises(IngestError, match="is no number"):
        become({**asset, "raster:bands": [{"scale": float("nan")}]}, **times)
    with pytest.raises(UnreadableFileError, match="is no file"):
        become({**asset, "href": "a" * 5000 + ".tif"}, **times)
    moved = raster(tmp_path / "b.tif", noise(1, 9, 12), transform=UTM * Affine.translation(1, 0))
    (tmp_path / "a.tif").write_bytes(moved.read_bytes())  # in place: the store has a link to it
    with pytest.raises(InvalidError, match="was replaced after it was ingested"):
        pixels(image(FolderStore(tmp_path / "store"), "x"))
