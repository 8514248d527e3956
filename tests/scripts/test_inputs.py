"""Inputs that a script lists or tests for, its working directory, and scripts without results."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from eechips import open_run
from eechips.scripts.named_inputs import named_inputs
from eechips.scripts.working_folder import WorkingFolder
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import command, files, run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder in which a command is typed, with inputs; another one is beside it."""
    folder = tmp_path / "home"
    (folder / "csvs" / "deep").mkdir(parents=True)
    for name in ("csvs/a.csv", "csvs/b.csv", "csvs/deep/c.csv", "run.json"):
        (folder / name).write_text(name)
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "d.csv").write_text("d")
    return folder


@pytest.fixture
def working_folder(home: Path) -> WorkingFolder:
    return WorkingFolder(home / "outputs" / "run", (home,))


def test_new_files_may_lie_in_folders_of_the_inputs(home: Path, working_folder: WorkingFolder) -> None:
    """A script whose configuration names a folder that exists beside it did not find the folder."""
    with working_folder.entered():
        np.save("csvs/deep/new.npy", np.arange(3))
        os.mkdir("csvs/made")  # noqa: PTH102
        Path("csvs/deep/further").mkdir()
        Path("csvs/deep/further/file.txt").write_text("further")
        with pytest.raises(FileNotFoundError):
            Path("lacking/file.txt").write_text("nothing")
        with pytest.raises(FileNotFoundError):
            Path("lacking/folder").mkdir()
        assert working_folder.files() == ["csvs/deep/further/file.txt", "csvs/deep/new.npy"]
        assert sorted(path.name for path in Path("csvs").iterdir()) == ["a.csv", "b.csv", "deep", "made"]
    inputs = sorted(path.relative_to(home).as_posix() for path in (home / "csvs").rglob("*"))
    assert inputs == ["csvs/a.csv", "csvs/b.csv", "csvs/deep", "csvs/deep/c.csv"]


LOOKS = {
    "exists": 'os.path.exists("csvs/a.csv")',
    "exists of a folder": 'os.path.exists("csvs") and os.path.isdir("csvs")',
    "isfile": 'os.path.isfile(os.path.abspath("csvs/a.csv"))',
    "lexists": 'os.path.lexists("csvs/a.csv")',
    "getsize": 'os.path.getsize("csvs/a.csv") == 10',
    "stat": 'os.stat("csvs/a.csv").st_size == 10',
    "access": 'os.access("csvs/a.csv", os.R_OK)',
    "Path.exists": 'Path("csvs/deep/c.csv").exists() and Path("csvs").is_dir()',
    "listdir": 'sorted(os.listdir("csvs")) == ["a.csv", "b.csv", "deep"]',
    "scandir": 'sorted(e.name for e in os.scandir("csvs") if e.is_file()) == ["a.csv", "b.csv"]',
    "walk": '[sorted(names) for _, _, names in os.walk("csvs")] == [["a.csv", "b.csv"], ["c.csv"]]',
    "glob": 'sorted(glob.glob("csvs/*.csv")) == ["csvs/a.csv", "csvs/b.csv"]',
    "glob of all": 'len(glob.glob("**/*.csv", recursive=True)) == 3',
    "Path.glob": 'sorted(p.name for p in Path("csvs").glob("*.csv")) == ["a.csv", "b.csv"]',
    "Path.rglob": 'len(list(Path().rglob("*.csv"))) == 3',
    "Path.iterdir": 'len(list(Path("csvs").iterdir())) == 3',
    "the folder itself": 'os.listdir() == ["csvs", "outputs"] or os.listdir() == ["outputs", "csvs"]',
    "a copy": 'shutil.copy("csvs/a.csv", "copy.csv") and Path("copy.csv").read_text() == "csvs/a.csv"',
    "a folder beside": 'os.listdir("../beside") == ["d.csv"] and Path("../beside/d.csv").read_text() == "d"',
    "a test beside": 'os.path.exists("../beside/d.csv") and not os.path.exists("../beside/e.csv")',
    "a folder beside the working directory": 'os.listdir(os.path.dirname(os.getcwd()) + "/beside") == ["d.csv"]',
    "a file beside the working directory": '(Path.cwd().parent / "beside" / "d.csv").read_text() == "d"',
    "a test beside the working directory": '(Path.cwd().parent / "beside").is_dir()'
    ' and not os.path.exists(os.path.dirname(os.getcwd()) + "/beside/e.csv")',
    "nothing": 'not os.path.exists("csvs/e.csv") and not glob.glob("none/*") and not os.access("e", os.R_OK)',
    "chdir": 'os.chdir("csvs") or sorted(glob.glob("*.csv")) == ["a.csv", "b.csv"]',
}


@pytest.mark.parametrize("look", LOOKS)
def test_an_input_is_seen_however_a_script_looks_for_it(look: str, home: Path, working_folder: WorkingFolder) -> None:
    names = {"os": os, "Path": Path, "glob": __import__("glob"), "shutil": shutil}
    with working_folder.entered():
        assert eval(LOOKS[look], names)
    working_folder.remove_links()
    kept = [path for path in working_folder.folder.rglob("*") if path.name != "copy.csv"]
    assert kept == []
    assert (home / "csvs" / "a.csv").read_text() == "csvs/a.csv"


def test_absolute_paths_that_the_script_did_not_make_from_its_folder_mean_themselves(tmp_path: Path) -> None:
    """Each has a file at the same place beside the folder of the command."""
    home, scratch = tmp_path / "user" / "project", tmp_path / "scratch"
    home.mkdir(parents=True)
    for folder in (tmp_path, home.parent):
        (folder / "cache.json").write_text("another")
    working_folder = WorkingFolder(scratch / "run", (home,))
    with working_folder.entered():
        literal = scratch / "cache.json"
        assert not literal.exists()
        with pytest.raises(FileNotFoundError):
            literal.read_text()
        assert (Path.cwd().parent / "cache.json").read_text() == "another"
    inside = WorkingFolder(home / "outputs" / "run", (home,))
    with inside.entered():
        assert Path.cwd() == inside.folder
        for shared in (home, tmp_path / "none"):  # both folders are in these, or neither is
            assert not (shared / "cache.json").exists()


def test_calls_find_what_the_script_has_named_by_its_folder(tmp_path: Path) -> None:
    home, out = tmp_path / "user" / "project", tmp_path / "scratch" / "run"
    home.mkdir(parents=True)
    (home.parent / "cache.json").write_text("x")
    script = WorkingFolder(out, (home,))
    with script.entered():
        named = os.path.abspath("../cache.json")  # noqa: PTH100 - as scripts do
    for names_cwd in (False, script.names_cwd):
        call = WorkingFolder(out / "calls" / "1", (out, home), names_cwd=names_cwd)
        with call.entered():
            assert Path(named).exists() == names_cwd
    assert script.names_cwd


def test_an_input_that_calls_change_by_its_own_path_is_no_result(tmp_path: Path) -> None:
    """It was recorded for the first call of a script run again, and hid the file from the others."""
    home, out = tmp_path / "home", tmp_path / "home" / "run"
    out.mkdir(parents=True)
    (home / "rows.csv").write_text("1\n")
    script = WorkingFolder(out, (home,), ("rows.csv",))
    call = WorkingFolder(out / "calls" / "1", (out, home), ("rows.csv",), appends_apart=True)
    with script.entered():
        with call.entered(), (home / "rows.csv").open("a") as file:
            file.write("2\n")
        assert call.files() == []
        assert list(call.outside) == [str(home / "rows.csv")]
        script.outside.update(call.outside)
    script.remove_links()
    assert not (out / "rows.csv").exists()


def test_a_file_is_written_beside_the_folder_of_the_command(home: Path, working_folder: WorkingFolder) -> None:
    with working_folder.entered():
        Path("../beside/new.csv").write_text("x")
        with pytest.raises(FileNotFoundError):
            Path("../none/new.csv").write_text("x")
    assert (home.parent / "beside" / "new.csv").read_text() == "x"
    assert str(home.parent / "beside" / "new.csv") in working_folder.outside


def test_a_thread_of_a_script_with_the_identifier_of_one_that_has_ended(
    home: Path, working_folder: WorkingFolder
) -> None:
    """Python gives identifiers again: files that such a thread wrote were not results."""
    is_end = threading.Event()
    earlier = threading.Thread(target=is_end.wait)
    earlier.start()
    with working_folder.entered():
        is_end.set()
        earlier.join()
        paths = [home.parent / "beside" / f"{number}.csv" for number in range(9)]
        for path in paths:
            thread = threading.Thread(target=path.write_text, args=("x",))
            thread.start()
            thread.join()
    assert list(working_folder.outside) == [str(path) for path in paths]


def test_what_a_script_has_removed_is_not_shown_again(home: Path, working_folder: WorkingFolder) -> None:
    with working_folder.entered():
        assert Path("csvs/a.csv").exists()
        Path("csvs/a.csv").unlink()
        shutil.rmtree("csvs/deep")
        assert not Path("csvs/a.csv").exists()
        assert [path.name for path in Path("csvs").iterdir()] == ["b.csv"]
        with pytest.raises(FileNotFoundError):
            Path("csvs/a.csv").read_text()
    assert (home / "csvs" / "a.csv").exists()
    assert (home / "csvs" / "deep" / "c.csv").exists()


def test_the_folder_of_the_run_has_no_inputs(home: Path) -> None:
    """A script repeated in the folder ``csvs``, which it names, found ``csvs/csvs`` and what it had written there."""
    texts = ("csvs", "csvs/a.csv", "b.csv", "run.json")
    assert named_inputs(texts, home, home / "csvs") == (("run.json",), ())
    assert named_inputs(texts, home, home / "csvs" / "deep") == (("csvs/a.csv", "run.json", "csvs/b.csv"), ("csvs",))
    for out in (home, home / "other"):
        assert named_inputs(texts, home, out) == (("csvs/a.csv", "run.json", "csvs/b.csv"), ("csvs", "csvs/deep"))


def test_files_of_the_run_are_not_listed(home: Path, working_folder: WorkingFolder) -> None:
    working_folder.folder.mkdir(parents=True, exist_ok=True)
    for name in ("run.json", "manifest.sqlite", ".eechips.lock", "own.json"):
        (working_folder.folder / name).write_text("x")
    with working_folder.entered():
        assert [path.name for path in Path().glob("*.json")] == ["own.json"]
        assert [path.name for path in Path().iterdir() if path.is_file()] == ["own.json"]
    with working_folder.entered(), working_folder.suspended():
        assert Path("manifest.sqlite") in Path().iterdir()


def test_the_folder_of_the_command_is_entered_as_that_of_the_run(home: Path, working_folder: WorkingFolder) -> None:
    with working_folder.entered():
        os.chdir(home)
        assert Path.cwd() == working_folder.folder
        os.chdir(home / "csvs")
        assert Path("a.csv").read_text() == "csvs/a.csv"
        Path("new.csv").write_text("x")
        assert working_folder.cwd == "csvs"
        os.chdir(home.parent)
        assert working_folder.cwd == str(home.parent)
    assert (working_folder.folder / "csvs" / "new.csv").exists()
    assert not (home / "csvs" / "new.csv").exists()


IMPORTS = """
import os, sys
from pathlib import Path

sys.path.append(ENTRY)
from helper import double
from multiprocessing import Pool

def work(n):
    with open(f"{n}.txt", "w") as file:
        file.write(str(double(n)))

if __name__ == "__main__":
    with Pool(2) as pool:
        pool.map(work, range(2))
"""


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["'tools'", "os.path.abspath('tools')", "str(Path.cwd().parent / 'tools')"])
def test_modules_are_imported_from_folders_that_are_named_by_the_working_directory(
    entry: str, demo_server: Server, home: Path
) -> None:
    for folder in (home, home.parent):
        (folder / "tools").mkdir()
        (folder / "tools" / "helper.py").write_text("def double(n):\n    return 2 * n\n")
    (home / "script.py").write_text(IMPORTS.replace("ENTRY", entry))
    ended = run(home / "script.py", demo_server, home)
    assert ended.returncode == 0, ended.stderr
    assert files(home / "run") == {"0.txt": b"0", "1.txt": b"2"}


LISTING = """
import os
from multiprocessing import Pool
from pathlib import Path

def work(name):
    assert os.path.exists(f"{name}.csv"), os.getcwd()
    assert {"a.csv", "b.csv", "deep"} <= set(os.listdir()), os.listdir()
    with open(f"{name}.txt", "w") as file:
        file.write(Path(f"{name}.csv").read_text())

if __name__ == "__main__":
    os.chdir("csvs")
    Pool(2).map(work, sorted(path.stem for path in Path().glob("*.csv")))
"""


@pytest.mark.exhaustive
@pytest.mark.slow
def test_calls_begin_in_the_folder_in_which_the_script_opened_the_pool(demo_server: Server, home: Path) -> None:
    script = home / "script.py"
    script.write_text(LISTING)
    ended = run(script, demo_server, home)
    assert ended.returncode == 0, ended.stderr
    assert files(home / "run") == {"csvs/a.txt": b"csvs/a.csv", "csvs/b.txt": b"csvs/b.csv"}


NOTHING = {
    "lists nothing": 'from multiprocessing import Pool\nimport glob\nPool(2).map(print, glob.glob("none/*.csv"))\n',
    "does nothing": "import ee\nee.Initialize()\nprint(ee.Number(1).getInfo())\n",
    "leaves out": (
        "import os\nfrom multiprocessing import Pool\n"
        "def work(n):\n"
        "    if not os.path.exists(f'csvs/{n}.csv'):\n        open(f'csvs/{n}.csv', 'w').write('x')\n"
        "Pool(2).map(work, ['a', 'b'])\n"
    ),
}


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lists nothing", "has no results: it passed no call to a pool"),
        ("does nothing", "has no results: it passed no call to a pool"),
        ("leaves out", "has written no file: its calls have found csvs/a.csv, csvs/b.csv in"),
    ],
)
def test_a_script_without_results_is_not_a_success(name: str, said: str, demo_server: Server, home: Path) -> None:
    script = home / "script.py"
    script.write_text(NOTHING[name])
    for _ in range(2):
        ended: subprocess.CompletedProcess[str] = run(script, demo_server, home)
        assert ended.returncode == 2, ended.stderr
        assert said in ended.stderr


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_script_without_a_pool_is_told_which_files_it_has_left(demo_server: Server, home: Path) -> None:
    package = home / "site-packages" / "chips.py"
    package.parent.mkdir()
    package.write_text(
        "from multiprocessing import Pool\n"
        "def add(number):\n    return number + 1\n"
        "def fetch():\n    with Pool(2) as pool:\n        return sum(pool.map(add, [1, 2]))\n"
    )
    script = home / "script.py"
    script.write_text(
        f"import sys, ee\nsys.path.append({str(package.parent)!r})\nimport chips\nee.Initialize()\n"
        "open('sum.csv', 'w').write(str(ee.Number(chips.fetch()).getInfo()))\n"
    )
    done = run(script, demo_server, home)
    assert done.returncode == 0, done.stderr
    assert (
        "passed no call to a pool that a run records: nothing is known of what it did. It left sum.csv" in done.stderr
    )
    assert "joblib" in done.stderr  # whose pools are recorded
    assert "not if an installed package does" in done.stderr


@pytest.mark.exhaustive
@pytest.mark.slow
def test_results_of_an_earlier_phase_are_listed_by_the_calls_of_the_next(demo_server: Server, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import glob, os\nfrom multiprocessing import Pool\n"
        "def first(n):\n    open(f'{n}.txt', 'w').write('x')\n"
        "def second(n):\n"
        "    found = sorted(glob.glob('*.txt'))\n"
        "    open(f'all_{n}.csv', 'w').write(','.join(found) + str(os.path.exists('0.txt')))\n"
        "with Pool(2) as pool:\n    pool.map(first, range(2))\n    pool.map(second, range(1))\n"
    )
    assert run(tmp_path / "script.py", demo_server, tmp_path).returncode == 0
    assert (tmp_path / "run" / "all_0.csv").read_text() == "0.txt,1.txtTrue"
    assert open_run(tmp_path / "run").counts == {"done": 3}


PRINTING = """
import os
from multiprocessing import Pool

def save(n):
    names = os.listdir(".")
    print("call", n, flush=True)
    with open(f"{n}.csv", "w") as file:
        file.write(str("log.txt" in names))

if __name__ == "__main__":
    os.listdir(".")
    Pool(2).map(save, range(3))
"""


@pytest.mark.slow
def test_the_file_with_the_output_of_the_command_is_no_result(demo_server: Server, tmp_path: Path) -> None:
    """A call that listed the folder had the file among its results, since it had changed meanwhile."""
    script = tmp_path / "script.py"
    script.write_text(PRINTING)
    with (tmp_path / "log.txt").open("w") as log:
        words = command(script, demo_server)
        subprocess.run(words, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, check=True, timeout=240)
    assert files(tmp_path / "run") == {f"{n}.csv": b"True" for n in range(3)}
    assert open_run(tmp_path / "run").units["bytes"].tolist() == [4, 4, 4]


@pytest.mark.slow
def test_threads_processes_and_exit_handlers_of_a_script_finish_their_work(demo_server: Server, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import atexit, multiprocessing, threading, time\n"
        "atexit.register(lambda: open('end.txt', 'w').write('x'))\n"
        "def late(name):\n    time.sleep(0.5)\n    open(name, 'w').write('x')\n"
        "def later():\n    threading.Thread(target=late, args=('later.txt',)).start()\n"
        "threading.Thread(target=late, args=('thread.txt',)).start()\n"
        "threading.Thread(target=later).start()\n"
        "multiprocessing.Process(target=late, args=('process.txt',)).start()\n"
        "threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n"
    )
    ended = run(tmp_path / "script.py", demo_server, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert set(files(tmp_path / "run")) == {"end.txt", "later.txt", "process.txt", "thread.txt"}
