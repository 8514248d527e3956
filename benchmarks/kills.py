"""Kills of every process of a run and every failure of authentication, composed at random; and nothing is lost.

    python benchmarks/kills.py --seeds 10
    python benchmarks/kills.py --seed 3 --keep /tmp/kills

Seeds take turns with four kinds of run: processes of this machine, a local Earth Engine (``--local``), a Dask cluster,
Beam with worker processes. While a command runs, some of these happen at random moments:

- SIGKILL for the parent, its fork server, resource tracker or workers; for the local Earth Engine, its fork server,
  resource tracker or workers; for Dask's scheduler, a nanny or workers; for Beam's workers. SIGINT for the parent.
- The token endpoint (of a service account's key, an external account or a metadata server) is away for some seconds in
  one of seven ways, or refuses the account for good. Tokens are revoked. The service's clock goes ahead, so that it
  refuses tokens before their time. The file of the key, or of the external account's subject, vanishes for a while.
- The service answers one of the documented errors that concern no single unit, with 401, 403, 429 or 503: for some
  requests if it may pass, and else for all until the command has ended.

Tokens last six seconds. The same command is given again until it ends with status 0; the last ones are left alone. What
does not hold is told, and the exit status is 1:

- a command ends with a status that something which has happened to it explains (0, 2, 130, or killed), within minutes;
- no output has a traceback, a warning, or a bug in eechips, and no process outlives its command;
- in the end every unit is done once, each file has the sha256 of an undisturbed run, and there is nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from processes import command_line, descendants, fields

import eechips
from eechips.client.service_errors import SERVICE_ERRORS
from eechips.client.service_errors.error_row import ErrorAction, ServiceError
from eechips.manifest.reserved_names import RESERVED
from local_tests.support.process_tree import kinds
from local_tests.support.token_server import TokenServer, token_server
from tests.support.dask_cluster import DaskCluster, dask_cluster
from tests.support.engine_recipes import CHIPS
from tests.support.engine_service import Service, serving
from tests.support.proxy import tcp_proxy
from tests.support.service_examples import EXAMPLES

KINDS = ("processes", "local", "dask", "beam")
WAYS = ("key", "environment", "external", "metadata")
_COUNT = {"processes": 240, "local": 400, "dask": 200, "beam": 240}
_LATENCY, _LIFETIME = 0.2, 6.0
_TROUBLED = 5  # commands that something may happen to
_MOST = 9  # commands at most
_PATIENCE = 150.0  # seconds that a command may take
_GRACE = 15.0  # seconds in which all processes of a command that has ended must end
_FORBIDDEN = re.compile(r"Traceback|Warning|bug in eechips|EOFError|Exception ignored|distributed\.|INTERNAL")
_LEAKED = re.compile(r".*UserWarning: resource_tracker: There appear to be .*\n.*warnings\.warn\(.*\n?")
_PASSING = ("503", "reset", "html", "truncated", "empty", "429", "400 temporarily_unavailable")
_FINAL = ("400 invalid_grant", "401 invalid_client", "403 access_denied")


@dataclass(frozen=True)
class Event:
    """What happens to a command.

    Attributes:
        name: name of it.
        at: share of all results at which it happens.
        act: does it; returns what undoes it.
        statuses: with which the command may end because of it, besides 0.
        seconds: after which it is undone; None for the end of the command.
    """

    name: str
    at: float
    act: Callable[[], Callable[[], object] | None]
    statuses: tuple[int, ...] = ()
    seconds: float | None = None


@dataclass
class Story:
    """What happened with a seed."""

    seed: int
    kind: str
    commands: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Site:
    """Where a seed's run happens.

    Attributes:
        kind: kind of run.
        folder: folder of everything.
        words: words of the command.
        environment: environment of the command.
        service: service that is asked; None with a local Earth Engine.
        tokens: its authentication, if it has any.
        party: party that gives the tokens.
        secret: file that the credentials are read from, if any.
        cluster: cluster of Dask.
    """

    kind: str
    folder: Path
    words: list[str]
    environment: dict[str, str]
    service: Service | None = None
    tokens: TokenServer | None = None
    party: str = "token"
    secret: Path | None = None
    cluster: DaskCluster | None = None

    @property
    def count(self) -> int:
        return _COUNT[self.kind]

    def results(self) -> int:
        # Unlike Path.rglob, os.walk passes over folders that vanish meanwhile.
        return sum(name.endswith(".png") for _, _, names in os.walk(self.folder / "out") for name in names)


def bare(folder: Path) -> dict[str, str]:
    """The environment of a machine without any credentials."""
    found = {name: value for name, value in os.environ.items() if not name.startswith(("GOOGLE_", "EECHIPS_", "GCE_"))}
    return {
        **found, "HOME": str(folder), "CLOUDSDK_CONFIG": str(folder), "EECHIPS_CACHE": str(folder / "cache"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]), "NO_PROXY": "127.0.0.2",
    }  # fmt: skip


def set_up(kind: str, way: str, folder: Path, stack: ExitStack) -> Site:
    """A site of a kind, with credentials of a way."""
    (folder / "recipe.py").write_text(CHIPS)
    words = ["run", "recipe.py", "--out", "out", "-p", f"count={_COUNT[kind]}", "--rate", "none"]
    environment = bare(folder)
    if kind == "local":
        return Site(kind, folder, [*words, "--local"], {**environment, "NO_GCE_CHECK": "true"})
    service = stack.enter_context(serving())
    service.latency = _LATENCY
    tokens = stack.enter_context(token_server(lifetime=_LIFETIME, upstream=service.url))
    tokens.clock = time.monotonic
    wire = stack.enter_context(tcp_proxy(tokens.url, "127.0.0.2"))
    words += ["--endpoint", wire.url, "--send-credentials", "--project", "my-project", "--in-flight", "8"]
    site = Site(kind, folder, words, environment, service, tokens)
    if way == "metadata":
        site.party = "metadata"
        environment |= {"GCE_METADATA_HOST": tokens.host, "GCE_METADATA_IP": tokens.host}
    else:
        environment["NO_GCE_CHECK"] = "true"
        site.secret = tokens.key(folder / "key.json")
    if way == "key":
        words += ["--credentials", str(site.secret)]
    elif way == "environment":
        environment["GOOGLE_APPLICATION_CREDENTIALS"] = str(site.secret)
    elif way == "external":
        site.party, site.secret = "sts", folder / "subject"
        site.secret.write_text("jwt")
        (folder / "account.json").write_text(json.dumps(tokens.external_account(site.secret)))
        environment["GOOGLE_APPLICATION_CREDENTIALS"] = str(folder / "account.json")
    if kind == "processes":
        words += ["--executor", "processes:3"]
    elif kind == "dask":
        (folder / "cluster").mkdir()
        site.cluster = stack.enter_context(dask_cluster(folder / "cluster", 0, environment=environment))
        site.words += ["--executor", "dask:2", "--unit-timeout", "15"]
    else:
        runner = ["--runner=DirectRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2"]
        site.words += ["--executor", "beam", "--", *runner]
    return site


# What can happen


def events(site: Site, draws: random.Random, pid: Callable[[], int]) -> list[Event]:
    """Two to five events for a command, in the order of their moments."""
    made = [*kills(site, draws, pid), *(refusals(site, draws) if site.tokens is not None else ())]
    chosen = draws.sample(made, min(len(made), draws.randint(2, 5)))
    return sorted(chosen, key=lambda event: event.at)


def kills(site: Site, draws: random.Random, pid: Callable[[], int]) -> Iterator[Event]:
    """Kills of the processes that a site has."""

    def kill(find: Callable[[], Sequence[int]], most: int | None = None) -> Callable[[], None]:
        chance = random.Random(draws.random())

        def act() -> None:
            there = list(find())
            for victim in chance.sample(there, min(most or len(there), len(there))):
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)

        return act

    def of(name: str) -> Callable[[], Sequence[int]]:
        return lambda: kinds(pid()).get(name, [])

    yield Event("parent killed", draws.random(), kill(lambda: [pid()]), (-signal.SIGKILL,))
    yield Event("parent interrupted", draws.random(), lambda: os.kill(pid(), signal.SIGINT), (130, -signal.SIGINT))
    if site.kind == "dask":
        assert site.cluster is not None
        cluster = site.cluster
        yield Event("worker killed", draws.random(), kill(lambda: cluster.worker_pids, 1))
        yield Event("all workers killed", draws.random(), kill(lambda: cluster.worker_pids))
        yield Event("nanny killed", draws.random(), kill(lambda: cluster.nanny_pids, 1), (2,))
        yield Event("scheduler killed", draws.random(), lambda: cluster.kill(cluster.scheduler_pid), (2,))
        return
    if site.kind == "beam":
        yield Event("Beam worker killed", draws.random(), kill(lambda: _beam_workers(pid()), 1))
        return
    for name in ("workers", "fork server", "resource tracker"):
        yield Event(f"{name} killed", draws.random(), kill(of(name), 2))
    if site.kind == "local":
        yield Event("server killed", draws.random(), kill(of("server")), (2,))
        for name in ("workers", "fork server", "resource tracker"):
            yield Event(f"server's {name} killed", draws.random(), kill(of(f"server's {name}"), 2))


def _beam_workers(pid: int) -> list[int]:
    return [each for each in descendants(pid) if "sdk_worker_main" in command_line(each)]


def refusals(site: Site, draws: random.Random) -> Iterator[Event]:
    """What may go wrong with the authentication, and what the service may refuse."""
    assert site.tokens is not None
    assert site.service is not None
    tokens, service, party = site.tokens, site.service, site.party

    def outage(fault: str) -> Callable[[], Callable[[], object]]:
        def act() -> Callable[[], object]:
            tokens.outages[party] = fault
            return lambda: tokens.outages.pop(party, None)

        return act

    def skewed(seconds: float) -> Callable[[], Callable[[], object]]:
        def act() -> Callable[[], object]:
            tokens.skew = seconds
            return lambda: setattr(tokens, "skew", 0.0)

        return act

    def revoke_often() -> None:
        for _ in range(3):
            tokens.revoke()
            time.sleep(0.7)

    for fault in draws.sample(_PASSING, 2):
        seconds = draws.uniform(1.0, 8.0)
        yield Event(f"{party} endpoint: {fault}, {seconds:.0f} s", draws.random(), outage(fault), (), seconds)
    final = draws.choice(_FINAL if party != "metadata" else ("404", "403"))
    yield Event(f"{party} endpoint: {final}", draws.random(), outage(final), (2,))
    yield Event("tokens revoked", draws.random(), tokens.revoke)
    yield Event("tokens revoked three times", draws.random(), revoke_often, (2,))  # even a fresh one, perhaps
    yield Event("clock 4 s ahead", draws.random(), skewed(4.0), (), draws.uniform(2.0, 8.0))
    yield Event("clock an hour ahead", draws.random(), skewed(3600.0), (2,))
    if site.secret is not None:
        secret = site.secret
        # Workers of Dask and Beam that start in the meantime find nothing.
        yield Event("file of the credentials away", draws.random(), lambda: _hide(secret), (2,), 3.0)
    rows = [
        row
        for row in SERVICE_ERRORS
        if row.kind in (ErrorAction.TRANSIENT, ErrorAction.CREDENTIALS) and EXAMPLES[row.name].code in _CODES
    ]
    for row in draws.sample(rows, 2):
        content = _body(row)
        times = 1 if row.kind is ErrorAction.CREDENTIALS else 6
        yield Event(
            f"{times} times {row.name}", draws.random(), lambda c=content, n=times: service.refusals.extend([c] * n)
        )
    rows = [row for row in SERVICE_ERRORS if row.kind in (ErrorAction.UNAVAILABLE, ErrorAction.CONFIGURATION)]
    for row in draws.sample(rows, 2):

        def refuse(content: tuple[int, bytes] = _body(row)) -> Callable[[], object]:
            service.outage = content
            return lambda: setattr(service, "outage", None)

        yield Event(f"{row.name} ({EXAMPLES[row.name].code})", draws.random(), refuse, (2,))


_CODES = (401, 403, 429, 503)


def _body(row: ServiceError) -> tuple[int, bytes]:
    example = EXAMPLES[row.name]
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": example.reason, "domain": "googleapis.com"}
    info |= {"metadata": {"quota_limit": example.quota_limit}} if example.quota_limit else {}
    error: dict[str, Any] = {"code": example.code, "message": example.message, "status": example.status}
    if example.reason:
        error["details"] = [info]
    return example.code, json.dumps({"error": error}).encode()


def _hide(path: Path) -> Callable[[], object]:
    away = path.with_suffix(".away")
    path.rename(away)
    return lambda: away.rename(path)


# Commands


def command(site: Site, chosen: Sequence[Event], started: list[int], story: Story) -> int | None:
    """One command, and what happens to it. Returns its status; None if it had to be ended."""
    if site.cluster is not None:
        site.cluster.stop()
        site.cluster.nannies.clear()
        site.cluster.start_scheduler()
        for _ in range(2):
            site.cluster.add_worker()
    undo: list[tuple[float, Callable[[], object]]] = []
    happened: list[Event] = []
    log = site.folder / f"command-{len(story.commands)}.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "eechips", *site.words],
            cwd=site.folder, env=site.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    started.append(process.pid)
    family: dict[int, str] = {}
    waiting, began, before = list(chosen), time.monotonic(), site.results()
    while process.poll() is None and time.monotonic() - began < _PATIENCE:
        family |= {pid: fields(pid)[19] for pid in descendants(process.pid) if fields(pid)}
        now, there = time.monotonic(), site.results()
        for moment, act in [each for each in undo if each[0] <= now]:
            act()
            undo.remove((moment, act))
        # Of what is still to be done when the command begins: the last commands have little left.
        while waiting and there > before and there - before >= waiting[0].at * 0.6 * (site.count - before):
            event = waiting.pop(0)
            happened.append(event)
            act = event.act()
            if act is not None:
                undo.append((now + event.seconds if event.seconds is not None else float("inf"), act))
        time.sleep(0.05)
    if process.poll() is None:
        story.problems.append(f"command {len(story.commands)} did not end within {_PATIENCE:g} s")
        process.kill()
    status = process.wait()
    for _, act in undo:
        act()
    if site.service is not None:
        site.service.refusals.clear()
    left = _outliving(family)
    story.problems += [f"a process outlived command {len(story.commands)}: {line[:120]}" for line in left]
    names = ", ".join(event.name for event in happened) or "nothing"
    story.commands.append(f"{names}: status {status}, {site.results()} of {site.count} results")
    allowed = {0, *(number for event in happened for number in event.statuses)}
    text = log.read_text()
    if status == -signal.SIGKILL:  # Python's own word when a process that has semaphores is killed
        text = _LEAKED.sub("", text)
    if status not in allowed:
        story.problems.append(f"status {status} after {names}: {text[-400:]}")
    if found := _FORBIDDEN.search(text):
        story.problems.append(f"{found[0]} after {names}: {text[max(0, found.start() - 300) : found.end() + 500]}")
    return status


def _outliving(family: dict[int, str]) -> list[str]:
    """Processes of a command that has ended that stay; they are killed."""

    def left() -> list[int]:
        return [
            pid for pid, start in family.items() if (about := fields(pid)) and about[0] != "Z" and about[19] == start
        ]

    deadline = time.monotonic() + _GRACE
    while left() and time.monotonic() < deadline:
        time.sleep(0.05)
    stayed = left()
    lines = [command_line(pid) for pid in stayed]
    for pid in stayed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return lines


def chaos(seed: int, folder: Path, calm: dict[str, dict[str, str]]) -> Story:
    """A run of a seed, and all that happens to it."""
    draws = random.Random(seed)
    kind, way = KINDS[seed % len(KINDS)], WAYS[(seed + seed // len(KINDS)) % len(WAYS)]
    story, began = Story(seed, kind if kind == "local" else f"{kind}, {way}"), time.monotonic()
    with ExitStack() as stack:
        site = set_up(kind, way, folder, stack)
        for number in range(_MOST):
            started: list[int] = []
            chosen = events(site, draws, lambda found=started: found[0]) if number < _TROUBLED else []
            status = command(site, chosen, started, story)
            if status == 0 or status is None:
                break
        else:
            story.problems.append(f"{_MOST} commands were not enough")
        story.problems += wholeness(site, calm)
    story.seconds = time.monotonic() - began
    return story


def wholeness(site: Site, calm: dict[str, dict[str, str]]) -> Iterator[str]:
    """What is wrong with the results in the end."""
    try:
        run = eechips.open_run(site.folder / "out")
        counts, damaged, units = run.counts, run.verify(), run.units
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a violation
        yield f"the run cannot be opened: {error!r}"
        return
    if counts != {"done": site.count}:
        yield f"{counts} instead of {site.count} units done"
    if damaged:
        yield f"{len(damaged)} files are damaged, such as {damaged[0]}"
    expected = calm[site.kind]
    wrong = [row.file for row in units.itertuples() if expected.get(row.file) != row.sha256]
    if wrong:
        yield f"{len(wrong)} files differ from those of an undisturbed run, such as {wrong[0]}"
    out = site.folder / "out"
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    if extra := there - set(expected) - RESERVED:
        yield f"files that should not be: {', '.join(sorted(extra)[:5])}"


def undisturbed(folder: Path, kind: str) -> dict[str, str]:
    """Sha256 of every file of a run to which nothing happens, by name."""
    folder.mkdir(parents=True)
    (folder / "recipe.py").write_text(CHIPS)
    words = [
        "run",
        "recipe.py",
        "--out",
        "out",
        "-p",
        f"count={_COUNT[kind]}",
        "--rate",
        "none",
        "--executor",
        "threads",
    ]
    with ExitStack() as stack:
        words += ["--local"] if kind == "local" else ["--endpoint", stack.enter_context(serving()).url]
        done = subprocess.run(
            [sys.executable, "-m", "eechips", *words], cwd=folder, env=bare(folder), capture_output=True, text=True
        )
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    units = eechips.open_run(folder / "out").units
    return dict(zip(units["file"], units["sha256"], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="the first [0]")
    parser.add_argument("--seeds", type=int, default=1, help="how many [1]")
    parser.add_argument("--keep", type=Path, help="empty folder for everything, which is kept")
    options = parser.parse_args()
    problems = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as temporary:
        root = options.keep or Path(temporary)
        seeds = range(options.seed, options.seed + options.seeds)
        wanted = {KINDS[seed % len(KINDS)] for seed in seeds}
        calm = {kind: undisturbed(root / "calm" / kind, kind) for kind in KINDS if kind in wanted}
        for seed in seeds:
            folder = root / str(seed)
            folder.mkdir()
            story = chaos(seed, folder, calm)
            print(f"seed {seed} ({story.kind}): {len(story.commands)} commands in {story.seconds:.0f} s")
            for line in story.commands:
                print(f"  {line}")
            for problem in story.problems:
                print(f"  WRONG: {problem}")
            print(f"  {len(story.problems) or 'no'} problems", flush=True)
            problems += len(story.problems)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
