"""How fast samples are packed, beside a plain tar of the same files.

    python benchmarks/pack.py --chips 20000 --into /tmp/pack

Chips are PNG pictures of 256x256 pixels, some 90 kB each, of which there are 200 different ones under 20,000 names.
``tar`` is GNU tar over the same files. CPU seconds are of the process and its children; ``again`` is the same pack
called once more, which reads every shard and compares its sha256: seconds of the CPU.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

import eechips
from eechips.text.formatting import format_bytes
from eechips.training.formats import PACK_FORMATS
from tests.support.finished_run import png_of, write_run

DIFFERENT = 200
EDGE = 256


def chips(count: int, seed: int = 0) -> Iterator[tuple[dict[str, Any], Any]]:
    """Units with a picture each: relief with some noise, which compresses about as an aerial photograph does."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:EDGE, 0:EDGE] / EDGE
    made = []
    for _ in range(min(DIFFERENT, count)):
        a, b, c = rng.uniform(1, 9, 3)
        relief = 120 + 60 * np.sin(a * rows + b * columns) + 20 * np.cos(c * rows * columns)
        noisy = relief[None] + rng.normal(0, 2.0, (3, EDGE, EDGE))
        made.append(png_of(np.clip(noisy, 0, 255).astype(np.uint8)))
    for number in range(count):
        yield {"kind": "point", "number": number, "zone": number % 7}, {"": ("png", made[number % len(made)])}


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of the CPU."""
    began, used = time.perf_counter(), cpu()
    work()
    return time.perf_counter() - began, cpu() - used


def cpu() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def tar(folder: Path, target: Path) -> None:
    """A plain tar of the chips, on the disk when it returns, as shards are."""
    subprocess.run(["tar", "-cf", str(target), "-C", str(folder), "chips"], check=True)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=int, default=20_000)
    parser.add_argument("--formats", default=",".join(PACK_FORMATS.names))
    parser.add_argument("--into", type=Path, required=True, help="a folder for the chips and packs; removed afterwards")
    options = parser.parse_args()
    folder = options.into / "run"
    write_run(folder, chips(options.chips))
    size = sum(path.stat().st_size for path in (folder / "chips").iterdir())
    print(f"{options.chips:,} chips, {format_bytes(size)}")
    print(f"{'':12}{'seconds':>9}{'CPU s':>9}{'chips/s':>9}{'MB/s':>8}{'again':>9}")

    def show(name: str, seconds: float, used: float, again: float | None = None) -> None:
        more = "" if again is None else f"{again:9.1f}"
        rates = f"{options.chips / seconds:9,.0f}{size / 1e6 / seconds:8,.0f}"
        print(f"{name:12}{seconds:9.1f}{used:9.1f}{rates}{more}", flush=True)

    try:
        for turn in ("tar, first", "tar"):  # the first also has the files read for the first time
            show(turn, *measured(lambda: tar(folder, options.into / "plain.tar")))
            (options.into / "plain.tar").unlink()
        for to in options.formats.split(","):
            out = options.into / to
            spent = measured(lambda to=to, out=out: eechips.pack(folder, to, out=out, quiet=True))
            _, again = measured(lambda to=to, out=out: eechips.pack(folder, to, out=out, quiet=True))
            show(to, *spent, again)
            shutil.rmtree(out)
    finally:
        shutil.rmtree(options.into)


if __name__ == "__main__":
    main()
