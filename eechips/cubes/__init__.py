"""Read image collections lazily, as cubes of bands over time: ``xarray.open_dataset(id, engine="eechips")``.

Opening takes one request and no pixel. Pixels are read when values are computed, through the client of runs: all
threads of a process have one throttle, and processes share the quota as runs do.
"""
