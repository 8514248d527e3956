"""Addresses of assets: relative, encoded, or with characters that no address has; and how they are shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pytest
from affine import Affine
from requests.utils import requote_uri

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.archive_model import ItemQuery
from eechips_local.archives.hosts.allowed_hosts import AllowedHosts
from eechips_local.archives.items.file_items import StaticItems
from eechips_local.archives.items.item_bands import href_of
from eechips_local.archives.items.item_search import ApiSearch
from eechips_local.assets.asset_names import shown_url
from eechips_local.evaluation.asset_model import PixelWindow
from local_tests.archives.sample_items import write_cog
from local_tests.archives.stac_server import make_item, stac_server
from local_tests.archives.test_folder_transport import find_href, open_reader, write_items

HREFS = ["B04.tif", "./a/B04.tif", "../B04.tif?x=1", "/root/B04.tif", "//other.example/B04.tif", "a%20b.tif"]


def found_href(item: dict[str, Any]) -> tuple[str, str]:
    """Address of the red band of an API's item, and the address of the API."""
    with stac_server([item]) as server:
        (found,) = ApiSearch(server.describe(), None).items("s2", ItemQuery())
        return found["assets"]["B04"]["href"], server.url


@pytest.mark.parametrize("href", [*HREFS, "https://files.example/B04.tif", "s3://bucket/B04.tif", "file:///a.tif", ""])
@pytest.mark.parametrize(
    "own", ["https://items.example/s2/items/a.json", "collections/s2/items/a", "s3://b/a.json", ""]
)
def test_relative_address_of_an_api_s_asset_is_that_of_its_item(href: str, own: str) -> None:
    links = [{"rel": "parent", "href": "https://parent.example"}, {"rel": "self", "href": own}]
    found, api = found_href({**make_item(1), "links": links, "assets": {"B04": {"href": href}}})
    base = own if own.startswith("https") else f"{api}/{own}" if own.startswith("collections") else f"{api}/search"
    assert found == (urljoin(base, href) if href in HREFS else href)


@pytest.mark.parametrize("alternate", ["s3.tif", "https://files.example/s3 1.tif"])
def test_alternate_address_may_be_relative(alternate: str) -> None:
    asset = {"href": "B04.tif", "alternate": {"s3": {"href": alternate}, "odd": None}}
    with stac_server([{**make_item(1), "assets": {"B04": asset}}]) as server:
        (found,) = ApiSearch(server.describe(), None).items("s2", ItemQuery())
        whole = urljoin(f"{server.url}/search", alternate).replace(" ", "%20")
        assert href_of(found["assets"]["B04"], "s3") == whole


def test_file_of_this_machine_comes_before_the_bucket_that_it_was_taken_from(tmp_path: Path) -> None:
    asset = {"href": "B04.tif", "alternate": {"s3": {"href": "s3://usgs-landsat/B04.tif"}}}
    (tmp_path / "item.json").write_text(json.dumps({**make_item(1), "assets": {"B04": asset}}))
    (found,) = StaticItems(tmp_path / "item.json").items("s2", ItemQuery())
    assert href_of(found["assets"]["B04"], "s3") == str(tmp_path / "B04.tif")


@pytest.mark.parametrize("others", [None, "s3://bucket/B04.tif", {"s3": None}, {"s3": "s3://bucket/B04.tif"}])
def test_what_is_no_alternate_address_is_passed_over(others: Any) -> None:
    assert href_of({"href": "https://files.example/B04.tif", "alternate": others}, "s3").startswith("https:")


@pytest.mark.parametrize("links", [None, "x", [], [None], [{"rel": "self"}], [{"rel": "self", "href": 3}]])
def test_item_without_a_link_to_itself_is_relative_to_its_page(links: Any) -> None:
    found, api = found_href({**make_item(1), "links": links, "assets": {"B04": {"href": "B04.tif"}, "odd": None}})
    assert found == f"{api}/B04.tif"


def test_relative_address_leads_to_hosts_of_the_archive_only() -> None:
    links = [{"rel": "self", "href": "https://evil.example/a.json"}]
    found, api = found_href({**make_item(1), "links": links, "assets": {"B04": {"href": "B04.tif"}}})
    with pytest.raises(ArchiveRefusedError, match=r"evil\.example is none of its hosts"):
        AllowedHosts((api.removeprefix("http://"),)).check(found)


def test_relative_address_that_is_none_is_refused_with_its_text() -> None:
    found, _ = found_href({**make_item(1), "assets": {"B04": {"href": "//["}}})
    with pytest.raises(ArchiveRefusedError, match=re.escape("The archive refers to '//[', which is no address.")):
        AllowedHosts(("files.example",)).check(found)


def test_blanks_of_an_address_are_encoded_as_requests_encodes_them(tmp_path: Path) -> None:
    href = "https://files.example/a b/c d.tif?e f"
    item = {**make_item(1), "assets": {"B04": {"href": href}}}
    assert found_href(item)[0] == requote_uri(href)
    (tmp_path / "item.json").write_text(json.dumps(item))
    (found,) = StaticItems(tmp_path / "item.json").items("s2", ItemQuery())
    assert found["assets"]["B04"]["href"] == requote_uri(href)


@pytest.mark.parametrize("sign", ["\x00", "\n", "\t", "\x1b", "\\"])
def test_address_with_a_character_that_no_address_has_says_so(sign: str) -> None:
    with pytest.raises(ArchiveRefusedError, match="has blanks, backslashes or control characters: nothing") as refused:
        AllowedHosts(("files.example",)).check(f"https://files.example/a{sign}b.tif")
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("sign", ["\x00", "\n", "\x1b", "\x9b", "\u202e", "\ud800"])
def test_shown_address_is_printable(sign: str) -> None:
    shown = shown_url(f"https://ann:secret@files.example/ö{sign}b.tif?sig=s")
    assert shown == f"https://…@files.example/ö{sign.encode('unicode_escape').decode()}b.tif"


@pytest.mark.parametrize(
    ("href", "name"),
    [("a%20b.tif", "a b.tif"), ("a b.tif", "a b.tif"), ("a%20b.tif", "a%20b.tif"), ("./%C3%B6/%23.tif", "ö/#.tif")],
)
def test_encoded_path_of_a_static_catalogue_finds_its_file(href: str, name: str, tmp_path: Path) -> None:
    description = write_items(tmp_path / "50%20", href)
    path = tmp_path / "50%20" / name
    path.parent.mkdir(exist_ok=True)
    write_cog(path, np.full((1, 64, 64), 7, "uint8"), Affine(10, 0, 0, 0, -10, 0))
    raster = open_reader(description, tmp_path / "kept").open(find_href(description), collection="s2")
    assert (raster.read([0], PixelWindow(0, 0, 9, 9), 0)[0] == 7).all()


def test_encoded_link_of_a_static_catalogue_finds_its_item(tmp_path: Path) -> None:
    (tmp_path / "an item.json").write_text(json.dumps(make_item(1)))
    links = [{"rel": "item", "href": "./an%20item.json"}]
    (tmp_path / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "a", "links": links}))
    (found,) = StaticItems(tmp_path / "catalog.json").items("s2", ItemQuery())
    assert found["id"] == "item-0001"


@pytest.mark.parametrize("href", ["..%2Fsecret.tif", "%2Fetc%2Fpasswd", "a%00b.tif", "file:///a%00b.tif"])
def test_encoded_path_leads_nowhere_outside_of_the_folder(href: str, tmp_path: Path) -> None:
    description = write_items(tmp_path / "mine", href)
    write_cog(tmp_path / "secret.tif", np.ones((1, 64, 64), "uint8"), Affine(10, 0, 0, 0, -10, 0))
    reader = open_reader(description, tmp_path / "kept")
    with pytest.raises(ArchiveRefusedError, match=r"is not below|parts are its files"):
        reader.open(find_href(description), collection="s2").read([0], PixelWindow(0, 0, 9, 9), 0)


def test_missing_file_of_a_static_catalogue_is_told_as_such(tmp_path: Path) -> None:
    description = write_items(tmp_path, "none.tif")
    raster = open_reader(description, tmp_path / "kept").open(find_href(description), collection="s2")
    with pytest.raises(ArchiveRefusedError, match=r"/none\.tif cannot be read: there is no such file beside items"):
        raster.read([0], PixelWindow(0, 0, 9, 9), 0)


def test_next_page_on_another_host_is_refused_with_what_helps() -> None:
    def lead_away(page: dict[str, Any]) -> dict[str, Any]:
        return {**page, "links": [{"rel": "next", "href": "https://other.example/search?page=2"}]}

    with stac_server([make_item(1)]) as server:
        server.always = lead_away
        with pytest.raises(
            ArchiveRefusedError, match=r"other\.example is none of its hosts.* give its address"
        ) as refused:
            list(ApiSearch(server.describe(hosts=("other.example",)), None).items("s2", ItemQuery()))
        assert "hosts =" not in str(refused.value)
