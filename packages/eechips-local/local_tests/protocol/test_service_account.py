"""The key of a server, and its tokens: as Google's own libraries sign, ask and send them."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import google.oauth2.service_account
import pyogrio
import pytest
import rasterio
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.auth import jwt
from google.auth.crypt import RSASigner
from google.auth.transport.requests import Request

from eechips_local.protocol.issued_tokens import GRANT, GrantError, TokenIssuer, UnauthenticatedError
from eechips_local.protocol.service_account import EMAIL, KeyFileError, write_key
from local_tests.support.local_earth_engine import Server

URL = "http://127.0.0.1:8765"
SCOPE = "https://www.googleapis.com/auth/earthengine"
COMPUTE = {"expression": {"result": "0", "values": {"0": {"constantValue": 7}}}}


def sign(key: Path, *, signer: Any = None, **changed: Any) -> str:
    """Return an assertion of a key, as google.auth makes them; claims that are a timedelta count from now."""
    document = json.loads(key.read_text())
    now = int(time.time())
    claims = {
        "iss": document["client_email"], "aud": document["token_uri"], "iat": now, "exp": now + 3600, "scope": SCOPE,
        **changed,
    }  # fmt: skip
    claims = {name: now + int(v.total_seconds()) if isinstance(v, timedelta) else v for name, v in claims.items()}
    found: bytes = jwt.encode(
        signer or RSASigner.from_service_account_info(document), {k: v for k, v in claims.items() if v is not None}
    )
    return found.decode("ascii")


def make_signer() -> Any:
    """Return the signer of a key that nobody knows."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return RSASigner.from_string(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def ask(url: str, assertion: str) -> requests.Response:
    """Ask a server for a token."""
    return requests.post(f"{url}/token", {"grant_type": GRANT, "assertion": assertion}, timeout=60)


def compute(url: str, token: str | None) -> requests.Response:
    """Send a request with a token, or without one."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return requests.post(f"{url}/v1/projects/eechips-local/value:compute", json=COMPUTE, headers=headers, timeout=60)


# The file


def test_only_the_user_reads_the_key_and_google_auth_understands_it(tmp_path: Path) -> None:
    path = tmp_path / "local.json"
    write_key(path, URL)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["local.json"]
    found = google.oauth2.service_account.Credentials.from_service_account_file(str(path))
    assert (found.service_account_email, found.project_id) == (EMAIL, "eechips-local")
    assert found._token_uri == f"{URL}/token"


def test_a_key_of_a_local_earth_engine_is_replaced_by_another_one(tmp_path: Path) -> None:
    path = tmp_path / "local.json"
    first = write_key(path, URL)
    second = write_key(path, "http://127.0.0.1:9000")
    assert first.public_key != second.public_key
    assert json.loads(path.read_text())["token_uri"] == "http://127.0.0.1:9000/token"


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "7", "[" * 60_000, "x" * 70_000,
        json.dumps({"client_email": EMAIL, "token_uri": "https://oauth2.googleapis.com/token"}),
        json.dumps({"client_email": "me@my.iam.gserviceaccount.com", "token_uri": f"{URL}/token"}),
        json.dumps({"client_email": EMAIL, "token_uri": "http://[:1/token"}),
    ],
)  # fmt: skip
def test_other_files_are_not_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(content)
    with pytest.raises(KeyFileError, match="is no key of a local Earth Engine"):
        write_key(path, URL)
    assert path.read_text() == content


def test_a_key_needs_its_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="there is no folder"):
        write_key(tmp_path / "missing" / "key.json", URL)


def test_a_key_that_the_system_refuses_is_one_sentence() -> None:
    with pytest.raises(KeyFileError, match=r"^cannot write the key /proc/key\.json: (No such file|Permission)"):
        write_key(Path("/proc/key.json"), URL)


# Assertions and tokens


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> tuple[TokenIssuer, Path]:
    path = tmp_path_factory.mktemp("key") / "local.json"
    return TokenIssuer(write_key(path, URL)), path


@pytest.mark.parametrize(
    "audience",
    [
        "http://localhost:8765/token",
        "https://oauth2.googleapis.com/token",
        "https://www.googleapis.com/oauth2/v4/token",
    ],
)
def test_audiences_that_libraries_name_are_accepted(issuer: tuple[TokenIssuer, Path], audience: str) -> None:
    found = issuer[0].issue({"grant_type": GRANT, "assertion": sign(issuer[1], aud=audience)})
    assert (found["expires_in"], found["token_type"]) == (3600, "Bearer")


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        ({"aud": "http://127.0.0.1:8766/token"}, "invalid_grant", "wrong audience"),
        ({"aud": None}, "invalid_grant", "wrong audience"),
        ({"exp": timedelta(seconds=-60)}, "invalid_grant", "Token expired"),
        ({"iat": timedelta(seconds=600), "exp": timedelta(seconds=700)}, "invalid_grant", "too early"),
        ({"exp": timedelta(hours=2)}, "invalid_grant", "3600 seconds at most"),
        ({"exp": "soon"}, "invalid_grant", "Invalid JWT"),
        ({"exp": None}, "invalid_grant", "required claim exp"),
        ({"iss": "client@other.iam.gserviceaccount.com"}, "invalid_grant", "account not found"),
        ({"scope": "https://www.googleapis.com/auth/drive"}, "invalid_scope", "earthengine"),
        ({"scope": None}, "invalid_scope", "earthengine"),
        ({"scope": [SCOPE]}, "invalid_scope", "earthengine"),
    ],
)
def test_wrong_claims_are_refused(
    issuer: tuple[TokenIssuer, Path], changed: dict[str, Any], code: str, message: str
) -> None:
    with pytest.raises(GrantError, match=message) as refused:
        issuer[0].issue({"grant_type": GRANT, "assertion": sign(issuer[1], **changed)})
    assert refused.value.code == code


def test_the_signature_of_another_key_is_refused(issuer: tuple[TokenIssuer, Path]) -> None:
    with pytest.raises(GrantError, match="verify token signature"):
        issuer[0].issue({"grant_type": GRANT, "assertion": sign(issuer[1], signer=make_signer())})


def test_an_unsigned_assertion_is_refused(issuer: tuple[TokenIssuer, Path]) -> None:
    parts = sign(issuer[1]).split(".")
    for header in ("eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzI1NiJ9", "W10", parts[0]):
        with pytest.raises(GrantError, match="Invalid JWT"):
            issuer[0].issue({"grant_type": GRANT, "assertion": f"{header}.{parts[1]}."})


@pytest.mark.parametrize("assertion", ["", "a", "a.b.c", "é.é.é", "." * 5000])
def test_no_assertion_is_refused(issuer: tuple[TokenIssuer, Path], assertion: str) -> None:
    with pytest.raises(GrantError, match="Invalid JWT"):
        issuer[0].issue({"grant_type": GRANT, "assertion": assertion})


def test_another_grant_is_refused(issuer: tuple[TokenIssuer, Path]) -> None:
    with pytest.raises(GrantError) as refused:
        issuer[0].issue({"grant_type": "refresh_token", "assertion": sign(issuer[1])})
    assert refused.value.code == "unsupported_grant_type"


def test_a_token_expires(tmp_path: Path) -> None:
    now = [1e9]
    account = write_key(tmp_path / "local.json", URL)
    issuer = TokenIssuer(account, lambda: now[0])
    token = issuer.issue({"grant_type": GRANT, "assertion": sign(tmp_path / "local.json")})["access_token"]
    now[0] += 3599
    issuer.check(f"Bearer {token}")
    issuer.check(f"bearer {token} ")
    now[0] += 1
    with pytest.raises(UnauthenticatedError, match="expired"):
        issuer.check(f"Bearer {token}")


# The server


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served") / "local.json"


@pytest.fixture(scope="module")
def server(key: Path, serve: Callable[..., Server]) -> Server:
    return serve("--demo", "--key", str(key), "--rate", "none")


@pytest.mark.slow
def test_tokens_of_the_server_are_accepted_and_others_are_not(server: Server, key: Path) -> None:
    answer = ask(server.url, sign(key))
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    token = answer.json()["access_token"]
    assert compute(server.url, token).json() == {"result": 7}
    assert compute(server.url, None).json() == {"result": 7}
    for other in (f"{token}x", "ya29.of-google", ""):
        refused = compute(server.url, other)
        assert (refused.status_code, refused.json()["error"]["status"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("name", ["access_token", "oauth_token"])
def test_tokens_in_addresses_are_checked_too(server: Server, key: Path, name: str) -> None:
    """Both are parameters of all methods in Earth Engine's discovery document."""
    token = ask(server.url, sign(key)).json()["access_token"]
    address = f"{server.url}/v1/projects/eechips-local/value:compute"
    answers = [requests.post(address, json=COMPUTE, params={name: t}, timeout=60) for t in (token, "other", "")]
    assert [answer.status_code for answer in answers] == [200, 401, 401]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "unsupported_grant_type"),
        (b"\xff", "invalid_request"),
        (b"&".join(b"a%d=1" % n for n in range(30)), "invalid_request"),
        (f"grant_type={GRANT}&assertion=a.b.c".encode(), "invalid_grant"),
    ],
)
def test_bodies_without_a_grant_are_refused(server: Server, body: bytes, error: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = requests.post(f"{server.url}/token", body, headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_pages_of_other_sites_get_no_token(server: Server, key: Path) -> None:
    form = {"grant_type": GRANT, "assertion": sign(key)}
    answer = requests.post(f"{server.url}/token", form, headers={"Origin": "https://example.com"}, timeout=60)
    assert (answer.status_code, "access_token" in answer.text) == (403, False)


def test_the_list_of_requests_has_no_token(server: Server, key: Path) -> None:
    requests.post(f"{server.url}/_requests", json={"keep": 10}, timeout=60)
    token = ask(server.url, sign(key)).json()["access_token"]
    compute(server.url, token)
    for path in ("_requests", "_activity", "_stats"):
        text = requests.get(f"{server.url}/{path}", timeout=60).text
        assert "value:compute" in text
        assert token not in text


def test_a_server_without_a_key_issues_no_tokens_and_looks_at_none(demo_server: Server, key: Path) -> None:
    answer = requests.post(f"{demo_server.url}/token", {"grant_type": GRANT}, timeout=60)
    assert answer.status_code == 404
    assert "serve --key FILE" in answer.json()["error"]["message"]
    assert compute(demo_server.url, "anything").json() == {"result": 7}


@pytest.mark.slow
def test_a_key_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text("{}")
    command = [sys.executable, "-m", "eechips_local", "serve", "--port", "0", "--key", str(tmp_path / "key.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "is no key of a local Earth Engine" in done.stderr
    assert "Traceback" not in done.stderr


# Real clients, in processes of their own


def run_client(*words: str, **variables: str) -> str:
    """Run a program, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("EE_", "EEDA_", "GOOGLE"))}
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env={**environment, **variables})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def require(*words: str, reason: str, **variables: str) -> None:
    """Skip the test unless a program runs and succeeds."""
    try:
        done = subprocess.run(words, capture_output=True, timeout=60, env={**os.environ, **variables})
    except OSError:
        pytest.skip(reason)
    if done.returncode:
        pytest.skip(reason)


SCRIPT = """
import sys
import ee

ee.Initialize(ee.ServiceAccountCredentials("", sys.argv[1]), url=sys.argv[2])
print(ee.Number(1).add(1).getInfo())
"""


def test_google_auth_gets_a_token(server: Server, key: Path) -> None:
    credentials = google.oauth2.service_account.Credentials.from_service_account_file(str(key), scopes=[SCOPE])
    credentials.refresh(Request())
    assert compute(server.url, credentials.token).status_code == 200


@pytest.mark.slow
def test_a_script_with_a_service_account_runs(server: Server, key: Path) -> None:
    found = run_client(sys.executable, "-W", "ignore", "-c", SCRIPT, str(key), server.url)
    assert found == "2\n"


@pytest.mark.slow
def test_the_command_earthengine_runs(server: Server, key: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "ee.cli.eecli", "--service_account_file", str(key)]
    found = run_client(*command, "asset", "info", "USGS/SRTMGL1_003", HOME=str(tmp_path))
    assert json.loads(found)["name"] == "projects/earthengine-public/assets/USGS/SRTMGL1_003"


JAVASCRIPT = """
const ee = require("@google/earthengine");
const url = process.argv[1];
const fail = (error) => { console.error(error); process.exit(1); };
const settle = (resolve, reject) => (value, error) => (error ? reject(error) : resolve(value));
const evaluate = (object) => new Promise((resolve, reject) => object.evaluate(settle(resolve, reject)));
const call = (start) => new Promise((resolve, reject) => start(settle(resolve, reject)));
const session = async () => {
  const place = ee.Geometry.Rectangle([-105.12, 39.9, -105.1, 39.92]);
  const heights = ee.Image("USGS/SRTMGL1_003");
  const images = ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED")
    .filterBounds(place).filterDate("2023-07-01", "2023-07-15");
  const ndvi = images.map((image) => image.normalizedDifference(["B8", "B4"])).median();
  const places = ee.FeatureCollection([ee.Feature(place, {name: "a"})]);
  const region = {region: place, dimensions: 32, min: 1000, max: 3000, format: "png"};
  console.log(JSON.stringify({
    mean: await evaluate(heights.reduceRegion(ee.Reducer.mean(), place, 30)),
    ids: await evaluate(images.aggregate_array("system:index")),
    ndvi: await evaluate(ndvi.reduceRegions(places, ee.Reducer.mean(), 100).aggregate_array("mean")),
    asset: (await call((done) => ee.data.getAsset("USGS/SRTMGL1_003", done))).id,
    thumb: await call((done) => heights.getThumbURL(region, done)),
    tiles: (await call((done) => heights.getMap({min: 0, max: 3000}, done))).urlFormat,
  }));
};
ee.initialize(url, url, () => session().catch(fail), fail, null, "eechips-local");
"""


@pytest.fixture(scope="module")
def node_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of modules of Node with Google's client, installed for these tests."""
    folder = tmp_path_factory.mktemp("node")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder)]
    try:
        done = subprocess.run([*command, "@google/earthengine@1"], capture_output=True, text=True, timeout=150)
    except OSError:
        pytest.skip("npm is not installed")
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not install @google/earthengine within 150 s")
    if done.returncode:
        pytest.skip(f"npm cannot install @google/earthengine: {done.stderr.strip()[-200:]}")
    return str(folder / "node_modules")


@pytest.mark.slow
def test_a_session_of_the_javascript_client_has_the_values_of_python(
    demo_ee: Any, demo_server: Server, node_path: str
) -> None:
    answers = json.loads(run_client("node", "-e", JAVASCRIPT, demo_server.url, NODE_PATH=node_path))
    ee = demo_ee
    place = ee.Geometry.Rectangle([-105.12, 39.9, -105.1, 39.92])
    heights = ee.Image("USGS/SRTMGL1_003")
    images = (
        ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED").filterBounds(place).filterDate("2023-07-01", "2023-07-15")
    )
    ndvi = images.map(lambda image: image.normalizedDifference(["B8", "B4"])).median()
    assert answers["mean"] == heights.reduceRegion(ee.Reducer.mean(), place, 30).getInfo()
    assert answers["ids"] == images.aggregate_array("system:index").getInfo() != []
    places = ee.FeatureCollection([ee.Feature(place, {"name": "a"})])
    means = ndvi.reduceRegions(places, ee.Reducer.mean(), 100).aggregate_array("mean")
    assert answers["ndvi"] == means.getInfo() != []
    assert answers["asset"] == "USGS/SRTMGL1_003"
    thumbnail = heights.getThumbURL({"region": place, "dimensions": 32, "min": 1000, "max": 3000, "format": "png"})
    assert requests.get(answers["thumb"], timeout=60).content == requests.get(thumbnail, timeout=30).content
    tile = heights.getMapId({"min": 0, "max": 3000})["tile_fetcher"].format_tile_url(212, 388, 10)
    shown = requests.get(answers["tiles"].format(z=10, x=212, y=388), timeout=60)
    assert shown.headers["Content-Type"].startswith("image/")
    assert shown.content == requests.get(tile, timeout=60).content


R_SCRIPT = """
library(reticulate)
ee <- import("ee")
given <- commandArgs(trailingOnly = TRUE)
ee$Initialize(ee$ServiceAccountCredentials(key_file = given[1]), url = given[2])
cat(ee$Number(1)$add(1)$getInfo(), "\\n")
"""


@pytest.mark.slow
def test_r_runs_by_reticulate(server: Server, key: Path, tmp_path: Path) -> None:
    require("Rscript", "-e", "library(reticulate)", reason="R with reticulate is not installed")
    (tmp_path / "script.R").write_text(R_SCRIPT)
    command = ["Rscript", str(tmp_path / "script.R"), str(key), server.url]
    assert run_client(*command, RETICULATE_PYTHON=sys.executable).split()[-1] == "2"


GDAL_SCRIPT = """
import pyogrio
import rasterio

with rasterio.open("EEDAI:USGS/SRTMGL1_003") as image:
    print(image.width, image.crs, *image.read(1, window=image.window(-105.1, 39.9, -105.09, 39.91))[0, :1])
found = pyogrio.read_info("EEDA:COPERNICUS/S2_SR_HARMONIZED")
print("CLOUDY_PIXEL_PERCENTAGE" in list(found["fields"]))
"""


@pytest.mark.slow
def test_gdal_reads_images_and_lists_collections(server: Server, key: Path) -> None:
    with rasterio.Env() as environment:
        if "EEDAI" not in environment.drivers() or "EEDA" not in pyogrio.list_drivers():
            pytest.skip("GDAL of rasterio or pyogrio lacks the drivers of Earth Engine")
    variables = {
        "EEDA_URL": f"{server.url}/v1/", "GO2A_AUD": f"{server.url}/token", "GOOGLE_APPLICATION_CREDENTIALS": str(key),
    }  # fmt: skip
    first, second = run_client(sys.executable, "-W", "ignore", "-c", GDAL_SCRIPT, **variables).splitlines()
    width, crs, height = first.split()
    assert (width, crs, second) == ("1296001", "EPSG:4326", "True")
    assert 1000 < int(height) < 4400


QGIS_SCRIPT = """
import sys
from qgis.core import QgsApplication, QgsCoordinateReferenceSystem, QgsMapRendererParallelJob, QgsMapSettings
from qgis.core import QgsPointXY, QgsRasterLayer, QgsRectangle, QgsVectorLayer
from qgis.PyQt.QtCore import QSize

QgsApplication.setPrefixPath("/usr", True)
application = QgsApplication([], False)
application.initQgis()
heights = QgsRasterLayer("EEDAI:USGS/SRTMGL1_003", "heights", "gdal")
print(heights.isValid(), heights.width(), heights.dataProvider().sample(QgsPointXY(-105.1, 39.9), 1)[0])
images = QgsVectorLayer("EEDA:COPERNICUS/S2_SR_HARMONIZED", "images", "ogr")
print(images.isValid(), "CLOUDY_PIXEL_PERCENTAGE" in images.fields().names())
tiles = QgsRasterLayer("type=xyz&zmin=0&zmax=18&url=" + sys.argv[1], "tiles", "wms")
settings = QgsMapSettings()
settings.setLayers([tiles])
settings.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:3857"))
settings.setExtent(QgsRectangle(-11709000, 4845000, -11690000, 4864000))
settings.setOutputSize(QSize(64, 64))
job = QgsMapRendererParallelJob(settings)
job.start()
job.waitForFinished()
image = job.renderedImage()
print(tiles.isValid(), len({image.pixel(x, y) for x in range(64) for y in range(64)}))
sys.stdout.flush()
"""


@pytest.mark.slow
def test_qgis_reads_images_lists_collections_and_draws_tiles(demo_ee: Any, server: Server, key: Path) -> None:
    python = shutil.which("python3", path=os.defpath) or "python3"  # QGIS is a package of the system
    require(python, "-c", "import qgis.core", reason="QGIS is not installed")
    tiles = demo_ee.Image("USGS/SRTMGL1_003").getMapId({"min": 1000, "max": 4000})["tile_fetcher"].url_format
    variables = {
        "EEDA_URL": f"{server.url}/v1/", "GO2A_AUD": f"{server.url}/token",
        "GOOGLE_APPLICATION_CREDENTIALS": str(key), "QT_QPA_PLATFORM": "offscreen",
    }  # fmt: skip
    heights, images, drawn = run_client(python, "-c", QGIS_SCRIPT, tiles, **variables).splitlines()
    is_valid, width, height = heights.split()
    assert (is_valid, width) == ("True", "1296001")
    assert 1000 < float(height) < 4400
    assert images == "True True"
    assert int(drawn.removeprefix("True ")) > 10
