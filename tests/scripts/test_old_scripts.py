"""Scripts of users, run unmodified: the same files as by plain Python, and a ledger."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from eechips import open_run
from eechips.manifest.run import Run
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import ROOT, SCRIPTS, command, files, plain, run, run_with_faults

pytestmark = pytest.mark.slow
POINTS = "name,lon,lat\na,-105.2,40\nb,-105.21,40\nc,-105.22,40.01\nd,-105,40\n"


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A folder of the scripts, so that none writes into the project."""
    folder = tmp_path / "scripts"
    shutil.copytree(SCRIPTS, folder)
    shutil.copytree(ROOT / "recipes" / "old", folder, dirs_exist_ok=True)
    return folder


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "units"),
    [
        ("naip", [], 6),
        ("modis_series", [], 4),
        ("threads_geotiff", [], 5),
        ("unordered", [], 6),
        ("async_urlretrieve", [], 5),
        ("arguments", ["3", "--fast"], 3),
        ("phases", [], 9),
        ("ee_items", [], 5),
        ("absolute", [], 4),
    ],
)
def test_files_equal_those_of_plain_python(
    name: str, arguments: list[str], units: int, scripts: Path, demo_server: Server, tmp_path: Path
) -> None:
    script, here, there = scripts / f"{name}.py", tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "points.csv").write_text(POINTS)
    expected = plain(script, demo_server, there, *arguments)
    assert expected.returncode == 0, expected.stderr
    result = run(script, demo_server, here, "--", *arguments)
    assert result.returncode == 0, result.stderr
    counts = re.findall(r"(\d+) of \1 results|(\d+) units? done without a file", result.stdout)
    assert sum(int(with_file or without) for with_file, without in counts) == units
    wanted = files(there)
    del wanted["points.csv"]
    found = files(here / "run")
    for shared in {"heights.csv"} & set(wanted):  # processes add to it in any order
        found[shared], wanted[shared] = (b"".join(sorted(each[shared].splitlines(True))) for each in (found, wanted))
    assert found == wanted
    assert not any(path.is_symlink() for path in (here / "run").rglob("*"))
    made = open_run(here / "run")
    assert made.counts == {"done": units}
    assert made.verify() == []
    if name != "absolute":
        recorded = set(made.units["file"].dropna())
        assert recorded <= set(wanted)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_metadata_of_several_files_of_a_unit_are_recorded(scripts: Path, demo_server: Server, tmp_path: Path) -> None:
    assert run(scripts / "phases.py", demo_server, tmp_path, "-q").returncode == 0
    made = open_run(tmp_path / "run")
    units = made.units
    chips = units[units["file"].notna()]
    assert [unit["value"]["use"] for unit in units["unit"]] == [1] * 6 + [2] * 3
    assert [(r.file.rpartition("/")[2], r.width, r.height) for r in chips.itertuples()] == [("hill.png", 32, 32)] * 3
    assert list(units["requests"]) == [1] * 6 + [2] * 3
    victim = next((tmp_path / "run").rglob("meta.txt"))
    victim.write_text("x\n")
    assert [problem.file for problem in made.verify()] == [victim.relative_to(tmp_path / "run").as_posix()]
    before = demo_server.requests()
    victim.unlink()
    assert run(scripts / "phases.py", demo_server, tmp_path, "-q").returncode == 0
    assert made.verify() == []
    assert sum(demo_server.requests().values()) - sum(before.values()) <= 6  # the unit's, and the client's own


@pytest.mark.exhaustive
def test_notebooks_run_without_their_magics(scripts: Path, demo_server: Server, tmp_path: Path) -> None:
    result = run(scripts / "notebook.py", demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "!pip install geemap" in result.stderr
    heights = json.loads((tmp_path / "run" / "heights.json").read_text())
    assert len(heights) == 8
    assert str(heights) in result.stdout


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_killed_script_resumes(scripts: Path, demo_server: Server, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = command(scripts / "slow.py", demo_server)
    process = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    while not (tmp_path / "run" / "part_4.txt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    whole = {name: (tmp_path / "run" / name).stat() for name in files(tmp_path / "run")}
    assert 4 <= len(whole) < 10
    assert "planned" in Run(tmp_path / "run").counts
    result = run(scripts / "slow.py", demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "all [0, 1, 2, 3, 4, 5, 6, 7, 100, 101]" in result.stdout
    assert len(files(tmp_path / "run")) == 10
    done = [name for name, stat in whole.items() if (tmp_path / "run" / name).stat().st_ino == stat.st_ino]
    assert len(done) >= len(whole) - 1  # one may have been committed and not yet recorded


@pytest.mark.exhaustive
def test_errors_are_reported_at_once_with_their_class(scripts: Path, demo_server: Server, tmp_path: Path) -> None:
    """Repeated as the script wants it, the first of them alone would sleep for 511 s: longer than a test may last."""
    result = run(scripts / "wrong.py", demo_server, tmp_path)
    assert result.returncode == 2
    assert "NameError: name 'undefined_name' is not defined" in result.stderr
    said = [line for line in result.stdout.splitlines() if line.startswith(("missing", "bug", "own", "passing"))]
    assert said == [
        "missing_asset raised EEException",
        "bug raised KeyError",
        "own_loop raised HTTPError",  # at the fourth failure: without most of its 255 s
        "passing raised ValueError",
    ]
    failures = open_run(tmp_path / "run").failures
    kinds = ["PermanentError"] * 2 + ["RecipeError"] * 2 + ["PermanentError"] * 4 + ["RecipeError"]
    assert list(failures["error_class"]) == kinds
    asked = failures[failures["error_class"] == "PermanentError"]
    assert all("Image asset 'NO/SUCH/IMAGE' not found" in error for error in asked["error"])


def test_loops_and_retries_of_a_script_behave_as_in_plain_python(
    scripts: Path, demo_server: Server, tmp_path: Path
) -> None:
    """Except one without an end, which repeats a request that cannot succeed."""
    result = run(scripts / "left_out.py", demo_server, tmp_path)
    assert result.stdout.count("again") == 2 * 4
    expected = str([None] * 6 + ["later"]).encode()
    assert files(tmp_path / "run") == {"0.txt": expected, "1.txt": expected}
    assert list(open_run(tmp_path / "run").failures["error_class"]) == ["PermanentError"] * 2


@pytest.mark.exhaustive
@pytest.mark.slow
def test_another_plan_is_refused(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "clock.py"
    script.write_text(
        "import time\nfrom multiprocessing import Pool\n"
        "def work(t):\n    open(f'{t}.txt', 'w').write('x')\n"
        "Pool(2).map(work, [f'at {time.time_ns()}'])\n"
    )
    assert run(script, demo_server, tmp_path).returncode == 0
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 2
    assert "differs from its last run: 1 of the 1 calls of its pool no. 1 are new" in result.stderr
    assert 'such as work() with ["at ' in result.stderr


@pytest.mark.exhaustive
@pytest.mark.slow
def test_eechips_has_the_pool_itself(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "own.py"
    script.write_text(
        "from eechips import Pool\n"
        "def work(a, b):\n    return a + b\n"
        "if __name__ == '__main__':\n"
        "    with Pool(2) as pool:\n        print(pool.starmap(work, [(1, 2), (3, 4)]))\n"
    )
    assert "[3, 7]" in run(script, demo_server, tmp_path).stdout
    assert "[3, 7]" in plain(script, demo_server, tmp_path).stdout
    assert open_run(tmp_path / "run").counts == {"done": 2}


@pytest.mark.parametrize("value", ["image", "[image]", "{'size': unit}", "float(unit)"])
@pytest.mark.parametrize("asks", ["", "    ee.Number(unit).getInfo()\n"], ids=["silent", "asks"])
def test_what_nothing_receives_is_no_result(demo_server: Server, tmp_path: Path, value: str, asks: str) -> None:
    """The units were done without a file, and the exit status was 0. A file beside it is one."""
    script = tmp_path / "pasted.py"
    script.write_text(
        "import ee\nee.Initialize(project='my-project')\n"
        "def get_requests():\n    return [1, 2, 3]\n"
        "def get_result(index, unit):\n    image = ee.Image(unit).clip(ee.Geometry.Point([0, 0]).buffer(100))\n"
        f"{asks}    if unit == 3:\n        with open('3.txt', 'w') as file:\n            file.write('3')\n"
        f"    return {value}\n"
    )
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 1
    ended = open_run(tmp_path / "run")
    assert ended.counts == {"failed_permanent": 2, "done": 1}
    assert set(ended.failures["error"].str.extract("which (nothing fetches)")[0]) == {"nothing fetches"}


def test_bytes_and_arrays_of_a_pasted_function_become_files(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "pasted.py"
    script.write_text(
        "import ee\nimport numpy as np\nee.Initialize(project='my-project')\n"
        "def getRequests():\n    return [0, 1]\n"
        "def getResult(index, unit):\n    rows = ee.Number(7).getInfo() * b'a,b\\n'\n"
        "    return np.full((2, 2), unit) if unit else rows\n"
    )
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert [Path(name).suffix for name in open_run(tmp_path / "run").units["file"]] == [".bin", ".npy"]


@pytest.mark.exhaustive
def test_calls_draw_the_same_random_numbers_again(demo_server: Server, tmp_path: Path) -> None:
    """The workers' generators had no seed: a repeated call asked for other places and dates."""
    script = tmp_path / "random_calls.py"
    script.write_text(
        "import random\nfrom multiprocessing.dummy import Pool\nimport numpy as np\n"
        "def work(i):\n    with open(f'{i}.txt', 'w') as file:\n"
        "        file.write(f'{random.random()} {np.random.randint(10 ** 9)}')\n"
        "np.random.seed(SEED)\nPool(2).map(work, range(4))\n"
    )
    draws = []
    for name, seed in (("a", 42), ("b", 42), ("c", 43)):
        here = tmp_path / name
        here.mkdir()
        copy = here / script.name
        copy.write_text(script.read_text().replace("SEED", str(seed)))
        assert run(copy, demo_server, here).returncode == 0
        draws.append([(here / "run" / f"{i}.txt").read_text() for i in range(4)])
    assert draws[0] == draws[1]
    assert len(set(draws[0] + draws[2])) == 8


@pytest.mark.exhaustive
@pytest.mark.slow
def test_process_local_globals_are_substituted(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "globals.py"
    script.write_text(
        "import collections, dataclasses, threading\n"
        "import multiprocessing as mp\n"
        "import ee, numpy as np, pandas as pd\n"
        "from tqdm import tqdm\n"
        "from tqdm.contrib.concurrent import process_map\n"
        "ee.Initialize()\n"
        "lock, thread_lock, semaphore = mp.Lock(), threading.Lock(), threading.Semaphore(3)\n"
        "counter, bar, local = mp.Value('i', 5), tqdm(total=4, disable=True), threading.local()\n"
        "Row = collections.namedtuple('Row', 'n v')\n"
        "@dataclasses.dataclass\n"
        "class Item:\n    n: int\n"
        "def work(item):\n"
        "    with lock, thread_lock, semaphore:\n        counter.value += 1\n"
        "    bar.update(1)\n"
        "    local.x = 1\n"
        "    return Row(item.n, np.arange(item.n)), pd.DataFrame({'a': [item.n]}), ee.Number(item.n)\n"
        "if __name__ == '__main__':\n"
        "    with mp.Pool(2) as p:\n"
        "        found = list(p.imap(work, [Item(i) for i in range(3)]))\n"
        "    assert all(isinstance(row, Row) and len(row.v) == row.n for row, _, _ in found)\n"
        "    print([number.getInfo() for _, _, number in found], process_map(abs, [-1, -2], max_workers=2))\n"
    )
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "[0, 1, 2] [1, 2]" in result.stdout
    assert open_run(tmp_path / "run").counts == {"done": 5}


@pytest.mark.exhaustive
@pytest.mark.slow
def test_network_faults_do_not_reach_the_files(scripts: Path, demo_server: Server, tmp_path: Path) -> None:
    """The script copies response.raw into a file: half an image, or its gzip, if nobody looked after it."""
    pixels = {"on": "thumbnails:getPixels", "probability": 1.0, "times": 1}
    kinds = ("truncate", "truncate-silently", "gzip", "reset", "status")
    assert run(scripts / "naip.py", demo_server, tmp_path, "-q", "--out", "good").returncode == 0
    result = run_with_faults(scripts / "naip.py", tmp_path, [{"type": kind, **pixels} for kind in kinds])
    assert result.returncode == 0, result.stderr
    assert files(tmp_path / "run") == files(tmp_path / "good")


@pytest.mark.exhaustive
@pytest.mark.slow
def test_many_short_calls_are_made_once(demo_server: Server, tmp_path: Path) -> None:
    """Files of one call are staged while the next one runs in the same process."""
    script = tmp_path / "many.py"
    script.write_text(
        "import os\nfrom multiprocessing import Pool\n"
        "def work(i):\n    open(f'c/{i}.txt', 'w').write('x')\n    return i\n"
        "if __name__ == '__main__':\n"
        "    os.makedirs('c', exist_ok=True)\n"
        "    assert Pool().map(work, range(1000)) == list(range(1000))\n"
    )
    for _ in range(2):
        assert run(script, demo_server, tmp_path).returncode == 0
    units = open_run(tmp_path / "run").units
    assert set(units["attempts"]) == {1}
    assert list(units["file"]) == [f"c/{i}.txt" for i in range(1000)]


@pytest.mark.exhaustive
def test_two_functions_without_a_pool_are_run(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "serial.py"
    script.write_text(
        "import ee, requests, shutil\n"
        "from eechips import Chip\n"
        "ee.Initialize(opt_url='https://earthengine-highvolume.googleapis.com')\n"
        "def getRequests():\n    return [1, 2, 3]\n"
        "def getResult(index, n):\n"
        "    region = ee.Geometry.Point(0, 0).buffer(50)\n"
        "    if n == 3:\n        return Chip(ee.Image(n), region=region, dimensions=(8, 8))\n"
        "    r = requests.get(ee.Image(n).getThumbURL({'region': region, 'dimensions': '16x16'}), stream=True)\n"
        "    with open('tile_%d.png' % index, 'wb') as f:\n        shutil.copyfileobj(r.raw, f)\n"
        "if __name__ == '__main__':\n"
        "    for index, item in enumerate(getRequests()):\n        getResult(index, item)\n"
    )
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    units = open_run(tmp_path / "run").units
    assert list(units["file"][:2]) == ["tile_0.png", "tile_1.png"]
    assert list(units["width"]) == [16, 16, 8]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_call_that_catches_the_error_of_its_only_request_has_failed(
    scripts: Path, demo_server: Server, tmp_path: Path
) -> None:
    ended = run(scripts / "swallows.py", demo_server, tmp_path)
    assert ended.returncode == 1, ended.stderr
    made = open_run(tmp_path / "run")
    assert made.units["state"].tolist() == ["failed_permanent"] * 3 + ["done"] * 2
    assert set(made.failures["error_class"]) == {"PermanentError"}
    assert made.failures["error"].str.contains("NO/SUCH/ASSET").all()
    # The script goes on as by plain Python.
    assert (tmp_path / "run" / "found.txt").read_text() == "[None, False, None, None, 4]"
    assert (tmp_path / "run" / "errors.log").read_text() == "2\n"
    assert "1 of 4 results, 1 unit done without a file, " in ended.stdout


@pytest.mark.exhaustive
@pytest.mark.slow
def test_files_outside_the_run_are_counted_and_how_to_record_them_is_said(
    scripts: Path, demo_server: Server, tmp_path: Path
) -> None:
    ended = run(scripts / "absolute.py", demo_server, tmp_path)
    folder = (scripts / "absolute_output").resolve()
    assert "4 units done without a file, 0 bytes, in " in ended.stdout
    assert f"4 files outside the run's folder, in {folder}: not recorded and not verified." in ended.stdout
    assert f"--out {folder}" in ended.stdout
    (folder / "b.txt").unlink()
    assert run(scripts / "absolute.py", demo_server, tmp_path, "-q").returncode == 0
    assert (folder / "b.txt").read_text() == "1.5\n"
    script = scripts / "absolute.py"
    taken = run(script, demo_server, tmp_path, "--out", str(folder))
    assert "4 of 4 results, " in taken.stdout
    assert "lie outside" not in taken.stdout
    assert open_run(folder).units["file"].tolist() == ["a.txt", "b.txt", "c.txt", "d.txt"]
