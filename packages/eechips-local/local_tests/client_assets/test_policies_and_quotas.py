"""Access policies and quotas of assets, and the search, as the real client sees them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import rasterio

from local_tests.client_assets.test_image_ingestion import CRS, TRANSFORM, ingested, values
from local_tests.support.client_command import earthengine
from local_tests.support.export_tasks import Folders, export_server, finished
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.stack_store import STACK, TABLE, Stack

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")


@pytest.mark.slow
def test_policies_are_kept(ee: Any, home: str) -> None:
    ee.data.copyAsset(TABLE, f"{home}/table")
    for asset in (home, f"{home}/table"):
        assert ee.data.getAssetAcl(asset) == {"owners": [], "readers": [], "writers": []}
        acl = {"owners": ["user:a@b.c"], "readers": ["group:d@b.c"], "writers": ["user:e@b.c"]}
        ee.data.setAssetAcl(asset, {**acl, "readers": list(acl["readers"]), "all_users_can_read": True})
        assert ee.data.getAssetAcl(asset) == {**acl, "all_users_can_read": True}
    ee.data.renameAsset(f"{home}/table", f"{home}/moved")
    assert ee.data.getAssetAcl(f"{home}/moved")["all_users_can_read"] is True
    ee.data.copyAsset(f"{home}/moved", f"{home}/copied")
    assert "all_users_can_read" not in ee.data.getAssetAcl(f"{home}/copied")
    ee.data.deleteAsset(f"{home}/moved")
    ee.data.copyAsset(TABLE, f"{home}/moved")
    assert "all_users_can_read" not in ee.data.getAssetAcl(f"{home}/moved")


def test_a_policy_that_another_client_has_changed_is_not_replaced(ee: Any, home: str) -> None:
    read = ee.data.getIamPolicy(home)
    policy = {**read, "bindings": [{"role": "roles/viewer", "members": ["allUsers"]}]}
    written = ee.data.setIamPolicy(home, policy)
    assert written == ee.data.getIamPolicy(home)
    assert written["etag"] != read["etag"]
    with pytest.raises(ee.EEException, match="concurrent policy changes"):
        ee.data.setIamPolicy(home, policy)
    with pytest.raises(ee.EEException, match=r"Invalid value at 'policy\.bindings"):
        ee.data.setIamPolicy(home, {"bindings": [{"role": "roles/viewer", "members": "allUsers"}]})


def test_permissions_and_policies_of_assets_of_others(ee: Any, home: str) -> None:
    assert ee.data.getAssetAcl(STACK) == {"owners": [], "readers": [], "writers": [], "all_users_can_read": True}
    with pytest.raises(ee.EEException, match="does not exist or doesn't allow this operation"):
        ee.data.setAssetAcl(STACK, {"all_users_can_read": False})
    assets = ee.data._get_cloud_projects().assets()
    asked = {"permissions": ["earthengine.assets.get", "earthengine.assets.delete"]}
    legacy = f"projects/earthengine-legacy/assets/{STACK}"
    assert assets.testIamPermissions(resource=home, body=asked).execute() == asked
    found = assets.testIamPermissions(resource=legacy, body=asked).execute()
    assert found == {"permissions": ["earthengine.assets.get"]}


def test_assets_are_found(ee: Any, home: str) -> None:
    ee.data.createAsset({"type": "IMAGE_COLLECTION", "title": "Ripe wheat"}, f"{home}/frames")
    ee.data.createAsset({"type": "FOLDER", "description": "wheat and rye"}, f"{home}/more")
    search = ee.data._get_cloud_projects().assets().search

    def found(query: str) -> list[str]:
        listed = search(project="projects/local", query=query).execute().get("assets", [])
        return [asset["name"] for asset in listed if asset["name"].startswith(home)]

    assert found("WHEAT") == [f"{home}/frames", f"{home}/more"]
    assert found("title:wheat") == [f"{home}/frames"]
    assert found("wheat rye") == [f"{home}/more"]
    assert found(f"type:folder id:{home}") == [home, f"{home}/more"]
    assert found("barley") == []


@pytest.fixture
def small(serve: Callable[..., Server], stack: Stack, tmp_path: Any) -> tuple[Any, Folders]:
    """Return a client of a server with room for three assets and 300 kB, and its folders."""
    folders = Folders(tmp_path)
    limits = ("--asset-count", "3", "--asset-bytes", "300000")
    return initialize(export_server(serve, stack, folders, *limits)), folders


def test_the_usage_of_a_root(ee: Any, home: str) -> None:
    before = ee.data.getAssetRootQuota("projects/some-project/assets")
    ee.data.copyAsset(f"{STACK}/image_0", f"{home}/image")
    after = ee.data.getAssetRootQuota("projects/some-project/assets")
    assert after["asset_count"]["usage"] == before["asset_count"]["usage"] + 1
    assert after["asset_size"]["usage"] > before["asset_size"]["usage"] + 100_000
    with pytest.raises(ee.EEException, match="is not a root folder"):
        ee.data.getAssetRootQuota(home)


@pytest.mark.slow
def test_images_and_tables_tell_their_size_and_last_change(
    ee: Any, home: str, folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    ee.data.createAsset({"type": "IMAGE_COLLECTION"}, f"{home}/images")
    ee.data.copyAsset(f"{STACK}/image_0", f"{home}/images/a")
    ee.data.copyAsset(f"{STACK}/image_1", f"{home}/images/b")
    ee.data.copyAsset(TABLE, f"{home}/table")
    sizes = [
        sum(path.stat().st_size for path in folders.assets.joinpath(home, "images", name).glob("*.tif"))
        for name in "ab"
    ]
    (table,) = folders.assets.joinpath(home, "table").glob("*.parquet")
    found = {name: ee.data.getAsset(f"{home}{name}") for name in ("", "/images", "/images/a", "/table")}
    assert [asset.get("sizeBytes") for asset in found.values()] == [
        None,
        None,
        str(sizes[0]),
        str(table.stat().st_size),
    ]
    assert found["/table"]["featureCount"] == "10"
    now = datetime.now(timezone.utc)
    for asset in found.values():
        assert timedelta() <= now - datetime.fromisoformat(asset["updateTime"].replace("Z", "+00:00")) < timedelta(1)
    assert ee.Image(f"{home}/images/a").get("system:asset_size").getInfo() == sizes[0]
    shown = ee.FeatureCollection(f"{home}/table").limit(0).getInfo()
    assert shown["properties"]["system:asset_size"] == table.stat().st_size
    assert shown["version"] > 1.7e15
    earthengine("du", "--summarize", f"{home}/images", home)
    assert [int(line.split()[0]) for line in capsys.readouterr().out.splitlines()] == [
        sum(sizes), sum(sizes) + table.stat().st_size
    ]  # fmt: skip


@pytest.mark.slow
def test_more_assets_than_the_quota_allows(small: tuple[Any, Folders]) -> None:
    ee, _ = small
    root = "projects/p/assets"
    empty = {"asset_count": {"usage": 0, "limit": 3}, "asset_size": {"usage": 0, "limit": 300000}}
    assert ee.data.getAssetRootQuota(root) == empty
    for name in "abc":
        ee.data.createFolder(f"{root}/{name}")
    with pytest.raises(ee.EEException, match="Asset count quota exceeded"):
        ee.data.createFolder(f"{root}/d")
    with pytest.raises(ee.EEException, match="Asset count quota exceeded"):
        ee.data.copyAsset(TABLE, f"{root}/d")
    ee.data.createFolder("projects/other/assets/d")  # another project has its own
    task = ee.batch.Export.table.toAsset(ee.FeatureCollection(TABLE), "x", f"{root}/d")
    task.start()
    assert "Asset count quota exceeded" in finished(task)["error_message"]
    ee.data.deleteAsset(f"{root}/c")
    ee.data.copyAsset(TABLE, f"{root}/d")


@pytest.mark.slow
def test_more_bytes_than_the_quota_allows(small: tuple[Any, Folders]) -> None:
    ee, folders = small
    (folders.buckets / "my-bucket").mkdir(parents=True)
    profile = {"driver": "GTiff", "count": 4, "height": 200, "width": 300, "dtype": "uint16"}
    with rasterio.open(folders.buckets / "my-bucket" / "big.tif", "w", crs=CRS, transform=TRANSFORM, **profile) as file:
        file.write(values((4, 200, 300), "uint16"))
    manifest = {"name": "projects/p/assets/big", "tilesets": [{"sources": [{"uris": ["gs://my-bucket/big.tif"]}]}]}
    assert "Asset storage quota exceeded" in ingested(ee, manifest)
    task = ee.batch.Export.image.toAsset(ee.Image(f"{STACK}/image_0").toDouble(), "x", "projects/p/assets/big")
    task.start()
    assert "Asset storage quota exceeded" in finished(task)["error_message"]
    assert ee.data.getAssetRootQuota("projects/p/assets")["asset_size"]["usage"] == 0
