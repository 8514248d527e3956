"""usage: arguments.py N [--fast]"""
import argparse
import concurrent.futures
import ee
import pandas as pd

parser = argparse.ArgumentParser()
parser.add_argument("n", type=int)
parser.add_argument("--fast", action="store_true")
parser.add_argument("--points", default="points.csv")
args = parser.parse_args()

ee.Initialize(ee.data.get_persistent_credentials() if False else None)
SCALE = 90 if args.fast else 30


def sample(row):
    image = ee.Image("USGS/SRTMGL1_003").addBands(ee.Image.pixelLonLat())
    found = image.reduceRegion(ee.Reducer.first(), ee.Geometry.Point(row.lon, row.lat), SCALE).getInfo()
    frame = pd.DataFrame([{**found, "name": row["name"]}])
    frame.to_csv(f"sample_{row['name']}.csv", index=False)
    frame.to_json(f"sample_{row['name']}.json")
    return frame


if __name__ == "__main__":
    points = pd.read_csv(args.points).head(args.n)
    futures = {}
    with concurrent.futures.ProcessPoolExecutor(max_workers=4) as executor:
        for _, row in points.iterrows():
            futures[executor.submit(sample, row)] = row["name"]
        frames = []
        for future in concurrent.futures.as_completed(futures):
            frames.append(future.result())
    pd.concat(frames).sort_values("name").to_csv("all.csv", index=False)
