import os, ee
from concurrent.futures import ProcessPoolExecutor, wait
from pathlib import Path

ee.Initialize()
OUT = Path(__file__).resolve().parent / "absolute_output"
OUT.mkdir(exist_ok=True)
FIELDS = ("lon", "lat")


def one(item, *, extra):
    found = ee.Number(item["lon"]).add(extra).getInfo()
    (OUT / f"{item['name']}.txt").write_text(f"{found}\n")
    return found


if __name__ == "__main__":
    executor = ProcessPoolExecutor()
    futures = [executor.submit(one, {"name": n, "lon": i, "lat": 0}, extra=0.5) for i, n in enumerate("abcd")]
    done, _ = wait(futures)
    executor.shutdown()
    assert sorted(f.result() for f in done) == [0.5, 1.5, 2.5, 3.5]
