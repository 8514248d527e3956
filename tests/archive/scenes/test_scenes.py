"""Scenes: from a search to files, through every fault, and on to chips."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pystac
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds

import eechips
from eechips.errors import ConfigurationError, UsageError
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import Server, wait_until
from tests.support.commands import run_command
from tests.support.programs import run_program
from tests.support.scene_runs import EDGE, TIFF, assert_same, catalogue, chips_are_windows, fetch, items, steps, write
from tests.support.scene_servers import Faults, FileServer, item, multihash, stac_api

pytest.importorskip("pystac_client")


def test_a_stac_api_is_searched_and_fetched(server: FileServer, tmp_path: Path) -> None:
    with stac_api(items(server), tmp_path) as url:
        chosen = {"collection": "demo", "where": "eo:cloud_cover < 45", "start": "2020-06-02", "end": "2020-06-05"}
        run = fetch(url, tmp_path / "out", **chosen, roi="-105,40,-104.35,40.2")
    assert [unit["item"] for unit in run.units["unit"]] == ["s1", "s2", "s3"]
    assert_same(run, server.folder)
    row = run.units.iloc[0]
    assert (row["file"], row["width"], row["height"], row["dtype"]) == ("scenes/s1/B04.tif", EDGE, EDGE, "uint16")
    assert (row["crs"], row["dates"], row["sources"]) == ("EPSG:32613", ["2020-06-02T10:00:00Z"], ["demo/s1"])
    answer = pq.read_table(run.path / "items.parquet")
    assert answer["id"].to_pylist() == ["s1", "s2", "s3"]
    local = pystac.Item.from_file(str(run.path / "stac/demo/s1.json"))
    assert Path(local.assets["B04"].get_absolute_href() or "").samefile(run.path / "scenes/s1/B04.tif")


@pytest.mark.slow
def test_api_results_are_read_page_by_page(server: FileServer, tmp_path: Path) -> None:
    many = [{**items(server)[0], "id": f"i{number:03d}"} for number in range(230)]
    with stac_api(many, tmp_path) as url:
        found = eechips.scenes(url, collection="demo", out=tmp_path / "out", dry_run=True)
        few = eechips.scenes(url, collection="demo", max_items=120, out=tmp_path / "out", dry_run=True)
    assert (found.units, few.units) == (230, 120)
    assert found.bytes == 230 * (server.folder / "s0.tif").stat().st_size
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_repeated_command_sends_no_request(server: FileServer, tmp_path: Path) -> None:
    with stac_api(items(server), tmp_path) as url:
        fetch(url, tmp_path / "out", collection="demo")
    before = server.stats()
    words = ["scenes", "--stac", url, "--collection", "demo", "--out", str(tmp_path / "out")]
    again = run_command(*words)  # the catalogue is gone
    assert again.exit_code == 0, again.output
    assert "The catalogue's answer is" in again.output
    assert server.stats() == before


def test_an_estimate_fetches_the_scenes_that_it_tries_and_no_others(server: FileServer, tmp_path: Path) -> None:
    words = ["scenes", "--stac", str(catalogue(tmp_path, items(server))), "--estimate", "1", "--out", tmp_path / "out"]
    tried = run_command(*words)
    assert len(server.requests) == 1, server.requests
    left = len(items(server)) - 1
    assert f"requests  about {left}\n" in tried.stdout


@pytest.mark.slow
def test_only_a_missing_file_is_fetched_again(server: FileServer, tmp_path: Path) -> None:
    with stac_api(items(server), tmp_path) as url:
        run = fetch(url, tmp_path / "out", collection="demo")
    (run.path / "scenes/s2/B04.tif").unlink()
    before = dict(server.requests)
    assert_same(fetch(url, tmp_path / "out", collection="demo"), server.folder)
    assert dict(server.requests) == {**before, "s2.tif": before["s2.tif"] + 1}


def test_interruptions_expired_signatures_and_busy_servers_are_overcome(folder: Path, tmp_path: Path) -> None:
    with FileServer(folder, Faults(cuts=0.4, lifetime=0.5, busy=0.1)) as server:
        stac = catalogue(tmp_path, items(server))
        run = fetch(stac, tmp_path / "out", auth="sas", token_url=f"{server.url}/sign", retry_delay=0.05)
        assert_same(run, folder)
        for identifier in run.units["id"].str[:16]:
            at = 0  # each request goes on where the one before was cut
            for line in steps(run.path):
                if line.get("id") == identifier and line["step"] == "transfer" and line["status"] in (200, 206):
                    assert line["offset"] == at
                elif line.get("id") == identifier and line["step"] == "cut":
                    at = line["at"]
        assert server.statuses[206] > 0


@pytest.mark.slow
def test_downloads_restart_on_a_server_without_range(folder: Path, tmp_path: Path) -> None:
    with FileServer(folder, Faults(cuts=0.5, has_ranges=False)) as server:
        run = fetch(catalogue(tmp_path, items(server)), tmp_path / "out", retry_delay=0.01, retries=30)
        assert_same(run, folder)
        assert server.statuses[206] == 0


@pytest.mark.slow
def test_a_server_without_validators_is_not_asked_for_parts(folder: Path, tmp_path: Path) -> None:
    with FileServer(folder, Faults(cuts=0.5, has_validators=False)) as server:
        run = fetch(catalogue(tmp_path, items(server)), tmp_path / "out", retry_delay=0.01, retries=30)
        assert_same(run, folder)
        assert server.statuses[206] == 0


def test_a_file_that_is_replaced_is_of_one_version(folder: Path, tmp_path: Path) -> None:
    new = write(folder / "s1.tif.new", 77, transform=from_origin(510_000, 4_430_000, 10, 10)).read_bytes()
    with FileServer(folder, Faults(replaced=("s1.tif",))) as server:
        found = items(server)
        found[1]["assets"]["B04"] |= {"file:size": len(new), "file:checksum": multihash(new)}
        assert_same(fetch(catalogue(tmp_path, found), tmp_path / "out", retry_delay=0.01), folder)
    assert (tmp_path / "out/scenes/s1/B04.tif").read_bytes() == new


def test_a_file_damaged_once_is_fetched_again(folder: Path, tmp_path: Path) -> None:
    with FileServer(folder, Faults(damaged={"s3.tif": 2})) as server:
        run = fetch(catalogue(tmp_path, items(server)), tmp_path / "out")
        assert_same(run, folder)
        assert server.requests["s3.tif"] == 3
    wrong = [line for line in steps(run.path, "check") if "error" in line]
    assert [line["failures"] for line in wrong] == [1, 2]
    assert not (run.path / "quarantine").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"file:checksum": multihash(b"another")}, "sha256"),
        ({"file:size": 12}, "bytes"),
        ({"file:checksum": None, "file:size": None, "proj:shape": [EDGE, EDGE + 1]}, "pixels"),
        ({"file:checksum": None, "proj:code": "EPSG:32614"}, "CRS"),
        ({"type": "image/jp2"}, "JP2OpenJPEG"),
        ({"file:checksum": None, "bands": [{"name": "a"}, {"name": "b"}]}, "bands"),
    ],
    ids=["checksum", "size", "shape", "crs", "format", "bands"],
)
def test_a_file_that_stays_wrong_is_quarantined(
    server: FileServer, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    """Earth Search states wrong sizes of rasters: https://github.com/Element84/earth-search/issues/48."""
    found = items(server)
    found[4]["assets"]["B04"] |= change
    out = tmp_path / "out"
    run = fetch(catalogue(tmp_path, found), out)
    assert run.counts == {"done": 5, "failed_permanent": 1}
    failure = run.failures.iloc[0]
    assert failure["error_class"] == "QuarantinedError"
    assert reason in failure["error"]
    assert server.requests["s4.tif"] == (2 if reason in ("pixels", "CRS", "bands") else 3)
    assert ("the catalogue may be wrong" in failure["error"]) == (server.requests["s4.tif"] == 2)
    (told,) = (out / "quarantine").glob("*.json")
    why = json.loads(told.read_text())
    assert (why["item"], why["asset"]) == ("s4", "B04")
    assert reason in why["reason"]
    assert (out / "quarantine" / why["file"]).read_bytes() == (server.folder / "s4.tif").read_bytes()
    before = server.stats()
    assert fetch(catalogue(tmp_path, found), out).counts == run.counts
    assert server.stats() == before


@pytest.mark.exhaustive
def test_retry_takes_a_file_out_of_quarantine(folder: Path, tmp_path: Path) -> None:
    with FileServer(folder, Faults(damaged={"s3.tif": 3})) as server:
        stac, out = catalogue(tmp_path, items(server)), tmp_path / "out"
        # The command is kept in run.json, and typed again by `retry`.
        words = ["eechips", "scenes", "--stac", str(stac), "--out", str(out), "--quiet"]
        run_program(sys.executable, "-m", *words, status=1)
        assert list((out / "quarantine").iterdir())
        shown = run_command("failures", out)
        assert "QuarantinedError" in shown.output
        run_command("retry", out, status=0)
        assert_same(eechips.open_run(out), folder)
    assert not (out / "quarantine").exists()


@pytest.mark.slow
def test_a_host_that_does_not_respond_is_named_once(server: FileServer, tmp_path: Path, caplog: CapturedLog) -> None:
    found = items(server)[:2]
    for each in found:
        each["assets"]["B04"]["href"] = "http://127.0.0.1:1/s.tif"
    with caplog.at_level(logging.INFO, logger="eechips"):
        run = fetch(catalogue(tmp_path, found), tmp_path / "out", retries=1)
    assert run.counts == {"failed_transient": 2}
    retries = [line for line in caplog.messages if line.endswith("): trying again")]
    assert len(retries) == 1, retries
    assert retries[0].startswith("http://127.0.0.1:1/s.tif cannot be downloaded yet (127.0.0.1:1: connection failed: ")


def test_a_file_that_is_not_there_fails_alone(server: FileServer, tmp_path: Path) -> None:
    found = items(server)
    found[2]["assets"]["B04"]["href"] += ".gone"
    run = fetch(catalogue(tmp_path, found), tmp_path / "out")
    assert run.counts == {"done": 5, "failed_permanent": 1}
    assert "HTTP 404" in run.failures.iloc[0]["error"]


def test_unsigned_requests_are_refused(folder: Path, tmp_path: Path) -> None:
    with FileServer(folder, Faults(lifetime=5.0)) as server:
        run = fetch(catalogue(tmp_path, items(server)), tmp_path / "out")
    assert run.counts == {"failed_permanent": 6}
    assert "HTTP 403: set `auth`" in run.failures.iloc[0]["error"]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_killed_run_resumes_its_downloads(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    for number in range(4):
        write(folder / f"s{number}.tif", number, count=12)
    total = sum(path.stat().st_size for path in folder.glob("*.tif"))
    with FileServer(folder, Faults(rate=4e6)) as server:
        stac, out = catalogue(tmp_path, items(server)), tmp_path / "out"
        words = [sys.executable, "-m", "eechips", "scenes", "--stac", str(stac), "--out", str(out), "-q"]
        for share in (0.3, 0.6):
            process = subprocess.Popen(words)
            wait_until(lambda share=share: server.stats()["sent"] >= share * total)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        server.faults.rate = None
        assert subprocess.run(words, check=False).returncode == 0
        assert_same(eechips.open_run(out), folder)
        # What was on its way through the system when a process was killed comes again.
        assert server.stats()["sent"] <= total + 2 * 4 * 1_500_000
        assert server.statuses[206] >= 4


@pytest.mark.slow
def test_a_static_catalogue_whose_addresses_are_relative(folder: Path, tmp_path: Path) -> None:
    top = pystac.Catalog("top", "of the tests")
    with FileServer(folder) as server:
        found = items(server)
    for each in found:
        each["assets"]["B04"]["href"] = f"./{each['id']}.tif"
        document = pystac.Item.from_dict(each)
        document.collection_id = None
        top.add_item(document)
    top.normalize_hrefs(str(tmp_path / "static"))
    top.save(pystac.CatalogType.SELF_CONTAINED)
    for each in found:
        os.link(folder / f"{each['id']}.tif", tmp_path / "static" / each["id"] / f"{each['id']}.tif")
    run = fetch(tmp_path / "static/catalog.json", tmp_path / "out", where="eo:cloud_cover in (20, 30)")
    assert [unit["item"] for unit in run.units["unit"]] == ["s2", "s3"]
    assert_same(run, folder)
    with FileServer(tmp_path / "static") as web:
        away = fetch(f"{web.url}/catalog.json", tmp_path / "away")
        assert_same(away, folder)


def test_a_remote_catalogue_cannot_name_local_files(folder: Path, tmp_path: Path) -> None:
    secret = write(tmp_path / "mine.tif", 9)
    with FileServer(folder) as server:
        found = items(server)[:2]
        found[0]["assets"]["B04"] = {"href": f"file://{secret}", "type": TIFF}
        with stac_api(found, tmp_path) as url:
            run = fetch(url, tmp_path / "out", collection="demo")
    assert run.counts == {"done": 1, "failed_permanent": 1}
    assert "a local file, which a remote catalogue" in run.failures.iloc[0]["error"]


def test_a_stac_geoparquet_file_is_searched(server: FileServer, tmp_path: Path) -> None:
    from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

    to_parquet(parse_stac_items_to_arrow(items(server)), tmp_path / "items.parquet")
    run = fetch(tmp_path / "items.parquet", tmp_path / "out", where=["eo:cloud_cover >= 20", "eo:cloud_cover != 30"])
    assert [unit["item"] for unit in run.units["unit"]] == ["s2", "s4", "s5"]
    assert_same(run, server.folder)


@pytest.mark.slow
def test_each_asset_can_be_followed_through_the_log(server: FileServer, tmp_path: Path) -> None:
    with stac_api(items(server)[:2], tmp_path) as url:
        run = fetch(url, tmp_path / "out", collection="demo", ingest=tmp_path / "a")
    for identifier in run.units["id"].str[:16]:
        mine = [
            line["step"]
            for line in steps(run.path)
            if line.get("id") == identifier or identifier in line.get("ids", ())
        ]
        assert mine == ["query", "transfer", "check", "ingest"]


def test_secrets_are_never_stored(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EECHIPS_SCENES_TOKEN", "very-secret-token")
    with FileServer(folder, Faults(damaged={"s0.tif": 9}, cuts=0.3)) as server:
        found = items(server)
        found[1]["assets"]["B04"]["href"] += "?sig=very-secret-signature&se=2020"
        found[2]["assets"]["B04"]["href"] += ".gone?sig=very-secret-signature&se=2020"
        options = {"auth": "bearer", "auth_host": "127.0.0.1", "retry_delay": 0.01}
        run = fetch(catalogue(tmp_path, found), tmp_path / "out", **options)
        assert run.counts == {"done": 4, "failed_permanent": 2}
        assert server.authorizations["/s5.tif"][0] == "Bearer very-secret-token"
    for path in run.path.rglob("*"):
        if path.is_file():
            assert b"very-secret" not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"local": True}, "an option of Earth Engine"),
        ({"executor": "dask"}, "executor must be 'threads'"),
        ({"auth": "bearer"}, "auth_host"),
        ({"auth": "sas"}, "token_url"),
        ({"auth": "oauth", "token_url": "http://example.com/token", "auth_host": "x"}, "not https"),
        ({"out": "s3://bucket/x"}, "set `out`"),
        ({"roi": "USDA/X:name=value"}, "tables of Earth Engine"),
        ({"where": "eo:cloud_cover"}, "not a condition"),
        ({"asset_id": "a/b"}, "set `ingest`"),
        ({"max_items": 0}, "max_items"),
        ({"assets": "B99"}, "available: B04"),
        ({"collection": "other"}, "no matching items"),
        ({"colection": "other"}, "did you mean 'collection'"),
    ],
)
def test_invalid_options_are_refused(server: FileServer, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    options = {"out": tmp_path / "out", "quiet": True, **options}
    with pytest.raises((UsageError, ConfigurationError), match=message):
        eechips.scenes(str(catalogue(tmp_path, items(server))), **options)


@pytest.mark.slow
def test_a_few_of_many_items_are_printed(server: FileServer, tmp_path: Path) -> None:
    top, *_ = items(server)
    found = [{**top, "id": f"i{number}"} for number in range(6)]
    stac = str(catalogue(tmp_path, found))
    printed = run_command("scenes", "--stac", stac, "--out", tmp_path / "out", status=0).output.splitlines()
    assert sum(line.startswith("Made from all results: ") for line in printed) == 3
    assert f"3 further files made from all results in {tmp_path / 'out'}" in printed


def test_invalid_catalogues_are_refused(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no catalogue"):
        fetch(tmp_path / "none.json", tmp_path / "out")
    with pytest.raises(ConfigurationError, match=r"not JSON|not respond with text"):
        fetch(f"{server.url}/s0.tif", tmp_path / "out")


@pytest.mark.slow
def test_scenes_in_s3_are_fetched(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    from local_tests.support.object_server import missing_packages, serving_objects

    if (reason := missing_packages("s3")) is not None:
        pytest.skip(reason)
    with serving_objects("scenes") as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        for path in folder.glob("*.tif"):
            client.upload_file(str(path), "scenes", f"a b/{path.name}")
        with FileServer(folder) as server:
            found = items(server)
        for each in found:
            each["assets"]["B04"] = {"href": f"s3://scenes/a b/{each['id']}.tif", "type": TIFF}
        run = fetch(catalogue(tmp_path, found), tmp_path / "out", requester_pays=True)
        assert_same(run, folder)
    for path in run.path.rglob("*"):
        assert not path.is_file() or b"X-Amz-Signature" not in path.read_bytes()


@pytest.mark.slow
def test_the_rate_limit_is_shared_by_all_downloads(server: FileServer, tmp_path: Path) -> None:
    total = sum(path.stat().st_size for path in server.folder.glob("*.tif"))
    run = fetch(catalogue(tmp_path, items(server)), tmp_path / "out", max_rate=total)
    times = [datetime.fromisoformat(line["time"].replace("Z", "+00:00")) for line in steps(run.path)]
    assert (times[-1] - times[0]).total_seconds() >= 0.7  # a quarter of a second's worth may come at once


@pytest.mark.parametrize(("options", "most"), [({"in_flight": 2}, 2), ({"per_host": 1}, 1), ({"per_host": 3}, 3)])
def test_concurrent_downloads_stay_within_the_limits(
    folder: Path, tmp_path: Path, options: dict[str, int], most: int
) -> None:
    with FileServer(folder, Faults(rate=4e6)) as server:
        assert_same(fetch(catalogue(tmp_path, items(server)), tmp_path / "out", **options), folder)
        assert 1 <= server.most_at_once <= most


@pytest.mark.slow
def test_from_a_search_to_chips(serve: Callable[..., Server], folder: Path, tmp_path: Path) -> None:
    """STAC API, scenes, ingest, serve, sample: the chips are the pixels of the files that were served."""
    with FileServer(folder, Faults(cuts=0.3)) as files, stac_api(items(files), tmp_path) as url:
        words = ["scenes", "--stac", url, "--collection", "demo", "--where", "eo:cloud_cover < 25"]
        words += [
            "--out",
            str(tmp_path / "out"),
            "--ingest",
            str(tmp_path / "assets"),
            "--asset-id",
            "archive/S2",
            "-q",
        ]
        done = run_command(*words)
    assert done.exit_code == 0, done.output
    server = serve("--assets", str(tmp_path / "assets"), "--no-demo", "--rate", "none", "--concurrency", "none")
    run = eechips.sample(
        "archive/S2", bands=["B04"], total=6, size=32, format="tif", roi=str(box_of(folder, tmp_path)),
        endpoint=server.url, provenance=True, out=tmp_path / "chips", quiet=True, executor="threads",
    )  # fmt: skip
    assert chips_are_windows(run, {path.stem: path for path in folder.glob("*.tif")}) == 6


@pytest.mark.exhaustive
def test_scenes_of_several_resolutions_are_assets(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Chips of a band on its own pixels are windows of its file, whatever grid the others have."""
    files = tmp_path / "files"
    for name, size in {"B04": 10, "B11": 20, "B01": 60}.items():
        write(files / f"{name}.tif", len(name) + size, transform=from_origin(500_000, 4_430_000, size, size))
    with FileServer(files) as server:
        assets = {
            name: {"href": f"{server.url}/{name}.tif", "type": TIFF, "roles": ["data"], "eo:bands": [{"name": name}]}
            for name in ("B04", "B11", "B01")
        }
        with rasterio.open(files / "B11.tif") as source:
            west, south, east, north = transform_bounds(source.crs, "EPSG:4326", *source.bounds)
        stac = catalogue(tmp_path, [item("one", assets, box=(west, south, east, north))])
        words = [
            "scenes",
            "--stac",
            str(stac),
            "--out",
            str(tmp_path / "out"),
            "--ingest",
            str(tmp_path / "assets"),
            "-q",
        ]
        done = run_command(*words)
    assert done.exit_code == 0, done.output
    server_ = serve("--assets", str(tmp_path / "assets"), "--no-demo", "--rate", "none", "--concurrency", "none")
    roi = f"{west + 0.01},{south + 0.01},{west + 0.02},{north - 0.01}"
    for band in ("B11", "B01"):
        run = eechips.sample(
            "scenes/demo", bands=[band], total=3, size=16, format="tif", roi=roi,
            endpoint=server_.url, provenance=True, out=tmp_path / band, quiet=True, executor="threads",
        )  # fmt: skip
        assert chips_are_windows(run, {"one": files / f"{band}.tif"}) == 3


@pytest.mark.slow
def test_from_a_search_to_chips_of_real_imagery(serve: Callable[..., Server], real_data: Path, tmp_path: Path) -> None:
    """NAIP of one place in ten years, as a catalogue would have it."""
    paths = {path.stem: path for path in sorted(real_data.glob("naip/m_4709963_se_14_1_*.tif"))}
    with FileServer(real_data / "naip", Faults(cuts=0.3, lifetime=2.0)) as files:
        found = []
        for name, path in paths.items():
            day = f"{name[-8:-4]}-{name[-4:-2]}-{name[-2:]}"
            with rasterio.open(path) as source:
                box = transform_bounds(source.crs, "EPSG:4326", *source.bounds)
                bands = [{"name": band} for band in ("R", "G", "B", "N")[: source.count]]
            data = path.read_bytes()
            asset = {"href": f"{files.url}/{path.name}", "type": TIFF, "roles": ["data"], "eo:bands": bands}
            asset |= {"file:checksum": multihash(data), "file:size": len(data)}
            found.append(item(name, {"image": asset}, collection="naip", box=box, moment=f"{day}T00:00:00Z"))
        with stac_api(found, tmp_path) as url:
            words = ["scenes", "--stac", url, "--collection", "naip", "--start", "2014-01-01", "--end", "2019-01-01"]
            words += ["--auth", "sas", "--token-url", f"{files.url}/sign", "--out", str(tmp_path / "out")]
            words += ["--ingest", str(tmp_path / "assets"), "--asset-id", "USDA/NAIP/DOQQ", "--quiet"]
            done = run_command(*words)
    assert done.exit_code == 0, done.output
    chosen = eechips.open_run(tmp_path / "out").units
    assert sorted(unit["item"][-8:-4] for unit in chosen["unit"]) == ["2014", "2015", "2016", "2017", "2018"]
    server = serve("--assets", str(tmp_path / "assets"), "--no-demo", "--rate", "none", "--concurrency", "none")
    with rasterio.open(paths["m_4709963_se_14_1_20180716"]) as source:
        west, south, east, north = transform_bounds(source.crs, "EPSG:4326", *source.bounds)
    dx, dy = (east - west) / 4, (north - south) / 4
    run = eechips.sample(
        "NAIP", bands=["R", "G", "B"], total=12, size=64, format="tif", start="2014-01-01", end="2019-01-01",
        roi=f"{west + dx},{south + dy},{east - dx},{north - dy}", endpoint=server.url, provenance=True,
        out=tmp_path / "chips", quiet=True, executor="threads",
    )  # fmt: skip
    assert chips_are_windows(run, paths, bands=3) == 12


def box_of(folder: Path, place: Path) -> Path:
    """A region in the middle of the first file, as GeoJSON."""
    with rasterio.open(folder / "s1.tif") as file:
        west, south, east, north = transform_bounds(file.crs, "EPSG:4326", *file.bounds)
    dx, dy = (east - west) / 4, (north - south) / 4
    ring = [[west + dx, south + dy], [east - dx, south + dy], [east - dx, north - dy], [west + dx, north - dy]]
    path = place / "region.geojson"
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [[*ring, ring[0]]]}))
    return path
