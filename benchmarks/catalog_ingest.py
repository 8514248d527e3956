"""Lists of a million items into a catalogue: beside a plain write of the same items, killed in each phase, and asked.

    python benchmarks/catalog_ingest.py --items 1000000

Lists of scenes over North America and a year are written, as NDJSON: 1.8 kB each, of 110 km, with six assets. Then

1. `eechips catalog ingest` makes a catalogue of the first: parsed, checked, partitioned, merged;
2. a second list, half as long, which overlaps it (half of its items again, updated later), is merged;
3. a third, a fifth as long, half of it known likewise, with addresses of further items, which a server on loopback
   has: the command is killed (SIGKILL) as it sorts, as it fetches, as it merges and as it puts files in place, and
   given again until it is through;
4. DuckDB compares the catalogue with the lists: no item is missing, none is there twice, all are the newest versions;
5. stac-geoparquet writes the first list into one file, in batches of 20,000; with `--rustac N`, so does rustac, of the
   first N items only, since it needs all of them in memory, 36 kB each;
6. DuckDB looks for a place and a month: files and rows scanned are of EXPLAIN ANALYZE.

Items per second are of processor time of all processes of a step, memory is the greatest sum of their proportional set
sizes. The exit status is 1 if a command has less than half the speed of the plain write, or takes 2 GB, or an item is
lost.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import http.server
import itertools
import json
import multiprocessing
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog_queries import scans
from harness import Command, Ended, Memory
from processes import adopt_orphans

from eechips.archive.catalogs.catalog import open_catalog

BANDS = ("B02", "B03", "B04", "B08", "SCL", "visual")
EARLIER, LATER, LATEST = "2021-01-01T00:00:00Z", "2021-02-01T00:00:00Z", "2021-03-01T00:00:00Z"
LEAST, MOST = 0.5, 2000.0  # of the rival's items per second; MB
_ADDRESSES = 20_000  # at most
_NUMBER = re.compile(r"/(\d+)\.json")


def scene(number: int, updated: str) -> dict[str, Any]:
    """A scene; the same number has the same place and date."""
    chance = random.Random(number)
    x, y = chance.uniform(-125, -70), chance.uniform(25, 50)
    moment = dt.datetime(2020, 1, 1) + dt.timedelta(seconds=chance.randrange(366 * 86400))
    ring = [[x, y], [x + 1.2, y + 0.1], [x + 1.1, y + 1], [x - 0.1, y + 0.9], [x, y]]
    address = f"https://example.org/scenes/{number}"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/eo/v1.1.0/schema.json"],
        "id": f"S2A_{number:08d}_L2A",
        "collection": "sentinel-2-l2a",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [x - 0.1, y, x + 1.2, y + 1],
        "properties": {
            "datetime": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "updated": updated,
            "platform": "sentinel-2a",
            "instruments": ["msi"],
            "eo:cloud_cover": chance.uniform(0, 100),
            "proj:epsg": 32600 + chance.randrange(10, 20),
        },
        "links": [{"rel": "collection", "href": "https://example.org/c"}, {"rel": "self", "href": address}],
        "assets": {
            band: {
                "href": f"{address}/{band}.tif",
                "type": "image/tiff; application=geotiff",
                "roles": ["data"],
                "proj:shape": [10980, 10980],
            }
            for band in BANDS
        },
    }


# Lists


@dataclass(frozen=True)
class Lists:
    """What is brought in.

    Attributes:
        first: a list of items.
        second: one that overlaps it, of later versions.
        third: another, of still later ones.
        addresses: a list of addresses of further items.
        served: those items.
        count: items of the first list.
    """

    first: Path
    second: Path
    third: Path
    addresses: Path
    served: Path
    count: int

    @property
    def known(self) -> int:
        """Items of the second list that the first has; as many are new."""
        return self.count // 4

    @property
    def few(self) -> int:
        """The same of the third list."""
        return self.count // 10

    @property
    def fetched(self) -> int:
        """Addresses."""
        return min(_ADDRESSES, self.count // 10)

    @property
    def all(self) -> int:
        """Items that there are."""
        return self.count + self.known + self.few + self.fetched

    @classmethod
    def write(cls, folder: Path, count: int) -> Lists:
        """Lists of which the first has so many items; two processes write them."""
        names = ("first.ndjson", "second.ndjson", "third.ndjson", "addresses.txt", "served.ndjson")
        found = cls(*(folder / name for name in names), count=count)
        half, second, third = count // 2, count + found.known, count + found.known + found.few
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            jobs = [
                (folder / "0.part", range(half), EARLIER),
                (folder / "1.part", range(half, count), EARLIER),
                (found.second, range(count - found.known, second), LATER),
                (found.third, range(second - found.few, third), LATEST),
                (found.served, range(third, third + found.fetched), EARLIER),
            ]
            pool.starmap(_write, jobs, chunksize=1)
        with found.first.open("wb") as file:
            for part in (folder / "0.part", folder / "1.part"):
                with part.open("rb") as source:
                    while block := source.read(1 << 24):
                        file.write(block)
                part.unlink()
        return found


def _write(path: Path, numbers: range, updated: str) -> None:
    with path.open("w") as file:
        file.writelines(f"{json.dumps(scene(number, updated))}\n" for number in numbers)


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The items of a list."""
    with path.open() as file:
        yield from map(json.loads, file)


@contextlib.contextmanager
def host(asked: Any) -> Iterator[str]:
    """A server of scenes, ``/7.json``, in a process of its own; counts what it is asked for."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, asked), daemon=True)
    process.start()
    yield f"http://127.0.0.1:{here.recv()}"
    process.terminate()
    process.join()


def _serve(pipe: Any, asked: Any) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found = _NUMBER.fullmatch(self.path)
            assert found is not None
            with asked.get_lock():
                asked.value += 1
            body = json.dumps(scene(int(found[1]), EARLIER)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # who asks is killed
                super().handle()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        pipe.send(server.server_address[1])
        server.serve_forever()


# Steps


@dataclass(frozen=True)
class Step:
    """What was done, and what it cost.

    Attributes:
        name: name of it.
        items: items that it dealt with.
        cpu: seconds of processor of all its processes.
        seconds: by the clock.
        memory: MB of all its processes, at most.
    """

    name: str
    items: int
    cpu: float
    seconds: float
    memory: float

    @property
    def rate(self) -> float:
        """Items per second of processor."""
        return self.items / self.cpu

    def __str__(self) -> str:
        cost = f"{self.cpu:>8.1f} {self.seconds:>8.1f} {self.memory:>7,.0f}"
        return f"{self.name:<48} {self.items:>9,} {self.rate:>8,.0f} {cost}"


HEADER = f"{'':<48} {'items':>9} {'items/s':>8} {'cpu s':>8} {'clock s':>8} {'MB':>7}"


def ingest(
    lists: Sequence[Path], out: Path, log: Path, *, kill: Callable[[], bool] | None = None
) -> tuple[Ended, float]:
    """Gives the command; with ``kill``, until that says so, which it must. How it ended, and its memory in MB."""
    arguments = [sys.executable, "-m", "eechips", "catalog", "ingest", *lists, "--out", out]
    command = Command(arguments, log)
    with Memory(command.pid, 0.5) as memory:
        while kill is not None and not kill():
            if not command.is_running:
                raise RuntimeError(f"the command has ended before it could be killed: see {log}")
            time.sleep(0.005)
        if kill is not None:
            os.kill(command.pid, signal.SIGKILL)
        ended = command.wait()
    if ended.status != (0 if kill is None else -signal.SIGKILL) or ended.orphans:
        raise RuntimeError(
            f"the command has ended with status {ended.status}, and left {ended.orphans}:\n{log.read_text()}"
        )
    return ended, memory.peak


def phases(lists: Lists, out: Path, asked: Any) -> Iterator[tuple[str, Callable[[], bool]]]:
    """When a command is killed: names of the phases, and what tells that it is in their midst."""
    job, merging = out / ".scratch-ingest", out / ".scratch-merge"
    sharded = lists.few // 40_000
    written = len(list(out.rglob("*.parquet"))) // 4
    yield "shard", lambda: len(list(job.glob("*.sharded"))) >= max(1, sharded)
    yield "fetch", lambda: asked.value >= lists.fetched // 2
    yield "merge", lambda: len(list(merging.glob("*.staged"))) >= max(1, written)
    yield "schema", lambda: (merging / "commit.json").exists()


def brought(lists: Lists, out: Path, log: Path) -> Step:
    """The third list and the addresses, killed and given again. Until the merge has happened, nothing has."""
    asked = multiprocessing.get_context("spawn").Value("i", 0)
    cpu = seconds = peak = 0.0
    before = (out / "_schema.json").read_bytes()
    with host(asked) as address:
        first = lists.all - lists.fetched
        urls = (f"{address}/{number}.json\n" for number in range(first, first + lists.fetched))
        lists.addresses.write_text("".join(urls))
        for phase, condition in [*phases(lists, out, asked), ("", None)]:
            ended, memory = ingest([lists.third, lists.addresses], out, log, kill=condition)
            cpu, seconds, peak = cpu + ended.cpu, seconds + ended.seconds, max(peak, memory)
            told = f"killed in the phase {phase}" if phase else "through"
            print(
                f"  {told:<42} {ended.cpu:8.1f} s of processor, {ended.seconds:8.1f} s by the clock, {memory:6,.0f} MB"
            )
            if phase and phase != "schema" and (out / "_schema.json").read_bytes() != before:
                raise RuntimeError("a command that was killed has changed the catalogue")
    print(f"  {asked.value:,} requests for {lists.fetched:,} addresses")
    name = f"a third, {lists.few:,} known, killed 4 times"
    return Step(name, 2 * lists.few + lists.fetched, cpu, seconds, peak)


def measured(name: str, count: int, write: Callable[[Path, Path, int], None], *arguments: Any) -> Step:
    """A plain write, in a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=write, args=(*arguments, count))
    started = time.monotonic()
    before = os.times()
    process.start()
    assert process.pid is not None
    with Memory(process.pid, 0.5) as memory:
        process.join()
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    if process.exitcode:
        raise RuntimeError(f"{name} has ended with status {process.exitcode}")
    return Step(name, count, cpu, time.monotonic() - started, memory.peak)


def by_library(path: Path, out: Path, count: int) -> None:
    """A plain file by stac-geoparquet."""
    from stac_geoparquet.arrow import parse_stac_items_to_parquet

    parse_stac_items_to_parquet(itertools.islice(lines(path), count), output_path=out, chunk_size=20_000)


def by_rustac(path: Path, out: Path, count: int) -> None:
    """A plain file by rustac."""
    import rustac

    rustac.write_sync(str(out), list(itertools.islice(lines(path), count)))


# Whether all is there


def compared(lists: Lists, out: Path, scratch: Path) -> dict[str, int]:
    """The catalogue beside the newest versions of all lists: rows, ids, and ids that are not the same in both."""
    import duckdb

    sources = [str(path) for path in (lists.first, lists.second, lists.third, lists.served)]
    columns = (
        "{id: 'VARCHAR', bbox: 'DOUBLE[4]', assets: 'STRUCT(B08 STRUCT(href VARCHAR), visual STRUCT(href VARCHAR))',"
        ' properties: \'STRUCT(datetime TIMESTAMP, updated TIMESTAMP, "eo:cloud_cover" DOUBLE, "proj:epsg" BIGINT)\'}'
    )
    with duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '1GB'; SET threads = 2; SET temp_directory = '{scratch}'")
        connection.execute(f"""CREATE VIEW listed AS SELECT id, epoch_us(properties.updated) AS updated, hash(
            epoch_us(properties.datetime), properties."eo:cloud_cover", properties."proj:epsg",
            bbox[1], bbox[2], bbox[3], bbox[4], assets.B08.href, assets.visual.href) AS content
            FROM read_json({sources}, format = 'newline_delimited', columns = {columns})""")
        connection.execute("""CREATE TABLE truth AS
            SELECT id, max(updated) AS updated, arg_max(content, updated) AS content FROM listed GROUP BY id""")
        connection.execute(f"""CREATE TABLE found AS SELECT id, epoch_us(updated) AS updated, hash(
            epoch_us(datetime), "eo:cloud_cover", "proj:epsg",
            bbox.xmin, bbox.ymin, bbox.xmax, bbox.ymax, assets.B08.href, assets.visual.href) AS content
            FROM read_parquet('{out}/**/*.parquet', hive_partitioning = true)""")
        asked = {
            "rows": "SELECT count(*) FROM found",
            "ids": "SELECT count(DISTINCT id) FROM found",
            "lost": "SELECT count(*) FROM truth ANTI JOIN found USING (id)",
            "strange": "SELECT count(*) FROM found ANTI JOIN truth USING (id)",
            "not the newest, or changed": "SELECT count(*) FROM found JOIN truth USING (id)"
            " WHERE (found.updated, found.content) IS DISTINCT FROM (truth.updated, truth.content)",
        }
        found = {name: connection.execute(sql).fetchone() for name, sql in asked.items()}
    return {name: int(row[0]) for name, row in found.items() if row is not None}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--rustac", type=int, default=0, metavar="N", help="items that rustac writes")
    given = parser.parse_args()
    adopt_orphans()
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        out, log, plain = folder / "catalog", folder / "log", folder / "plain.parquet"
        began = time.monotonic()
        lists = Lists.write(folder, given.items)
        print(f"lists written in {time.monotonic() - began:.0f} s")
        steps = []
        for name, path, items in (
            ("a new catalogue", lists.first, given.items),
            (f"a second list, {lists.known:,} known", lists.second, 2 * lists.known),
        ):
            ended, memory = ingest([path], out, log)
            steps.append(Step(name, items, ended.cpu, ended.seconds, memory))
            print(steps[-1], flush=True)
        steps.append(brought(lists, out, log))
        print(log.read_text(), end="", flush=True)
        began = time.monotonic()
        compare = compared(lists, out, folder)
        print(f"compared with the lists in {time.monotonic() - began:.0f} s: {compare}", flush=True)
        plainly = measured("stac-geoparquet, one file of the first list", given.items, by_library, lists.first, plain)
        steps.append(plainly)
        if given.rustac:
            other = folder / "rustac.parquet"
            steps.append(measured("rustac, one file", min(given.rustac, given.items), by_rustac, lists.first, other))
        found = open_catalog(out)
        asked = list(scans(found, str(plain)))
        print("\n".join(["", HEADER, *map(str, steps), "", found.summary, *map(str, asked), ""]))
        right = {"rows": lists.all, "ids": lists.all, "lost": 0, "strange": 0, "not the newest, or changed": 0}
        most = max(step.memory for step in steps[:3])
        musts = {
            f"{steps[0].rate / plainly.rate:.2f} of the plain write's items per second, a new catalogue":
                steps[0].rate >= LEAST * plainly.rate,
            f"{steps[1].rate / plainly.rate:.2f} of them, the second list":
                steps[1].rate >= LEAST * plainly.rate,
            f"{most:,.0f} MB at most": most < MOST,
            f"{lists.all:,} items, none lost, none double, all the newest": compare == right,
        }  # fmt: skip
        for told, is_so in musts.items():
            print(f"{'ok    ' if is_so else 'MISSED'} {told}")
        print(f"load {os.getloadavg()[0]:.1f}")
    sys.exit(not all(musts.values()))


if __name__ == "__main__":
    main()
