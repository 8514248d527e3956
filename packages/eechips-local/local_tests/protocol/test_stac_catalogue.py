"""The catalogue of datasets, read by pystac from the server."""

from __future__ import annotations

from typing import Any
from urllib.request import urlopen

import pystac
import pytest
import requests

from local_tests.support.local_earth_engine import Server


@pytest.fixture(scope="module")
def root(demo_server: Server) -> pystac.Catalog:
    return pystac.Catalog.from_file(f"{demo_server.url}/catalog/catalog.json")


def collection(root: pystac.Catalog, id: str) -> pystac.Collection:
    """Return the collection of a dataset, by links alone."""
    provider = next(link for link in root.get_child_links() if link.title == id.partition("/")[0])
    catalogue = pystac.Catalog.from_file(str(provider.href))
    link = next(link for link in catalogue.get_child_links() if link.title == id.replace("/", "_"))
    return pystac.Collection.from_file(str(link.href))


def summaries(root: pystac.Catalog, id: str) -> dict[str, Any]:
    """Return the summaries of a dataset; pystac leaves long ones out."""
    stated: dict[str, Any] = requests.get(str(collection(root, id).get_self_href()), timeout=60).json()["summaries"]
    return stated


def bands(root: pystac.Catalog, id: str) -> dict[str, dict[str, Any]]:
    return {band["name"]: band for band in summaries(root, id)["eo:bands"]}


@pytest.mark.slow
def test_links_lead_from_the_root_to_each_dataset(root: pystac.Catalog) -> None:
    assert {"COPERNICUS", "LANDSAT", "USDA", "FAO"} <= {link.title for link in root.get_child_links()}
    image, images, table = (
        collection(root, name) for name in ("USGS/SRTMGL1_003", "COPERNICUS/S2_SR_HARMONIZED", "FAO/GAUL/2015/level0")
    )
    assert [c.extra_fields["gee:type"] for c in (image, images, table)] == ["image", "image_collection", "table"]
    assert images.id == "COPERNICUS/S2_SR_HARMONIZED"
    assert images.title == "Harmonized Sentinel-2 MSI: MultiSpectral Instrument, Level-2A (SR)"
    assert images.get_root_link().href == root.get_self_href()


@pytest.mark.slow
def test_bands_have_the_scales_and_wavelengths_of_the_archive(root: pystac.Catalog) -> None:
    """https://developers.google.com/earth-engine/datasets/catalog/LANDSAT_LC09_C02_T1_L2#bands."""
    landsat = bands(root, "LANDSAT/LC09/C02/T1_L2")
    assert (landsat["SR_B4"]["gee:scale"], landsat["SR_B4"]["gee:offset"]) == (2.75e-05, -0.2)
    assert (landsat["ST_B10"]["gee:scale"], landsat["ST_B10"]["gee:offset"]) == (0.00341802, 149)
    assert 0.64 <= landsat["SR_B4"]["center_wavelength"] <= 0.67
    assert landsat["SR_B4"]["gsd"] == 30
    assert "center_wavelength" not in landsat["QA_PIXEL"]
    sentinel = bands(root, "COPERNICUS/S2_SR_HARMONIZED")
    assert [sentinel[name]["gsd"] for name in ("B1", "B2", "B5")] == [60, 10, 20]


@pytest.mark.slow
def test_properties_of_images_and_columns_of_tables_are_described(root: pystac.Catalog) -> None:
    schema = summaries(root, "COPERNICUS/S2_SR_HARMONIZED")["gee:schema"]
    types = {column["name"]: column["type"] for column in schema}
    assert (types["CLOUDY_PIXEL_PERCENTAGE"], types["MGRS_TILE"]) == ("DOUBLE", "STRING")
    assert all(column["description"] for column in schema)
    assert not [name for name in types if name.startswith("system:")]
    table = summaries(root, "FAO/GAUL/2015/level0")
    assert "ADM0_NAME" in {column["name"] for column in table["gee:schema"]}
    assert "eo:bands" not in table


@pytest.mark.parametrize("path", ["NOBODY/catalog.json", "USGS/USGS_NOTHING.json", "USGS", "USGS/x/y.json"])
def test_other_paths_are_not_there(demo_server: Server, path: str) -> None:
    assert requests.get(f"{demo_server.url}/catalog/{path}", timeout=60).status_code == 404


def test_the_type_is_that_of_the_bucket(demo_server: Server) -> None:
    """Google's bucket declares text; geedim 2.0 refuses other types."""
    with urlopen(f"{demo_server.url}/catalog/USGS/USGS_SRTMGL1_003.json") as response:
        assert response.headers.get_content_type() == "text/plain"
