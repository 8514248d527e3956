#!/usr/bin/env python
# coding: utf-8

# In[1]:


get_ipython().system('pip install -q earthengine-api')
!pip install geemap
%matplotlib inline
import ee, json
from functools import partial
import multiprocessing as mp
ee.Authenticate()
ee.Initialize(project='my-project')


# In[2]:


%%time
size = 8
dem = ee.Image("USGS/SRTMGL1_003")
def elevation(scale, point):
    found = dem.reduceRegion(ee.Reducer.mean(), ee.Geometry.Point(point).buffer(100), scale).getInfo()
    return round(found["elevation"], 1)
points = [[-105.3 + 0.01 * i, 40.0] for i in range(size)]


# In[3]:


%%bash
ls -la | head

# In[4]:


pool = mp.Pool(4)
heights = pool.map(partial(elevation, 30), points)
pool.close()
pool.join()
with open("heights.json", "w") as f:
    json.dump(heights, f)
display(heights)
