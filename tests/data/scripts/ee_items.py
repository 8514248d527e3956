import ee
import json
import numpy as np
import urllib.request
from multiprocessing import pool as mp_pool
import functools

ee.Initialize(project='earthengine-legacy')
roi = ee.Geometry.Polygon([[[-105.30, 40.00], [-105.26, 40.00], [-105.26, 40.04], [-105.30, 40.04]]])
images = ee.ImageCollection('LANDSAT/LC08/C02/T1_L2').filterBounds(roi).filterDate('2019-01-01', '2019-06-01')
n = min(5, images.size().getInfo())
items = images.sort('system:time_start').toList(n)


def mean(scale, item):
    image, options = item
    found = image.select(options['bands']).reduceRegion(ee.Reducer.mean(), roi, scale, bestEffort=True).getInfo()
    url = image.select('SR_B4').getDownloadURL({'region': roi.bounds(), 'scale': 300, 'format': 'NPY'})
    with urllib.request.urlopen(url) as response:
        raw = response.read()
    date = image.date().format('YYYY-MM-dd').getInfo()
    with open(date + '.npy', 'wb') as f:
        f.write(raw)
    pixels = np.load(date + '.npy')
    np.savez(date, first=pixels['SR_B4'])
    return date, {k: None if v is None else round(v, 3) for k, v in found.items()}


if __name__ == '__main__':
    work = [(ee.Image(items.get(i)), {'bands': ['SR_B4', 'SR_B5']}) for i in range(n)]
    results = mp_pool.Pool(3).imap(functools.partial(mean, 90), work, 2)
    json.dump(dict(results), open('means.json', 'w'), indent=1, sort_keys=True)
