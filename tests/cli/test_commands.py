"""Commands as users type them, in their own processes, over a local Earth Engine."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from local_tests.support.local_earth_engine import Server
from tests.support.programs import EECHIPS, run_program

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def eechips(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command; nothing of the caller's EECHIPS_ variables is seen."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EECHIPS_")}
    return run_program(*EECHIPS, *arguments, cwd=cwd, env={**clean, **environment}, timeout=240)


def one_sentence(result: subprocess.CompletedProcess[str], status: int = 2) -> str:
    assert result.returncode == status, result.stderr
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.stderr
    return errors[0].removeprefix("Error: ")


@pytest.fixture(scope="module")
def sampled(demo_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `eechips sample` was run with the endpoint in the environment."""
    folder = tmp_path_factory.mktemp("cli")
    command = ["sample", "--dataset", "naip", "--per-ecoregion", "2", "--size", "32", "--executor", "processes:2"]
    result = eechips(*command, cwd=folder, EECHIPS_ENDPOINT=demo_server.url, EECHIPS_PROJECT="local")
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(r"(\d+) of \1 results, .* in outputs/sample-naip\n", result.stdout)
    assert "Points per ecoregion: 2, in " in result.stderr
    return folder


@pytest.mark.exhaustive
def test_sample_writes_to_the_folder_that_it_names(sampled: Path) -> None:
    out = sampled / "outputs" / "sample-naip"
    assert len(list(out.rglob("*.png"))) >= 4
    info = json.loads((out / "run.json").read_text())
    assert info["command"] == "eechips sample --dataset naip --per-ecoregion 2 --size 32 --executor processes:2"
    assert not (out / "failures.csv").exists()


@pytest.mark.slow
def test_status_counts_the_units_of_a_run(sampled: Path) -> None:
    result = eechips("status", "outputs/sample-naip", cwd=sampled)
    assert result.returncode == 0
    assert re.search(r"^done +\d+$", result.stdout, re.MULTILINE)
    found = json.loads(eechips("status", "outputs/sample-naip", "--json", cwd=sampled).stdout)
    assert found["counts"] == {"done": found["total"]}
    assert found["bytes"] > 0
    assert found["bytes"] == sum(file.stat().st_size for file in (sampled / "outputs/sample-naip").rglob("*.png"))
    assert found["failures"] == {}


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_replaced(sampled: Path, tmp_path: Path, closed: str) -> None:
    """No file gets the number of a standard stream: what C libraries print would be written into it."""
    program = (
        "import os, sys; from eechips.cli.terminal import open_closed_streams; open_closed_streams(); print('x');"
        " os.write(2, b'y'); os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY) >= 3 or sys.exit(9)"
    )
    file = tmp_path / "result"
    words = shlex.join([sys.executable, "-c", program, str(file)])
    assert subprocess.run(["sh", "-c", f"{words} {closed}"], check=False).returncode == 0
    assert file.read_bytes() == b""
    words = shlex.join([sys.executable, "-m", "eechips", "status", str(sampled / "outputs" / "sample-naip")])
    assert subprocess.run(["sh", "-c", f"{words} {closed}"], check=False).returncode == 0


@pytest.mark.slow
def test_verify_finds_a_file_that_is_missing_changed_or_cut(sampled: Path, tmp_path: Path) -> None:
    result = eechips("verify", "outputs/sample-naip", cwd=sampled)
    assert result.returncode == 0
    assert "all present and intact" in result.stdout
    first, second, third, *_ = sorted((sampled / "outputs").rglob("*.png"))
    whole = [path.read_bytes() for path in (first, second, third)]
    first.unlink()
    second.write_bytes(whole[1][:-10])
    third.write_bytes(whole[2][:-30] + bytes([whole[2][-30] ^ 1]) + whole[2][-29:])
    result = eechips("verify", "outputs/sample-naip", cwd=sampled)
    assert result.returncode == 1
    for path in (first, second, third):
        assert path.name in result.stdout
    assert len(result.stdout.splitlines()) == 3
    for path, data in zip((first, second, third), whole, strict=True):
        path.write_bytes(data)
    assert eechips("verify", "outputs/sample-naip", cwd=sampled).returncode == 0


@pytest.mark.slow
def test_a_folder_that_holds_another_run_is_refused(sampled: Path, demo_server: Server) -> None:
    command = ["sample", "--dataset", "NAIP", "--per-ecoregion", "2", "--size", "64", "--executor", "processes:2"]
    result = eechips(*command, cwd=sampled, EECHIPS_ENDPOINT=demo_server.url)
    message = one_sentence(result)
    assert "outputs/sample-naip" in message
    assert "size" in message


@pytest.mark.slow
def test_dry_run_estimates_costs_and_fetches_no_pixel(demo_server: Server, tmp_path: Path) -> None:
    before = demo_server.requests()
    result = eechips(
        "sample", "--dataset", "NAIP", "--per-ecoregion", "1000", "--dry-run", "--endpoint", demo_server.url,
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    units = int(found["units"].replace(",", ""))
    assert units % 1000 == 0
    assert int(found["requests"].replace(",", "")) == units
    sent = {kind: count - before.get(kind, 0) for kind, count in demo_server.requests().items()}
    assert not any(count for kind, count in sent.items() if re.search("pixels|thumb", kind, re.IGNORECASE)), sent
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.exhaustive
@pytest.mark.slow
def test_an_estimate_says_what_planning_the_rest_costs(demo_server: Server, tmp_path: Path) -> None:
    words = ["sample", "--dataset", "NAIP", "--total", "1200", "--roi", "-105.6,39.2,-104.7,40", "--size", "32"]
    run = [*words, "--estimate", "2", "--out", "out", "--endpoint", demo_server.url]
    paused = eechips(*run, cwd=tmp_path)
    assert paused.returncode == 0, paused.stderr
    found = dict(line.split(maxsplit=1) for line in paused.stdout.splitlines())
    assert (found["tried"], found["left"]) == ("2 units", "1,198 units")
    planning = r"about 3 requests, .* \(.* to .*\), extrapolated from 2 of 1,200 units"
    assert re.fullmatch(planning, found["planning"])
    assert f"To resume: eechips {' '.join(run)} --yes" in paused.stderr
    again = eechips(*run, cwd=tmp_path)
    assert "planning  of 1,198 units; its cost is unknown" in again.stdout


@pytest.mark.exhaustive
@pytest.mark.slow
def test_unknown_names_are_reported_in_one_sentence(demo_server: Server, tmp_path: Path) -> None:
    base = ["--endpoint", demo_server.url, "--out", "out"]
    sample = ["sample", "--per-ecoregion", "1", *base]
    assert "The demo planet has no USDA/NAIP/DOQ; it has USDA/NAIP/DOQQ" in one_sentence(
        eechips(*sample, "--dataset", "USDA/NAIP/DOQ", "--roi=-105,39,-104,40", cwd=tmp_path)
    )
    roi = "FAO/GAUL/2015/level1:ADM1_NAME=Colorada"
    assert "did you mean 'Colorado'" in one_sentence(eechips(*sample, "--dataset", "NAIP", "--roi", roi, cwd=tmp_path))


@pytest.mark.exhaustive
@pytest.mark.slow
def test_missing_credentials_are_reported_with_both_remedies(tmp_path: Path) -> None:
    """With a home folder in which nobody ever authenticated, and no metadata server."""
    result = eechips(
        "sample", "--dataset", "NAIP", "--per-ecoregion", "1", "--project", "p", cwd=tmp_path,
        HOME=str(tmp_path), NO_GCE_CHECK="true", GOOGLE_APPLICATION_CREDENTIALS="", CLOUDSDK_CONFIG=str(tmp_path),
    )  # fmt: skip
    message = one_sentence(result)
    assert "earthengine authenticate" in message
    assert "--local" in message


@pytest.mark.exhaustive
@pytest.mark.slow
def test_an_unreachable_server_is_reported(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # no other server gets the port, and this one does not listen
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        result = eechips("sample", "--dataset", "NAIP", "--per-ecoregion", "1", "--endpoint", url, cwd=tmp_path)
    assert "cannot reach" in one_sentence(result)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_some_failures_end_with_status_1_and_are_listed(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "half.py"
    script.write_text(
        "import ee\nfrom eechips import Chip\n"
        "def get_requests():\n    return list(range(6))\n"
        "def get_result(index, n):\n"
        "    image = ee.Image(n) if n % 2 else ee.Image('NO/SUCH/IMAGE')\n"
        "    return Chip(image, region=ee.Geometry.Point(0, 0).buffer(50), dimensions=(8, 8))\n"
    )
    result = eechips("run", str(script), "--endpoint", demo_server.url, "--executor", "processes:2", cwd=tmp_path)
    assert result.returncode == 1
    assert re.fullmatch(r"3 of 6 results, \d+ bytes, in outputs/half\n", result.stdout)
    assert "3 units failed; all are listed in outputs/half/failures.csv:" in result.stderr
    assert "NO/SUCH/IMAGE" in result.stderr
    status = json.loads(eechips("status", "outputs/half", "--json", cwd=tmp_path).stdout)
    assert status["counts"] == {"done": 3, "failed_permanent": 3}


@pytest.mark.slow
def test_a_recipe_that_writes_its_files_itself_is_told_what_to_return(tmp_path: Path) -> None:
    """They lie in the working directory, and nothing records them."""
    (tmp_path / "writes.py").write_text(
        "NEEDS_SERVICE = False\n\n\ndef get_requests():\n    return [1, 2]\n\n\n"
        "def get_result(index, unit):\n    open(f'{unit}.txt', 'w').close()\n"
    )
    result = eechips("run", "writes.py", "--executor", "threads", cwd=tmp_path)
    assert result.stdout.splitlines()[1:] == [
        "get_result returned nothing. Files that it writes itself are not in the run: have it return their bytes"
    ], result.stderr


@pytest.mark.exhaustive
@pytest.mark.slow
def test_assets_are_ingested_listed_and_served(tmp_path: Path, real_data: Path) -> None:
    quad = real_data / "naip" / "m_4709963_se_14_1_20200831.tif"
    asset = "USDA/NAIP/DOQQ/m_4709963_se_14_1_20200831"
    result = eechips(
        "assets", "ingest", str(quad), "--into", "store", "--id", asset, "--time-start", "2020-08-31",
        "--bands", "R,G,B,N", "-p", "year=2020", cwd=tmp_path,
    )  # fmt: skip
    assert result.stdout == f"{asset}\n", result.stderr
    listing = eechips("assets", "ls", "store", "USDA/NAIP/DOQQ", cwd=tmp_path).stdout
    assert asset in listing
    assert "2020-08-31  R,G,B,N" in listing
    assert "no asset" in one_sentence(eechips("assets", "ls", "store", "NO/SUCH", cwd=tmp_path))
    result = eechips(
        "sample", "--dataset", "NAIP", "--per-ecoregion", "1", "--size", "16", "--roi=-99.18,47.01,-99.13,47.03",
        "--local", "store", "--executor", "processes:1", cwd=tmp_path,
    )  # fmt: skip
    # The folder has no ecoregions: the sentence says so.
    assert "there is no table 'RESOLVE/ECOREGIONS/2017'" in one_sentence(result)


@pytest.mark.slow
def test_serve_prints_its_url_and_stops_cleanly_on_ctrl_c(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "eechips", "serve", "--demo", "--port", "0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
    assert found
    with urlopen(f"{found.group()}/v1/projects/local/algorithms") as response:
        assert response.status == 200
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to every process of the group
    _, errors = process.communicate(timeout=120)
    assert process.returncode in (0, 130)
    assert "Traceback" not in errors


def test_ctrl_c_while_a_package_is_imported_ends_quietly(tmp_path: Path) -> None:
    """Numpy raises an ImportError then, which was called a bug."""
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text(
        "import os, signal\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt:\n    raise ImportError('numpy') from None\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "eechips", "smooth", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr.strip()) == (130, "")
