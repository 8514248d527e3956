"""Arrange the chips of a run as the windows of a data set of rslearn: https://github.com/allenai/rslearn.

    python recipes/rslearn_windows.py outputs/fields outputs/rslearn

    config.json                                 a layer for each data set of the run
    windows/train/PLACE/metadata.json           grid and time range of a place; groups are splits, or `default`
    windows/train/PLACE/layers/S2/B2_B3/geotiff.tif      its chip; that of the second date is in layers/S2.1, …

rslearn counts pixels from the origin of the coordinate reference system, so that the edges of chips must be multiples
of the scale, as those of Sentinel-2 are. Places with a missing frame are left out.
"""

import argparse
import hashlib
import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import eechips


def arrange(run, out):
    """Write the windows; return how many were written and how many places were left out.

    Args:
        run: folder of a run of GeoTIFFs.
        out: folder to write to.
    """
    files = eechips.load(run, rows="files")
    layers, count, left_out = {}, 0, 0
    for _, place in files.groupby("position"):
        if not (place["valid_fraction"] > 0).all():
            left_out += 1
            continue
        first = place.iloc[0]
        split = first["split"] if "split" in place else "default"
        window = out / "windows" / split / first["id"][:16]
        for name, chips in place.groupby(layer_of(place)):
            ordered = chips.sort_values("frame") if "frame" in chips else chips
            for number, (_, chip) in enumerate(ordered.iterrows()):
                layers[name] = {"type": "raster", "band_sets": [{"bands": list(chip["bands"]), "dtype": chip["dtype"]}]}
                folder = window / "layers" / (f"{name}.{number}" if number else name)
                target = folder / folder_of_bands(chip["bands"]) / "geotiff.tif"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(chip["path"], target)
                (folder / "completed").touch()
        (window / "metadata.json").write_text(json.dumps(window_of(place, split)))
        count += 1
    (out / "config.json").write_text(json.dumps({"layers": layers}, indent=1))
    return count, left_out


def layer_of(place):
    """Return the layer of each chip: what its file has after the id, without the number of the frame, or `image`."""
    names = place["file"].str.extract(r"/[^/.]*\.(?:([^/]*?)(?:-?t\d+)?\.)?[^/.]*$")[0]
    return names.fillna("").replace("", "image").str.replace(".", "_")


def folder_of_bands(bands):
    """Return the name of the folder of a set of bands, as ``rslearn.utils.raster_format.get_bandset_dirname``."""
    if any("_" in band for band in bands):
        return hashlib.sha256(json.dumps(list(bands)).encode()).hexdigest()
    name = "_".join(bands)
    return name if len(name) <= 64 else hashlib.sha256(name.encode()).hexdigest()


def window_of(place, split):
    """Return the metadata of a window: the grid that all chips of a place have, and the time from first to last."""
    first = place.iloc[0]
    a, b, c, d, e, f = first["transform"]
    left, top = c / a, f / e
    if b or d or left != round(left) or top != round(top):
        grid = f"--crs {first['crs']} --grid {a:g},0,0,0,{e:g},0"
        raise SystemExit(f"{first['path']}: its edges are no multiples of its scale. Fetch the chips with {grid}")
    bounds = [round(left), round(top), round(left) + int(first["width"]), round(top) + int(first["height"])]
    times = sorted(datetime.fromisoformat(each) for dates in place["dates"] for each in dates or ())
    return {
        "group": split,
        "name": first["id"][:16],
        "projection": {"crs": first["crs"], "x_resolution": a, "y_resolution": e},
        "bounds": bounds,
        "time_range": [times[0].isoformat(), (times[-1] + timedelta(seconds=1)).isoformat()] if times else None,
        "options": {"split": split},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Arrange the chips of a run as the windows of a data set of rslearn.")
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    written, left_out = arrange(arguments.run, arguments.out)
    print(f"{written} windows in {arguments.out}; {left_out} places left out, since a frame is missing")
