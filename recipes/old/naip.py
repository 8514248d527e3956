#!/usr/bin/env python
# Downloads NAIP chips for training, 25 at a time.
import ee
import logging
import multiprocessing
import requests
import shutil
from retry import retry

ee.Initialize(opt_url='https://earthengine-highvolume.googleapis.com')

ROI = ee.Geometry.Rectangle([-105.30, 39.98, -105.20, 40.06])


def getRequests():
    """Generates a list of work items to be downloaded."""
    points = ee.FeatureCollection.randomPoints(region=ROI, points=6, seed=1)
    return points.aggregate_array('.geo').getInfo()


@retry(tries=10, delay=1, backoff=2)
def getResult(index, point):
    """Handle the HTTP requests to download an image."""
    point = ee.Geometry.Point(point['coordinates'])
    region = point.buffer(127).bounds()
    image = (ee.ImageCollection('USDA/NAIP/DOQQ')
             .filterBounds(region)
             .filterDate('2011', '2021')
             .mosaic()
             .clip(region)
             .select('R', 'G', 'B'))

    # Fetch the URL from which to download the image.
    url = image.getThumbURL({
        'region': region,
        'dimensions': '64x64',
        'format': 'png'})

    # Handle downloading the actual pixels.
    r = requests.get(url, stream=True)
    if r.status_code != 200:
        raise r.raise_for_status()

    filename = 'tile_%05d.png' % index
    with open(filename, 'wb') as out_file:
        shutil.copyfileobj(r.raw, out_file)
    print("Done: ", index)


if __name__ == '__main__':
    logging.basicConfig()
    items = getRequests()

    pool = multiprocessing.Pool(25)
    pool.starmap(getResult, enumerate(items))

    pool.close()
    pool.join()
