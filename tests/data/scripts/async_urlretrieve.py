from multiprocessing import Pool
from urllib.request import urlretrieve
import os, sys
import ee

service_account = 'me@my-project.iam.gserviceaccount.com'
credentials = ee.ServiceAccountCredentials(service_account, 'private-key.json')
ee.Initialize(credentials)

OUT_DIR = os.path.join(os.getcwd(), 'thumbs')
if not os.path.exists(OUT_DIR):
    os.makedirs(OUT_DIR)

failed = []

def download(name, lon, lat, size=32):
    region = ee.Geometry.Rectangle([lon - 0.001, lat - 0.001, lon + 0.001, lat + 0.001])
    image = ee.ImageCollection('USDA/NAIP/DOQQ').filterBounds(region).filterDate('2015-01-01', '2030-01-01').mosaic()
    url = image.getThumbURL({'region': region, 'dimensions': size, 'bands': 'R,G,B', 'min': 0, 'max': 255})
    urlretrieve(url, os.path.join(OUT_DIR, name + '.jpg'))
    return name

def finished(name):
    print('got', name)
    sys.stdout.flush()

if __name__ == '__main__':
    pool = Pool(6)
    jobs = []
    for i in range(5):
        jobs.append(pool.apply_async(download, ('t%02d' % i, -105.25 + i * 0.01, 40.0), {'size': 48}, callback=finished))
    pool.close()
    pool.join()
    names = [job.get(timeout=600) for job in jobs]
    print(names)
