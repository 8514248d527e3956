"""Hosts that are left alone: by all processes, and one request at a time."""

from __future__ import annotations

import multiprocessing
import pickle
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from urllib3.exceptions import ConnectTimeoutError

from eechips_local.archives.archive_clock import CLOCK, Clock
from eechips_local.archives.archive_errors import ArchiveAwayError, ArchiveError, ArchiveUnreachedError
from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.archives.files.file_ranges import FileRanges
from eechips_local.archives.files.range_cache import RangeCache
from eechips_local.archives.hosts.allowed_hosts import AllowedHosts
from eechips_local.archives.hosts.checked_connections import HostTransport
from eechips_local.archives.hosts.first_responses import FirstResponses
from eechips_local.archives.hosts.host_pauses import HostPauses
from eechips_local.archives.hosts.host_permits import HostPermits
from eechips_local.archives.hosts.signing import Signer
from local_tests.archives.archive_host import ArchiveHost, listening_host
from local_tests.archives.stac_server import stac_server
from local_tests.support.stopped_clock import StoppedClock

HOST = "files.example:80"


def fail(pauses: HostPauses, times: int = 3) -> None:
    for _ in range(times):
        pauses.note_failure(HOST)


def test_a_host_is_away_after_three_failures_in_all_processes(tmp_path: Path) -> None:
    pauses = HostPauses(tmp_path, clock=StoppedClock())
    fail(pauses, 2)
    with pauses.wait(HOST, 0.0):
        pauses.note_response(HOST)
    fail(pauses, 2)
    with pauses.wait(HOST, 0.0):
        pass
    fail(pauses, 1)
    for each in (pauses, pickle.loads(pickle.dumps(pauses))):
        with pytest.raises(ArchiveAwayError, match="is there a network"), each.wait(HOST, 0.0):
            pass
        with each.wait("others.example", 0.0):
            pass
    pickle.loads(pickle.dumps(pauses)).note_response(HOST)
    with pauses.wait(HOST, 0.0):
        pass


def test_one_request_at_a_time_asks_a_host_that_is_away(tmp_path: Path) -> None:
    pauses = HostPauses(tmp_path, clock=StoppedClock())
    fail(pauses)
    other = pickle.loads(pickle.dumps(pauses))
    with pauses.wait(HOST, 5.0), pytest.raises(ArchiveAwayError), other.wait(HOST, 0.5):
        pass
    with other.wait(HOST, 5.0):
        other.note_response(HOST)
    with pauses.wait(HOST, 0.0), other.wait(HOST, 0.0):
        pass


def test_pauses_become_longer(tmp_path: Path) -> None:
    clock = StoppedClock()
    pauses = HostPauses(tmp_path, clock=clock)
    fail(pauses, 2)
    for longest in (0.5, 1.0, 2.0, 4.0, 8.0, 8.0):
        fail(pauses, 1)
        kept = RangeCache(tmp_path, 1 << 20).get(HOST)
        assert kept is not None
        until = float(kept.split()[0])
        assert clock.time() + 0.75 * longest <= until <= clock.time() + longest


@pytest.mark.parametrize("is_away", [True, False])
def test_a_pause_ends_when_the_clock_is_set_back(tmp_path: Path, is_away: bool) -> None:
    """It was as long as the step: a host that had been away for a moment was not asked for hours."""
    clock = StoppedClock()
    pauses = HostPauses(tmp_path, clock=clock)
    clock.start += 5 * 3600.0
    if is_away:
        fail(pauses)
    else:
        pauses.demand(HOST, 5.0)
    clock.start -= 5 * 3600.0
    with pauses.wait(HOST, 0.0):
        pauses.note_response(HOST)
    assert not pauses.is_away(HOST)
    with pauses.wait(HOST, 0.0):
        pass


def test_an_answer_counts_when_the_clock_was_set_back(tmp_path: Path) -> None:
    responses = FirstResponses(tmp_path / "answered", time.time() + 3600.0)
    other = pickle.loads(pickle.dumps(responses))
    assert not other
    responses.note()
    assert other


def test_a_host_that_demands_a_pause_gets_it_from_all_processes(tmp_path: Path) -> None:
    pauses = HostPauses(tmp_path, clock=StoppedClock())
    pauses.demand(HOST, 600.0)
    pauses.note_response(HOST)  # of a request that was in work
    other = pickle.loads(pickle.dumps(pauses))
    with pytest.raises(ArchiveError, match=r"wants no requests for \d+ s"), other.wait(HOST, 0.5):
        pass
    began = other.clock.monotonic()
    pauses.demand(HOST, 1.0)
    with other.wait(HOST, 5.0):
        assert other.clock.monotonic() - began >= 1.0
    other.note_response(HOST)
    with pauses.wait(HOST, 0.0), other.wait(HOST, 0.0):
        pass


def test_each_process_has_its_own_pauses_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    pauses = HostPauses(tmp_path / "file", clock=StoppedClock())
    fail(pauses)
    with pytest.raises(ArchiveAwayError), pauses.wait(HOST, 0.0):
        pass
    with pauses.wait(HOST, 5.0):
        pauses.note_response(HOST)
    with pauses.wait(HOST, 0.0):
        pass


def open_ranges(host: ArchiveHost, folder: Path, clock: Clock = CLOCK) -> FileRanges:
    description = ArchiveDescription("test", "A test", hosts=(host.url.removeprefix("http://"),))
    transport = HostTransport(AllowedHosts.of_files(description), clock=clock)
    pauses = HostPauses(folder / "pauses", clock=clock)
    return FileRanges(transport, Signer(description), HostPermits(folder / "permits", 64), pauses)


def test_files_of_which_none_was_reached_since_the_start_say_so(tmp_path: Path) -> None:
    """As to the processes of a server that answers others, or did so before."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # no other server gets the port, and this one does not listen
        host = ArchiveHost(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}")
        ranges = open_ranges(host, tmp_path, StoppedClock())
        other = pickle.loads(pickle.dumps(ranges))
        for _ in range(3):
            ranges._pauses.note_failure(host.url.removeprefix("http://"))
        with pytest.raises(
            ArchiveUnreachedError, match=r"since this server was started: 127\.0\.0\.1:\d+ is not reached"
        ):
            other.read(f"{host.url}/files/a.txt", "c", 0, 1, patience=0.0)
        ranges._pauses.note_response(HOST)
        with pytest.raises(ArchiveAwayError) as away:
            other.read(f"{host.url}/files/a.txt", "c", 0, 1, patience=0.0)
        assert not isinstance(away.value, ArchiveUnreachedError)
        assert not FirstResponses(tmp_path / "pauses" / "answered", time.time() + 9.0)  # a later server


def test_reads_wait_together_for_the_first_answer_of_a_host(tmp_path: Path) -> None:
    """Each waited for 20 s: a run whose archive was away took minutes until it stopped."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host, clock = ArchiveHost(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}"), StoppedClock()
        ranges = open_ranges(host, tmp_path, clock)
        for _ in range(4):
            with pytest.raises(ArchiveUnreachedError):
                ranges.read(f"{host.url}/files/a.txt", "c", 0, 1)
        assert 4.0 <= clock.monotonic() <= 10.0
        ranges._pauses.responses.note()  # a short absence afterwards is waited for
        began = clock.monotonic()
        with pytest.raises(ArchiveAwayError):
            ranges.read(f"{host.url}/files/a.txt", "c", 0, 1)
        assert clock.monotonic() - began >= 18.0


def test_a_host_that_never_answers_is_asked_once_before_a_run_stops(tmp_path: Path) -> None:
    """As behind a firewall that drops packets: three attempts of 10 s each were made."""
    clock = StoppedClock()

    class Silent:
        def open(self, url: str, headers: Mapping[str, str], connect: float, silence: float) -> Any:
            clock.advance(connect)
            raise ConnectTimeoutError

    pauses = HostPauses(tmp_path / "pauses", clock=clock)
    ranges = FileRanges(
        Silent(),
        Signer(ArchiveDescription("test", "A test", hosts=("files.example",))),
        HostPermits(tmp_path, 4),
        pauses,
    )
    for patience in (20.0, 20.0):
        with pytest.raises(ArchiveUnreachedError, match=r"files\.example is not reached"):
            ranges.read("https://files.example/a.tif", "c", 0, 1, patience=patience)
    assert clock.monotonic() == 20.0


def test_a_host_without_an_address_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a network comes up."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_bytes(b"0123456789")
    resolve, calls = AllowedHosts.resolve, iter(range(9))

    def find(*arguments: str) -> tuple[str, ...]:
        if next(calls) < 2:
            raise ArchiveAwayError("The name files.example has no address: is there a network?")
        return resolve(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(AllowedHosts, "resolve", find)
    with listening_host(tmp_path / "files") as (host, _):
        clock = StoppedClock()
        assert open_ranges(host, tmp_path, clock).read(f"{host.url}/files/a.txt", "c", 2, 3).data == b"234"
        for pause, longest in zip(clock.pauses, (0.25, 0.5), strict=True):
            assert 0.5 * longest <= pause <= longest


def read_all(ranges: FileRanges, href: str, threads: int) -> list[str]:
    """Read in threads until it works; return what does not."""
    problems: list[str] = []

    def read() -> None:
        for _ in range(5):
            try:
                assert ranges.read(href, "c", 2, 3).data == b"234"
                return
            except ArchiveAwayError:
                continue
        problems.append("away")

    started = [threading.Thread(target=read) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return problems


def _read_in_process(host: ArchiveHost, folder: Path) -> None:
    ranges = open_ranges(host, folder)
    ranges._pauses.responses.note()  # it has answered before
    assert not read_all(ranges, f"{host.url}/files/a.txt", 8)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_processes_do_not_hammer_a_host_that_is_away_and_go_on_when_it_is_back(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_bytes(b"0123456789")
    context = multiprocessing.get_context("fork")
    with listening_host(tmp_path / "files") as (host, _):
        host.is_away = True
        bare = ArchiveHost(host.folder, host.url)
        processes = [context.Process(target=_read_in_process, args=(bare, tmp_path)) for _ in range(4)]
        for process in processes:
            process.start()
        time.sleep(12.0)
        away = host.requests["away"]
        host.is_away = False
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0] * 4
        assert away <= 4 * 8 + 4 * 8 + 12  # without pauses, about 200
        assert host.requests["file"] == 4 * 8
        late = [at for at, kind in host.times if kind == "away" and at > host.times[0][0] + 6]
        assert len(late) <= 4


def test_a_host_that_refuses_connections_is_away(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = ArchiveHost(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}")
        ranges = open_ranges(host, tmp_path, StoppedClock())
        with pytest.raises(ArchiveAwayError, match="is there a network"):
            ranges.read(f"{host.url}/files/a.txt", "c", 0, 1, patience=0.0)


def test_a_host_that_demands_a_longer_pause_than_a_read_may_wait_is_not_waited_for(tmp_path: Path) -> None:
    with stac_server() as server:
        server.always, server.headers = 503, {"Retry-After": "60"}
        host = ArchiveHost(tmp_path, server.url)
        with pytest.raises(ArchiveError, match=r"wants no requests for \d+ s"):
            open_ranges(host, tmp_path, StoppedClock()).read(f"{host.url}/files/a.txt", "c", 0, 1, patience=1.0)
        assert len(server.paths) == 1
