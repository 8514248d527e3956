"""Stack the frames of each place into one GeoTIFF, beside its labels, as TerraTorch's loaders read them.

    python recipes/stacked_frames.py outputs/hls outputs/stacked --classes 1,5,24

    chips/ID_merged.tif     all bands of the first frame, then all of the second, …; int16, reflectance * 10,000
    chips/ID.mask.tif       labels; uint8
    train.txt               ids of a split, if `eechips split` has divided the run

The layout is that of https://huggingface.co/datasets/ibm-nasa-geospatial/multi-temporal-crop-classification, and of
TerraTorch's generic data sets with ``expand_temporal_dimension=True``. Places with a missing frame are left out.
"""

import argparse
from pathlib import Path

import numpy as np
import rasterio

import eechips

SCALE, NODATA = 10_000, -9999  # reflectance as in the files of HLS, on which Prithvi was trained


def stack(run, out, classes=()):
    """Write the image and the labels of each place; return how many places were written and how many left out.

    Args:
        run: folder of a run with frames of one dataset and one layer of labels.
        out: folder to write to.
        classes: codes of the labels that become 1, 2, …; others become 0. Without them, labels keep their codes.
    """
    files = eechips.load(run, rows="files")
    (out / "chips").mkdir(parents=True, exist_ok=True)
    splits, left_out = {}, 0
    for _, place in files.groupby("position"):
        is_frame = place["frame"].notna()
        frames, (labels,) = place[is_frame].sort_values("frame"), place.loc[~is_frame, "path"]
        if not (frames["valid_fraction"] > 0).all():
            left_out += 1
            continue
        name = f"chip_{place['id'].iloc[0][:16]}"
        splits.setdefault(place["split"].iloc[0] if "split" in place else "all", []).append(name)
        pixels, profile = zip(*map(read_reflectance, frames["path"]), strict=True)
        write(out / "chips" / f"{name}_merged.tif", np.concatenate(pixels), profile[0], NODATA)
        with rasterio.open(labels) as file:
            codes = file.read(1)
        if classes:
            codes = sum(((codes == code) * (number + 1) for number, code in enumerate(classes)), 0 * codes)
        write(out / "chips" / f"{name}.mask.tif", codes[None].astype("uint8"), profile[0])
    for split, names in splits.items():
        (out / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return sum(map(len, splits.values())), left_out


def read_reflectance(path):
    """Return the bands of a chip as int16, (bands, rows, columns), and its grid."""
    with rasterio.open(path) as chip:
        values = np.where(chip.read_masks() > 0, np.rint(chip.read() * SCALE), NODATA)
        return values.astype("int16"), {"crs": chip.crs, "transform": chip.transform}


def write(path, values, grid, nodata=None):
    """Write an array (bands, rows, columns) as GeoTIFF."""
    count, height, width = values.shape
    shape = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(path, "w", driver="GTiff", compress="deflate", nodata=nodata, **shape, **grid) as file:
        file.write(values)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Stack the frames of each place into one GeoTIFF, beside its labels.")
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--classes", default="", help="codes of the labels that become 1, 2, …, as 1,5,24 [all]")
    arguments = parser.parse_args()
    written, left_out = stack(
        arguments.run, arguments.out, [int(code) for code in arguments.classes.split(",") if code]
    )
    print(f"{written} places in {arguments.out}; {left_out} left out, since a frame is missing")
