"""Files that calls of a script write and read, wherever their paths lead."""

from __future__ import annotations

import sqlite3
import subprocess
from pathlib import Path

import geopandas
import pytest

from eechips import open_run
from eechips.scripts.named_inputs import named_texts
from eechips.scripts.working_folder import WorkingFolder
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import files, plain, run

ABSOLUTE = """
import os, pathlib, shutil
from multiprocessing import Pool
import ee
ee.Initialize()
HOME = os.getcwd()
os.makedirs('made', exist_ok=True)

def by_abspath(n):
    folder = os.path.abspath('.')
    with open(os.path.join(folder, f'a{n}.txt'), 'w') as f:
        f.write(str(ee.Number(n).getInfo()))
    with open(os.path.join(os.getcwd(), 'made', f'{n}.part'), 'w') as f:
        f.write('x')
    os.rename(os.path.join(os.getcwd(), 'made', f'{n}.part'), os.path.join(HOME, 'made', f'{n}.txt'))
    pathlib.Path('b\\\\%d.txt' % n).resolve().write_text('y')
    os.chdir('made')
    open(f'c{n}.txt', 'w').write('z')
    os.chdir('..')
    return [os.path.abspath(f'a{n}.txt'), pathlib.Path(f'a{n}.txt').absolute()]

if __name__ == '__main__':
    with Pool(2) as pool:
        for text, path in pool.map(by_abspath, range(3)):
            assert open(text).read() == path.read_text() == os.path.basename(text)[1], text
            assert os.path.dirname(text) == HOME
"""


@pytest.mark.exhaustive
@pytest.mark.slow
def test_paths_below_the_working_directory_may_be_absolute(demo_server: Server, tmp_path: Path) -> None:
    script, there = tmp_path / "paths.py", tmp_path / "there"
    script.write_text(ABSOLUTE)
    there.mkdir()
    assert plain(script, demo_server, there).returncode == 0
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    found = files(tmp_path / "run")
    assert found == files(there)
    assert len(found) == 12
    made = open_run(tmp_path / "run")
    assert made.file_count == len(found)
    assert made.verify() == []


@pytest.mark.exhaustive
@pytest.mark.slow
def test_inputs_are_never_written_to(demo_server: Server, tmp_path: Path) -> None:
    """A script that was run by plain Python before finds its own results beside it."""
    script = tmp_path / "script.py"
    script.write_text(
        "from multiprocessing import Pool\n"
        "def work(n):\n"
        "    old = open('shared.txt').read()\n"
        "    with open('log.txt', 'a') as f:\n        f.write('new\\n')\n"
        "    with open('%d.txt' % n, 'w') as f:\n        f.write(old)\n"
        "if __name__ == '__main__':\n"
        "    print(open('all.txt').read())\n"
        "    Pool(2).map(work, range(2))\n"
        "    open('all.txt', 'w').write('of the run')\n"
        "    open('more.txt', 'a').write('of the run')\n"
        "    with open('changed.txt', 'r+') as f:\n        f.write('N')\n"
    )
    names = ("all.txt", "more.txt", "changed.txt", "shared.txt", "log.txt", "0.txt")
    for name in names:
        (tmp_path / name).write_text("before\n")
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert {(tmp_path / name).read_text() for name in names} == {"before\n"}
    assert files(tmp_path / "run") == {
        "0.txt": b"before\n",
        "1.txt": b"before\n",
        "all.txt": b"of the run",
        "changed.txt": b"Nefore\n",
        "log.txt": b"before\nnew\nnew\n",
        "more.txt": b"before\nof the run",
    }


@pytest.mark.exhaustive
def test_irregular_files_are_left_out_with_a_warning(demo_server: Server, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not of the script")
    script = tmp_path / "script.py"
    script.write_text(
        "import os, socket\nfrom multiprocessing import Pool\n"
        "def work(n):\n"
        "    open('whole.txt', 'w').write('x')\n"
        "    os.link('whole.txt', 'hard.txt')\n"
        "    os.symlink('whole.txt', 'latest.txt')\n"
        "    os.mkfifo('pipe')\n"
        f"    os.symlink({str(tmp_path / 'secret')!r}, 'away')\n"
        f"    os.symlink({str(tmp_path)!r}, 'folder')\n"
        "    os.symlink('nowhere', 'broken')\n"
        "    socket.socket(socket.AF_UNIX).bind('s')\n"
        "if __name__ == '__main__':\n    Pool(1).map(work, [1])\n"
    )
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert files(tmp_path / "run") == {"hard.txt": b"x", "latest.txt": b"x", "whole.txt": b"x"}
    assert "not regular files (links to other folders, pipes, sockets): away, broken, folder, …" in result.stderr


def test_a_link_that_a_killed_run_has_left_is_still_one_to_an_input(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "in.txt").write_text("before")
    left = WorkingFolder(tmp_path / "run", (tmp_path / "home",), ("in.txt",))
    with left.entered():
        pass
    stage = WorkingFolder(tmp_path / "run", (tmp_path / "home",))
    with stage.entered():
        Path("in.txt").write_text("after")
    stage.remove_links()
    assert (tmp_path / "home" / "in.txt").read_text() == "before"
    assert (tmp_path / "run" / "in.txt").read_text() == "after"
    assert not (tmp_path / "run" / "in.txt").is_symlink()


def test_links_made_by_the_script_are_kept(tmp_path: Path) -> None:
    stage = WorkingFolder(tmp_path / "run", (tmp_path,))
    with stage.entered():
        Path("whole.txt").write_text("x")
        Path("latest.txt").symlink_to("whole.txt")
    stage.remove_links()
    assert (tmp_path / "run" / "latest.txt").is_symlink()


def test_an_input_that_a_library_has_written_through_is_a_result(tmp_path: Path) -> None:
    """GDAL and others do not open files by Python's open. One that the script writes by its own path is none."""
    (tmp_path / "in.txt").write_text("before")
    (tmp_path / "log.txt").write_text("before")
    stage = WorkingFolder(tmp_path / "run", (tmp_path,), ("in.txt", "log.txt"))
    with stage.entered():
        with stage.suspended(), (tmp_path / "in.txt").open("a") as file:
            file.write(" and after")
        with (tmp_path / "log.txt").open("a") as file:
            file.write(" and after")
        assert stage.files() == ["in.txt"]
    stage.remove_links()
    assert (tmp_path / "run" / "in.txt").read_text() == "before and after"
    assert not (tmp_path / "run" / "in.txt").is_symlink()
    assert not (tmp_path / "run" / "log.txt").exists()


READS_TILES = """
import os
import subprocess
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import rasterio


def write(n):
    path = Path("tiles") / f"{n}.tif"
    grid = dict(width=2, height=2, crs="EPSG:4326", transform=rasterio.Affine(1, 0, n, 0, -1, 0))
    with rasterio.open(path, "w", driver="GTiff", count=1, dtype="int16", **grid) as tile:
        tile.write(np.full((1, 2, 2), n, "int16"))
    return path


def by_name(n):
    with rasterio.open(f"tiles/{n}.tif") as tile:
        return int(tile.read().max())


def by_program(options):
    return subprocess.run(["ls", *options["names"]], capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    os.makedirs("tiles", exist_ok=True)
    with Pool(2) as pool:
        paths = pool.map(write, range(3))
    with Pool(2) as pool:
        print("read", pool.map(by_name, range(3)))
        print("programs", pool.map(by_program, [{"names": [path]} for path in paths]))
"""


@pytest.mark.slow
def test_libraries_and_programs_find_the_files_of_an_earlier_pool(demo_server: Server, tmp_path: Path) -> None:
    """They open files without Python."""
    script = tmp_path / "script.py"
    script.write_text(READS_TILES)
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "read [0, 1, 2]" in result.stdout
    assert "programs ['tiles/0.tif', 'tiles/1.tif', 'tiles/2.tif']" in result.stdout
    assert list(files(tmp_path / "run")) == ["tiles/0.tif", "tiles/1.tif", "tiles/2.tif"]
    assert open_run(tmp_path / "run").verify() == []


def test_files_that_arguments_name_are_linked_if_they_are_results(tmp_path: Path) -> None:
    """A program that writes one would change that of the command's folder."""
    out, home = tmp_path / "run", tmp_path / "home"
    for folder, names in ((out, ("a.shp", "a.dbf")), (home, ("b.txt",))):
        (folder / "data").mkdir(parents=True)
        for name in names:
            (folder / "data" / name).write_text(name)
    stage = WorkingFolder(out / "staging", (out, home))
    with stage.entered():
        stage.show_results(named_texts((Path("data/a.shp"), {"to": ["data/b.txt", "x" * 5000, "\0"]}, 7)))
        there = subprocess.run(["ls", "data"], capture_output=True, text=True, check=True).stdout.split()
        assert there == ["a.dbf", "a.shp"]
    assert stage.files() == []


@pytest.mark.exhaustive
@pytest.mark.slow
def test_odd_names_of_files_are_taken(demo_server: Server, tmp_path: Path) -> None:
    names = ["back\\slash.txt", "new\nline.txt", "quote'\".txt", " .txt", "é ☃.txt", "-rf.txt", "..a/b.txt"]
    script = tmp_path / "script.py"
    script.write_text(
        "import os\nfrom multiprocessing import Pool\n"
        "def work(name):\n    os.makedirs('..a', exist_ok=True)\n    open(name, 'w').write('x')\n"
        f"if __name__ == '__main__':\n    Pool(2).map(work, {names!r})\n"
    )
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert list(open_run(tmp_path / "run").units["file"]) == names
    assert open_run(tmp_path / "run").verify() == []


INPUTS = """
import os, sys
import geopandas
from multiprocessing import Pool
fields = geopandas.read_file(os.path.join("data", "fields.shp"))

def work(n):
    same = geopandas.read_file(os.path.join("data", "deep", "fields.geojson"))
    with open(f"{n}.txt", "w") as f:
        f.write(str(same.a[n]))

if __name__ == "__main__":
    Pool(2).map(work, range(len(fields)))
"""


@pytest.mark.exhaustive
@pytest.mark.slow
def test_inputs_named_in_parts_are_found_by_libraries_that_do_not_open_by_python(
    demo_server: Server, tmp_path: Path
) -> None:
    fields = geopandas.GeoDataFrame({"a": [5, 6]}, geometry=geopandas.points_from_xy([1, 2], [3, 4]), crs="EPSG:4326")
    (tmp_path / "data" / "deep").mkdir(parents=True)
    fields.to_file(tmp_path / "data" / "fields.shp")
    fields.to_file(tmp_path / "data" / "deep" / "fields.geojson")
    script = tmp_path / "script.py"
    script.write_text(INPUTS)
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert files(tmp_path / "run") == {"0.txt": b"5", "1.txt": b"6"}


OPENED = """
import sqlite3
from multiprocessing import Pool
import geopandas

folder = "".join(("da", "ta"))

def work(n):
    fields = geopandas.read_file(f"{folder}/fields.shp")
    with open(f"{n}.txt", "w") as f:
        f.write(str(fields.a[n]))
    return sqlite3.connect(f"{folder}/cells.db").execute("select count(*) from cells").fetchall()

if __name__ == "__main__":
    fields = geopandas.read_parquet(f"{folder}/fields.parquet")
    print(sqlite3.connect(f"{folder}/cells.db").execute("select * from cells").fetchall(), Pool(2).map(work, fields.a))
    with sqlite3.connect("own.db") as own:
        own.execute("insert into cells values (8)")
    fields.head(1).to_file("fields.gpkg")
"""


@pytest.mark.exhaustive
@pytest.mark.slow
def test_inputs_that_libraries_in_c_open_by_any_path_are_found_and_kept(demo_server: Server, tmp_path: Path) -> None:
    """GDAL did not find them, SQLite made empty databases, and both changed inputs that the script named."""
    fields = geopandas.GeoDataFrame({"a": [0, 1]}, geometry=geopandas.points_from_xy([1, 2], [3, 4]), crs="EPSG:4326")
    (tmp_path / "data").mkdir()
    fields.to_file(tmp_path / "data" / "fields.shp")
    fields.to_parquet(tmp_path / "data" / "fields.parquet")
    fields.to_file(tmp_path / "fields.gpkg")
    for name in ("data/cells.db", "own.db"):
        with sqlite3.connect(tmp_path / name) as database:
            database.execute("create table cells (n)")
            database.execute("insert into cells values (7)")
    inputs = files(tmp_path)
    (tmp_path / "script.py").write_text(OPENED)
    result = run(tmp_path / "script.py", demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("[(7,)] [[(1,)], [(1,)]]\n")
    made = files(tmp_path / "run")
    assert set(made) == {"0.txt", "1.txt", "own.db", "fields.gpkg"}
    with sqlite3.connect(tmp_path / "run" / "own.db") as own:
        assert own.execute("select * from cells").fetchall() == [(7,), (8,)]
    assert len(geopandas.read_file(tmp_path / "run" / "fields.gpkg")) == 1
    assert {name: content for name, content in files(tmp_path).items() if name in inputs} == inputs


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_missing_file_is_reported_with_its_folder(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    said = "To run it in the folder where the command is typed: --out ."
    for code in ("open('a' + 'b')", "import sqlite3; sqlite3.connect('a' + '/b')", "import os; os.listdir('a' + 'b')"):
        script.write_text(code)
        result = run(script, demo_server, tmp_path)
        assert result.returncode == 2
        assert said in result.stderr
    script.write_text(
        "from multiprocessing import Pool\n"
        "def work(n):\n    open('a' + 'b')\n"
        "if __name__ == '__main__':\n    Pool(1).map(work, [1])\n"
    )
    result = run(script, demo_server, tmp_path, "--out", "other")
    assert result.returncode == 1
    assert f"files of {tmp_path / 'other'} and {tmp_path} are found if" in result.stderr


@pytest.mark.slow
def test_files_of_a_script_that_are_called_as_those_of_the_run_are_kept(demo_server: Server, tmp_path: Path) -> None:
    """The run replaced or removed them at its end."""
    script, elsewhere = tmp_path / "script.py", tmp_path / "elsewhere"
    elsewhere.mkdir()
    script.write_text(
        "import json, logging, os\nfrom multiprocessing import Pool\n"
        "def work(n):\n    logging.info(n)\n"
        "if __name__ == '__main__':\n"
        "    logging.basicConfig(filename='run.log', filemode='w', level='INFO', format='%(message)s')\n"
        "    Pool(1).map(work, range(2))\n"
        "    for name in ('failures.csv', 'run.json', 'report.html'):\n"
        "        part = 'part' if name == 'run.json' else name\n"
        "        with open(part, 'w') as file:\n            json.dump([name], file)\n"
        "        if part != name:\n            os.replace(part, name)\n"
        "        assert json.load(open(name)) == [name]\n"
        f"    open({str(elsewhere / 'more.txt')!r}, 'w').close()\n"
    )
    for _ in range(2):
        result = run(script, demo_server, tmp_path)
        assert result.returncode == 0, result.stderr
        assert files(tmp_path / "run") == {
            "script-failures.csv": b'["failures.csv"]',
            "script-report.html": b'["report.html"]',
            "script-run.json": b'["run.json"]',
            "script-run.log": b"0\n1\n",
        }
        assert open_run(tmp_path / "run").counts == {"done": 2}
        assert "The script's run.json is called script-run.json: the run has a file of that name." in result.stderr
        assert f"1 file outside the run's folder, in {elsewhere}" in result.stdout


PARTS = """
import os
from multiprocessing import Pool

def save(n):
    with open(f"{n}.csv", "w") as file:
        file.write(f"id,value\\n{n},{n * n}\\n")

if __name__ == "__main__":
    Pool(2).map(save, range(3))
    with open("all.txt", "w") as joined:
        for n in range(3):
            joined.write(open(f"{n}.csv").read().splitlines()[1])
            os.remove(f"{n}.csv")
"""


@pytest.mark.slow
def test_a_run_has_a_report_without_tables_that_its_script_has_removed(demo_server: Server, tmp_path: Path) -> None:
    """No report was made, as the first table was missing."""
    (tmp_path / "script.py").write_text(PARTS)
    result = run(tmp_path / "script.py", demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "No report was made" not in result.stderr
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.slow
def test_files_that_a_script_has_removed_are_not_missing(demo_server: Server, tmp_path: Path) -> None:
    """A check of the run called the tiles of a mosaic missing, and advised to fetch them again."""
    (tmp_path / "script.py").write_text(PARTS)
    for _ in range(2):
        result = run(tmp_path / "script.py", demo_server, tmp_path)
        assert result.returncode == 0, result.stderr
        assert "The script has removed or renamed files of its calls" in result.stderr
        assert (tmp_path / "run" / "all.txt").read_text() == "0,01,12,4"
        made = open_run(tmp_path / "run")
        assert made.counts == {"done": 3}
        assert made.verify() == []


LEAVES_OUT_WHAT_IS_DONE = """
import os
from multiprocessing import Pool

def save(n):
    with open(f"{n}.csv", "w") as file:
        file.write(f"id,value\\n{n},{n * n}\\n")

if __name__ == "__main__":
    if not os.path.exists("all.txt"):
        Pool(2).map(save, range(3))
        with open("all.txt", "w") as file:
            file.write("0,1,4")
        os.remove("0.csv")
        raise ValueError("before its last line")
"""


@pytest.mark.slow
def test_files_that_a_script_has_removed_before_its_error_are_not_missing(demo_server: Server, tmp_path: Path) -> None:
    """Its next command opened their calls again, which it leaves out, and each one ended with the status 1."""
    script = tmp_path / "script.py"
    script.write_text(LEAVES_OUT_WHAT_IS_DONE)
    for status in (2, 0):
        result = run(script, demo_server, tmp_path)
        assert result.returncode == status, result.stderr
        assert ("has removed or renamed" in result.stderr) == (status == 2)
    made = open_run(tmp_path / "run")
    assert made.counts == {"done": 3}
    assert made.verify() == []
