"""Catches every error, as many scripts do; says by its results how it went."""

import multiprocessing
import sys
from pathlib import Path

import ee


def fetch(number, shown):
    try:
        return ee.Image(f"NO/SUCH/ASSET{number}").bandNames().getInfo()
    except Exception as error:
        print("failed", error)
        if shown == "log":
            with open("errors.log", "a") as log:
                log.write(f"{number}\n")
        if shown == "file":
            Path(f"{number}.txt").write_text("nothing")
        if shown == "other":
            return ee.Number(number).getInfo()
        return False if shown == "value" else None


if __name__ == "__main__":
    ee.Initialize()
    shown = ["nothing", "value", "log", "file", "other"]
    with multiprocessing.Pool(2) as pool:
        found = pool.starmap(fetch, enumerate(shown))
    Path("found.txt").write_text(repr(found))
    Path("errors.txt").write_text(Path("errors.log").read_text())
