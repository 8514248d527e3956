import multiprocessing as mp
import ee
from tqdm import tqdm

ee.Initialize(opt_url="https://earthengine-highvolume.googleapis.com")


def cover(args):
    i, lon, lat, size = args
    region = ee.Geometry.Point(lon, lat).buffer(size).bounds()
    image = ee.ImageCollection("ESA/WorldCover/v200").first()
    counts = image.reduceRegion(ee.Reducer.frequencyHistogram(), region, 10).get("Map").getInfo()
    return i, counts


def main():
    tasks = [(i, -105.2 - 0.03 * i, 40.0, 200) for i in range(6)]
    results = {}
    with mp.get_context("spawn").Pool(processes=4) as pool:
        for i, counts in tqdm(pool.imap_unordered(cover, tasks), total=len(tasks)):
            results[i] = counts
    with open("cover.txt", "w") as f:
        for i in sorted(results):
            print(i, sorted(results[i].items()), file=f)


if __name__ == '__main__':
    mp.freeze_support()
    mp.set_start_method("spawn", force=True)
    main()
