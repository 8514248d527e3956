# Writes how far it is into a file beside the others, and takes its time.
import random
import time
from multiprocessing import Pool

import ee

ee.Initialize()
jobs = [(i, random.random()) for i in range(8)]
PAUSE = 0.4
count = ee.Number(0)


def work(job):
    i, x = job
    value = count.add(i).getInfo()
    time.sleep(PAUSE if i > 2 else 0)
    with open("part_%d.txt" % i, "w") as f:
        f.write("%d %.6f\n" % (value, x))
    return {"n": i, "x": x}


if __name__ == "__main__":
    with Pool(2) as p:
        results = p.map(work, jobs)
        again = p.map(work, [(r["n"] + 100, r["x"]) for r in results[:2]])
    print("all", [r["n"] for r in results + again])
