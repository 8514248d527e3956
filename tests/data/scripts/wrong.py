# Mistakes that scripts have.
import time
from multiprocessing import Pool

import ee
import requests
from retry import retry

ee.Initialize()


@retry(tries=10, delay=1, backoff=2)
def missing_asset(i):
    return ee.Image("NO/SUCH/IMAGE").reduceRegion("mean", ee.Geometry.Point(0, 0), 30).getInfo()


@retry(tries=10, delay=1, backoff=2)
def bug(i):
    return {}["nokey"] + i


def own_loop(i):
    for attempt in range(8):
        try:
            r = requests.get(ee.Image("NO/SUCH/IMAGE").getThumbURL({"dimensions": 10}))
            r.raise_for_status()
            return 1
        except Exception as e:
            print("trying again")
            time.sleep(2 ** attempt)


def swallowed(i):
    try:
        ee.Image("NO/SUCH/IMAGE").getInfo()
    except Exception as e:
        print("never mind")


def passing(i):
    if i == 1:
        raise ValueError("one of them")
    return i


if __name__ == "__main__":
    with Pool(4) as p:
        for f in (missing_asset, bug, own_loop, swallowed, passing):
            try:
                print(f.__name__, p.map(f, range(2)))
            except Exception as e:
                print(f.__name__, "raised", type(e).__name__)
    undefined_name
