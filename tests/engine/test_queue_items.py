"""Units in a queue: planned, fetched elsewhere, delivered twice, and never lost."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import pytest

from eechips.cli import main
from eechips.commands.command import FetchCommand
from eechips.engine.queues.queue_items import run_in_turn
from eechips.errors import RunLockedError
from eechips.manifest.folder_lock import lock_folder
from eechips.manifest.reserved_names import OUTCOMES_FOLDER
from local_tests.support.captured_log import CapturedLog
from tests.docs.blocks import read_blocks
from tests.support.commands import run_command
from tests.support.engine_recipes import run_chips
from tests.support.engine_service import Service
from tests.support.programs import EECHIPS, run_program

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """
import ee
from eechips import Chip, Grid

GRID = Grid("EPSG:32613", (1.0, 0.0, 500000.0, 0.0, -1.0, 4400000.0), 24, 24)

def get_requests(count=12):
    return list(range(1, count + 1))

def get_result(index, number):
    return Chip(ee.Image(number), grid=GRID)
"""


def eechips(tmp_path: Path, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return run_program(
        *EECHIPS, *words, cwd=tmp_path, input=given, timeout=90, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def plan(tmp_path: Path, service: Service) -> list[str]:
    (tmp_path / "squares.py").write_text(RECIPE)
    ended = eechips(
        tmp_path, "plan", "run", "squares.py", "--endpoint", service.url, "--executor", "processes:2", "--emit", "jsonl"
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def outcomes(ended: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_a_plan_is_a_line_for_each_unit_and_asks_for_no_pixel(tmp_path: Path, service: Service) -> None:
    lines = [json.loads(line) for line in plan(tmp_path, service)]
    assert [line["unit"]["value"] for line in lines] == list(range(1, 13))
    assert len({line["id"] for line in lines}) == 12
    assert service.count("pixels") == service.count("compute") == 0
    assert not (tmp_path / "outputs").exists()


@pytest.mark.exhaustive
@pytest.mark.slow
def test_workers_share_a_plan(tmp_path: Path, service: Service) -> None:
    lines = plan(tmp_path, service)
    told = []
    for some in (lines[:5], lines[5:]):
        ended = eechips(tmp_path, "work", "--units", "-", "--out", "res", "-q", given="\n".join(some))
        assert ended.returncode == 0, ended.stderr
        told += outcomes(ended)
    assert [each["id"] for each in told] == [json.loads(line)["id"] for line in lines]
    for each in told:
        data = (tmp_path / "res" / each["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == each["sha256"]
        assert (each["state"], each["width"], each["height"]) == ("done", 24, 24)
    assert {path.relative_to(tmp_path / "res").as_posix() for path in (tmp_path / "res").rglob("*.png")} == {
        each["file"] for each in told
    }
    others = [path for path in (tmp_path / "res").rglob("*") if path.is_file() and path.suffix != ".png"]
    assert {path.parent.name for path in others} == {OUTCOMES_FOLDER}  # nothing else but the outcomes of two workers
    assert len(others) == 2
    reference = run_chips(tmp_path / "reference", service.url)
    assert set(reference.units["sha256"]) == {each["sha256"] for each in told}


@pytest.mark.exhaustive
@pytest.mark.slow
def test_parts_name_results_by_their_index_in_the_plan(tmp_path: Path, service: Service) -> None:
    (tmp_path / "squares.py").write_text(RECIPE.replace("grid=GRID)", "grid=GRID, name=f'tile_{index}')"))
    words = ("plan", "run", "squares.py", "--endpoint", service.url, "--to", "units.jsonl")
    planned = eechips(tmp_path, *words)
    assert (planned.returncode, planned.stderr.splitlines()[-1:]) == (0, ["Written: 12 units to units.jsonl"])
    told = []
    for part in ("1/3", "2/3", "3/3"):
        ended = eechips(tmp_path, "work", "--units", "units.jsonl", "--part", part, "--out", "res", "-q")
        assert ended.returncode == 0, ended.stderr
        told += outcomes(ended)
    assert sorted(each["file"] for each in told) == sorted(f"tile_{index}.png" for index in range(12))
    (tmp_path / "o.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in told))
    ended = eechips(tmp_path, "join", "--units", "units.jsonl", "--out", "res", "--outcomes", "o.jsonl", "-q")
    assert ended.returncode == 0, ended.stderr


@pytest.mark.exhaustive
@pytest.mark.slow
def test_repeated_deliveries_are_fetched_once_with_the_same_result(tmp_path: Path, service: Service) -> None:
    lines = plan(tmp_path, service)[:3]
    first = eechips(tmp_path, "work", "--units", "-", "--out", "res", "-q", given="\n".join(lines + lines))
    assert len(outcomes(first)) == service.count("compute") + service.count("pixels") == 3
    again = eechips(tmp_path, "work", "--units", "-", "--out", "res", "-q", given="\n".join(lines))
    assert [each["sha256"] for each in outcomes(again)] == [each["sha256"] for each in outcomes(first)]


KILLED_ONCE = """
import os, pathlib, signal, sqlite3, time
from contextlib import closing

def recorded():
    (path,) = pathlib.Path("ledger").glob("*/manifest.sqlite")
    with closing(sqlite3.connect(path)) as ledger, ledger:
        return ledger.execute("SELECT count(*) FROM units WHERE state = 'done'").fetchone()[0]

def get_result_or_die(index, number):
    if number == 9 and not pathlib.Path("killed").exists():
        while recorded() < 6:
            time.sleep(0.01)
        pathlib.Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return get_result_of(index, number)

get_result_of, get_result = get_result, get_result_or_die
"""


@pytest.mark.exhaustive
def test_a_killed_worker_with_a_ledger_fetches_the_rest(tmp_path: Path, service: Service) -> None:
    (tmp_path / "squares.py").write_text(RECIPE + KILLED_ONCE)
    ended = eechips(tmp_path, "plan", "run", "squares.py", "--endpoint", service.url, "--to", "units.jsonl")
    assert ended.returncode == 0, ended.stderr
    words = ("work", "--units", "units.jsonl", "--out", "res", "--ledger", "ledger", "--executor", "threads",
             "--in-flight", "1", "-q")  # fmt: skip
    assert eechips(tmp_path, *words).returncode == -signal.SIGKILL
    assert list((tmp_path / "ledger").glob("*/.scratch-*"))
    service.forget()
    again = eechips(tmp_path, *words)
    assert again.returncode == 0, again.stderr
    assert 0 < service.count("compute") + service.count("pixels") <= 6
    assert [each["state"] for each in outcomes(again)] == ["done"] * 12
    assert not list((tmp_path / "ledger").glob("*/.scratch-*"))  # nor any of a worker that is killed each hour
    service.forget()
    third = eechips(tmp_path, *words)
    assert outcomes(third) == outcomes(again)
    assert not service.kinds
    (tmp_path / "o.jsonl").write_text(again.stdout)
    ended = eechips(tmp_path, "join", "--units", "units.jsonl", "--out", "res", "--outcomes", "o.jsonl", "-q")
    assert ended.returncode == 0, ended.stderr

    service.forget()
    other = eechips(tmp_path, *words, "--part", "1/2")  # other units, in the same folder
    assert other.returncode == 0, other.stderr
    kept = [[(each["id"], each["sha256"]) for each in outcomes(ended)] for ended in (other, again)]
    assert kept[0] == kept[1][::2]


@pytest.mark.exhaustive
def test_a_new_plan_in_the_folder_of_an_old_one_mixes_no_results(tmp_path: Path, service: Service) -> None:
    lines = plan(tmp_path, service)[:3]
    words = ("work", "--units", "-", "--ledger", "ledger", "--outcomes", "o.jsonl", "-q", "--out")
    assert eechips(tmp_path, *words, "old", given="\n".join(lines)).returncode == 0
    old = (tmp_path / "o.jsonl").read_text()
    (tmp_path / "squares.py").write_text(RECIPE.replace("24, 24)", "20, 20)"))
    plan_words = ("plan", "run", "squares.py", "-p", "count=3", "--endpoint", service.url, "--to", "units.jsonl")
    assert eechips(tmp_path, *plan_words).returncode == 0
    new = eechips(tmp_path, *words, "new", given=(tmp_path / "units.jsonl").read_text())
    assert new.returncode == 0, new.stderr
    found = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [each["width"] for each in found] == [20, 20, 20]
    assert not {each["id"] for each in found} & {json.loads(line)["id"] for line in old.splitlines()}
    with (tmp_path / "o.jsonl").open("a") as file:
        file.write(old)
    join = ("join", "--units", "units.jsonl", "--outcomes", "o.jsonl", "-q", "--out", "new")
    ended = eechips(tmp_path, *join)
    assert ended.returncode == 0, ended.stderr


def test_work_replaces_no_result_of_another_run(tmp_path: Path, service: Service) -> None:
    (tmp_path / "squares.py").write_text(RECIPE)
    words = ("run", "squares.py", "-p", "count=2", "--endpoint", service.url, "--out", "res", "-q")
    assert eechips(tmp_path, *words).returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "res").rglob("*.png")}
    (tmp_path / "squares.py").write_text(RECIPE.replace("24, 24)", "20, 20)"))
    planned = eechips(tmp_path, "plan", "run", "squares.py", "-p", "count=2", "--endpoint", service.url)
    (tmp_path / "o.jsonl").write_text("earlier\n")
    work = ("work", "--units", "-", "--out", "res", "--outcomes", "o.jsonl", "-q")
    ended = eechips(tmp_path, *work, given=planned.stdout)
    assert ended.returncode == 2
    assert "res holds another run" in ended.stderr
    assert (tmp_path / "o.jsonl").read_text() == "earlier\n"
    assert {path: path.read_bytes() for path in (tmp_path / "res").rglob("*.png")} == before
    assert len(before) == 2


def test_a_part_waits_until_the_worker_that_it_replaces_has_ended(tmp_path: Path, caplog: CapturedLog) -> None:
    now, holder = [0.0], ExitStack()

    def start() -> str:
        with lock_folder(tmp_path):
            return "started"

    def wait(seconds: float) -> None:
        now[0] += seconds
        if now[0] >= 30:
            holder.close()

    with holder:
        holder.enter_context(lock_folder(tmp_path))
        assert run_in_turn(start, lambda: now[0], wait) == "started"
    assert now[0] < 32
    assert caplog.text.count("Waiting for it, five minutes at most") == 1
    with lock_folder(tmp_path), pytest.raises(RunLockedError, match=f"process {os.getpid()} is running"):
        run_in_turn(start, lambda: now[0], wait)
    assert now[0] > 300


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_truncated_plan_is_refused(tmp_path: Path, service: Service) -> None:
    """Neither by a kill nor by an error of the recipe; a whole one takes the place of what was there."""
    (tmp_path / "slow.py").write_text(
        "import os, signal\n"
        "def get_requests(end=''):\n"
        "    yield from range(20_000)\n"
        "    if end == 'kill':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    if end == 'error':\n"
        "        raise ValueError('no more')\n"
        "def get_result(index, number):\n"
        "    return b'1'\n"
    )
    (tmp_path / "units.jsonl").write_text("an older one\n")
    (tmp_path / "link.jsonl").symlink_to("units.jsonl")
    words = ("plan", "run", "slow.py", "--endpoint", service.url, "--to", "link.jsonl")
    for end, status in (("kill", -signal.SIGKILL), ("error", 2)):
        assert eechips(tmp_path, *words, "-p", f"end={end}").returncode == status
        assert (tmp_path / "units.jsonl").read_text() == "an older one\n"
    ended = eechips(tmp_path, *words)
    assert ended.returncode == 0, ended.stderr
    assert len((tmp_path / "units.jsonl").read_text().splitlines()) == 20_000
    assert sorted(path.name for path in tmp_path.glob("*.jsonl*")) == ["link.jsonl", "units.jsonl"]
    assert not list(tmp_path.glob(".units*"))
    assert eechips(tmp_path, *words[:-1], "/dev/stdout").stdout.count("\n") == 20_000
    assert "could not write" in eechips(tmp_path, *words[:-1], "nowhere/units.jsonl").stderr


def test_units_that_a_stopped_worker_has_not_tried_are_not_reported(tmp_path: Path, service: Service) -> None:
    lines = plan(tmp_path, service)
    words = ("work", "--units", "-", "--out", "res", "-q", "--executor", "threads")
    ended = eechips(tmp_path, *words, "--budget", "requests=7", given="\n".join(lines))
    assert ended.returncode == 130, ended.stderr
    told = outcomes(ended)
    assert 0 < len(told) < 12
    assert {each["state"] for each in told} == {"done"}
    left = [line for line in lines if json.loads(line)["id"] not in {each["id"] for each in told}]
    rest = eechips(tmp_path, *words, given="\n".join(left))
    assert (rest.returncode, len(outcomes(rest))) == (0, 12 - len(told))
    joined = eechips(tmp_path, "join", "--units", "-", "--out", "res", "-q", given="\n".join(lines))
    assert joined.returncode == 0, joined.stderr


def stop_while_it_connects(tmp_path: Path, *words: str, given: str = "") -> str:
    """Return what a command says that is terminated when it connects to a service that does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        worker = subprocess.Popen(
            [*EECHIPS, *words, "--endpoint", endpoint], cwd=tmp_path, stdin=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert worker.stdin is not None
        worker.stdin.write(given)
        worker.stdin.close()
        worker.stdin = None
        silent.settimeout(60)
        with silent.accept()[0]:
            worker.terminate()
            said = worker.communicate(timeout=60)[1]
    assert worker.returncode == 130, said
    assert "Error" not in said
    return said


@pytest.mark.parametrize(
    ("ledger", "cure"),
    [(("--ledger", "ledger"), "the same command"), ((), "deliver the units without an outcome again")],
)
def test_a_worker_that_is_stopped_while_it_connects_reports_nothing(
    tmp_path: Path, service: Service, ledger: tuple[str, ...], cure: str
) -> None:
    words = ("work", "--units", "-", "--out", "res", "--executor", "threads", "--outcomes", "o.jsonl", *ledger)
    said = stop_while_it_connects(tmp_path, *words, given="\n".join(plan(tmp_path, service)))
    assert (tmp_path / "o.jsonl").read_text() == ""
    assert f"To resume: {cure}\n" in said


def test_a_plan_that_is_terminated_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "squares.py").write_text(RECIPE)
    stop_while_it_connects(tmp_path, "plan", "run", "squares.py", "--to", "units.jsonl")
    assert [path.name for path in tmp_path.iterdir() if "units" in path.name] == []


@pytest.mark.exhaustive
def test_failures_are_reported_and_other_units_are_fetched(tmp_path: Path, service: Service) -> None:
    lines = plan(tmp_path, service)
    service.plan(4, "400")
    ended = eechips(
        tmp_path, "work", "--units", "-", "--out", "res", "-q", "--outcomes", "o.jsonl", given="\n".join(lines)
    )
    assert ended.returncode == 1
    told = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [each["state"] for each in told].count("done") == 11
    (failed,) = [each for each in told if each["state"] == "failed_permanent"]
    assert failed["id"] == json.loads(lines[3])["id"]
    assert failed["error_class"] == "PermanentError"


@pytest.mark.exhaustive
def test_another_version_of_the_recipe_is_refused(tmp_path: Path, service: Service) -> None:
    lines = plan(tmp_path, service)
    (tmp_path / "squares.py").write_text(RECIPE + "\nCHANGED = True\n")
    words = ("work", "--units", "-", "--out", "res")
    for trust, reason in (
        ((), "squares.py is not the file with which"),
        (("--trust",), "planned by another version of"),
    ):
        ended = eechips(tmp_path, *words, *trust, given="\n".join(lines))
        assert ended.returncode == 2
        assert reason in ended.stderr
    assert not (tmp_path / "res").exists()


@pytest.mark.parametrize("line", ["no JSON", "{}", '{"id": 3}', "[]"])
def test_lines_that_are_not_work_items_are_refused(tmp_path: Path, service: Service, line: str) -> None:
    ended = eechips(tmp_path, "work", "--units", "-", "--out", "res", given=line)
    assert ended.returncode == 2
    assert "line 1: no unit as `eechips plan` writes it" in ended.stderr


def ticket(*job: str) -> str:
    return json.dumps({"job": job, "identity": "0", "position": 0, "id": "00", "unit": {"kind": "call"}, "name": "a"})


def test_verbs_that_fetch_nothing_have_no_plan(tmp_path: Path) -> None:
    ended = eechips(tmp_path, "plan", "datasets")
    assert ended.returncode == 2
    assert "fetches nothing" in ended.stderr


@pytest.mark.parametrize(
    "job",
    [
        ("init", "made.py"),
        ("assets", "ingest", "made.tif", "--into", "made", "--id", "a/b"),
        ("serve",),
        ("work", "--units", "made.jsonl", "--out", "made"),
        ("plan", "sample", "--to", "made.jsonl"),
        ("sample", "--help"),
        ("run", "made.py", "--check", "--out", "made", "--local"),
        ("no-such-verb",),
        (),
    ],
    ids=lambda job: " ".join(job[:1]) or "nothing",
)
def test_a_line_makes_a_worker_do_nothing_but_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: tuple[str, ...]
) -> None:
    """Lines come from where others may write: none of their words may start a server or write a file of its own."""
    monkeypatch.chdir(tmp_path)
    ended = run_command("work", "--units", "-", "--out", "res", given=ticket(*job), status=2)
    assert "please report it" not in ended.output
    assert not list(tmp_path.iterdir())


def test_verbs_that_fetch_are_those_that_end_with_a_run() -> None:
    context = click.Context(main)
    verbs = {name: main.get_command(context, name) for name in main.list_commands(context)}
    fetching = {name for name, verb in verbs.items() if isinstance(verb, FetchCommand)}
    sources = {name: inspect.getsource(verb.callback) for name, verb in verbs.items() if verb and verb.callback}
    others = {"plan", "join"}  # of units that are fetched elsewhere
    ending = {name for name, source in sources.items() if "finish(" in source} - others
    assert fetching == ending >= {"sample", "images", "composites", "mosaic", "timeseries", "points", "run"}


def test_a_plan_can_be_estimated(tmp_path: Path, service: Service) -> None:
    (tmp_path / "squares.py").write_text(RECIPE)
    ended = eechips(tmp_path, "plan", "run", "squares.py", "--endpoint", service.url, "--dry-run")
    assert ended.returncode == 0, ended.stderr
    assert "units     12" in ended.stdout


@pytest.mark.exhaustive
def test_the_documented_handler_requests_unrecorded_units_again(
    tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler of docs/how-to/queues.md, as it stands but for where results go."""
    blocks = read_blocks((ROOT / "docs" / "how-to" / "queues.md").read_text())
    (text,) = [block.text for block in blocks if block.title == "handler.py"]
    lines = plan(tmp_path, service)
    service.plan(4, "400")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    namespace: dict[str, Any] = {}
    exec(text.replace("s3://bucket/naip", "res"), namespace)
    records = [{"messageId": f"m{number}", "body": line} for number, line in enumerate(lines, start=1)]
    assert namespace["handler"]({"Records": records}, None) == {"batchItemFailures": []}  # one failed for good
    assert len(list((tmp_path / "res").rglob("*.png"))) == 11
    (tmp_path / "squares.py").write_text("broken")
    again = namespace["handler"]({"Records": records[:2]}, None)
    assert again == {"batchItemFailures": [{"itemIdentifier": "m1"}, {"itemIdentifier": "m2"}]}
