"""Arrange the frames of a run in the folders of SSL4EO-S12, which torchgeo and its pretraining programs read.

    python recipes/ssl4eo_folders.py outputs/seasons outputs/ssl4eo

    s1/0000000/S1A_IW_GRDH_1SDV_20200305T…/VV.tif     a number for each place, a folder for each acquisition
    s2c/0000000/20200304T…_T13TDE/B10.tif             Sentinel-2 L1C, a file for each band
    s2a/0000000/20200304T…_T13TDE/B12.tif             Sentinel-2 L2A

The layout is that of the authors' downloader, https://github.com/zhu-xlab/SSL4EO-S12 (src/download_data), and of
``torchgeo.datasets.SSL4EOS12``. As in version 1.1 of the data set, all bands have pixels of 10 m
(https://huggingface.co/datasets/embed2scale/SSL4EO-S12-v1.1). Places with a missing frame are left out.
"""

import argparse
from pathlib import Path

import rasterio

import eechips

FOLDERS = {"S1": "s1", "S2_TOA": "s2c", "S2": "s2a"}
DTYPES = {"S1": "float32", "S2_TOA": "uint16", "S2": "uint16"}


def arrange(run, out):
    """Write the bands of all frames; return how many places were written and how many left out."""
    files = eechips.load(run, rows="files")
    places = [place for _, place in files.groupby("position")]
    whole = [place for place in places if place["sources"].str[0].nunique() == len(place)]  # of different images
    for number, place in enumerate(whole):
        for frame in place.itertuples():
            acquisition = frame.sources[0].rpartition("/")[2]
            folder = out / FOLDERS[frame.series] / f"{number:07d}" / acquisition
            folder.mkdir(parents=True, exist_ok=True)
            write_bands(frame, folder)
    return len(whole), len(places) - len(whole)


def write_bands(frame, folder):
    """Write each band of a frame to a file of its own."""
    with rasterio.open(frame.path) as chip:
        profile = {"driver": "GTiff", "width": chip.width, "height": chip.height, "count": 1, "crs": chip.crs}
        profile |= {"transform": chip.transform, "dtype": DTYPES[frame.series]}
        for name, values in zip(frame.bands, chip.read(), strict=True):
            with rasterio.open(folder / f"{name}.tif", "w", **profile) as band:
                band.write(values.astype(profile["dtype"]), 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Arrange the frames of a run in the folders of SSL4EO-S12.")
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    written, left_out = arrange(arguments.run, arguments.out)
    print(f"{written} places in {arguments.out}; {left_out} left out, since a frame is missing")
