"""``python -m eechips.emulator``: the server for one run, started and ended by its parent."""

from __future__ import annotations

import argparse
from pathlib import Path

from eechips.emulator.quota import Latency, QuotaConfig
from eechips.emulator.server import ServerConfig, serve
from eechips.emulator.stores import StoreConfig


def _limit(text: str) -> float | None:
    return None if text == "none" else float(text)


def _latency(text: str) -> Latency:
    try:
        return Latency.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main() -> None:
    """Reads the arguments and serves."""
    parser = argparse.ArgumentParser(prog="python -m eechips.emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 for any that is free")
    parser.add_argument("--assets", type=Path, action="append", default=[], help="asset folder; may be repeated")
    parser.add_argument(
        "--demo", action=argparse.BooleanOptionalAction, default=True, help="also serve the synthetic demo planet"
    )
    parser.add_argument("--concurrency", type=_limit, default=40, help="requests in flight, or none")
    parser.add_argument("--rate", type=_limit, default=100.0, help="requests a second, or none")
    parser.add_argument("--latency", type=_latency, default=None, help="seconds, or lognormal:MEDIAN,SIGMA")
    parser.add_argument("--workers", type=int, default=None, help="processes that evaluate")
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when standard input ends")
    given = parser.parse_args()
    concurrency = None if given.concurrency is None else int(given.concurrency)
    serve(
        ServerConfig(
            port=given.port,
            store=StoreConfig(tuple(given.assets), given.demo),
            quota=QuotaConfig(concurrency, given.rate),
            latency=given.latency,
            workers=given.workers,
            exit_with_parent=given.exit_with_parent,
        )
    )


if __name__ == "__main__":
    main()
