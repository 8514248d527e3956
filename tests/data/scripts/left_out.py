# Failures that a script leaves out, one that it does not, and one that passes.
import time
from multiprocessing import Pool

import ee
from retry import retry

ee.Initialize()


def leave_out(i):
    lines = []
    for year in range(6):
        try:
            image = ee.Image("USGS/SRTMGL1_003").select("lacking").multiply(year)
            lines.append(image.reduceRegion("mean", ee.Geometry.Point(-105, 40), 1000).getInfo())
        except Exception:
            lines.append(None)
            time.sleep(0.01)
    failures = [ConnectionResetError("passes"), ConnectionResetError("passes")]

    @retry(tries=5, delay=0.01)
    def later():
        if failures:
            raise failures.pop()
        return "later"

    try:
        return {}["cached"]
    except KeyError:
        for poll in range(120):
            time.sleep(0.001)
        lines.append(later())
    open(f"{i}.txt", "w").write(str(lines))


def endless(i):
    while True:
        try:
            return ee.Image("NO/SUCH/IMAGE").reduceRegion("mean", ee.Geometry.Point(i, 0), 30).getInfo()
        except ee.EEException:
            print("again")
            time.sleep(0.01)


if __name__ == "__main__":
    with Pool(2) as p:
        p.map(leave_out, range(2))
        p.map(endless, range(2))
