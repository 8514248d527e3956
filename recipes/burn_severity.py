"""Write the change of the normalized burn ratio (dNBR) of each place, and its class of severity.

    python recipes/burn_severity.py outputs/fires outputs/severity

    NAME.dnbr.tif       NBR before minus NBR after, float32; NaN where one of the images is masked
    NAME.severity.tif   1 regrowth, 2 unburned, 3 low, 4 moderate-low, 5 moderate-high, 6 high severity; 0 unknown

The run has a frame before and one after a date, from `--index NBR --frames 2:before-after --on-empty skip`.
Thresholds: Key and Benson 2006, Landscape Assessment, table LA-2, https://doi.org/10.2737/RMRS-GTR-164. They are
examples, from forests of North America: calibrate them for other vegetation.
"""

import argparse
from pathlib import Path

import numpy as np
import rasterio

import eechips

THRESHOLDS = (-0.1, 0.1, 0.27, 0.44, 0.66)  # least dNBR of unburned, low, moderate-low, moderate-high and high severity


def write_severity(run, out):
    """Write dNBR and severity of each place with both frames; return the number of places."""
    places = eechips.load(run, rows="files").groupby("position")
    for _, place in places:
        frames = place.sort_values("frame")
        before, after = (read_ratio(frame) for frame in frames.itertuples())
        change = before - after
        classes = np.where(np.isnan(change), 0, np.digitize(change, THRESHOLDS) + 1)
        name, path = out / frames["file"].iloc[0].removesuffix(".t00.tif"), frames["path"].iloc[0]
        name.parent.mkdir(parents=True, exist_ok=True)
        write(f"{name}.dnbr.tif", change.astype("float32"), path, nodata=np.nan)
        write(f"{name}.severity.tif", classes.astype("uint8"), path, nodata=0)
    return len(places)


def read_ratio(frame):
    """Return the normalized burn ratio of a frame, NaN where it is masked."""
    with rasterio.open(frame.path) as chip:
        return chip.read(list(frame.bands).index("NBR") + 1, masked=True).filled(np.nan)


def write(path, values, like, **profile):
    """Write an array on the pixels of another file."""
    with rasterio.open(like) as chip:
        profile |= {"crs": chip.crs, "transform": chip.transform, "width": chip.width, "height": chip.height}
    with rasterio.open(path, "w", driver="GTiff", count=1, dtype=values.dtype, **profile) as file:
        file.write(values, 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write dNBR and burn severity of each place of a run.")
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    print(f"{write_severity(arguments.run, arguments.out)} places in {arguments.out}")
