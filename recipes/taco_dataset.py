"""Write the chips of a run as a TACO data set: https://tacofoundation.github.io. It needs pip install tacotoolbox.

    python recipes/taco_dataset.py outputs/fields fields.tacozip --licence CC-BY-4.0 --provider "My group"

A sample of the data set is a place, with its split; its files have the names of their data set and frame (S2-t00),
and the columns `stac:*` of TACO: coordinate reference system, transform, shape, centroid and time. tacoreader.load
reads it.
"""

import argparse
from datetime import datetime
from pathlib import Path

import eechips


def write(run, out, *, identifier, licence, provider, description="Chips of Earth Engine by eechips.", task="other"):
    """Write a TACO file, or a folder if the name has no suffix; return how many places it has.

    Args:
        run: folder of a run of GeoTIFFs.
        out: path of the data set.
        identifier: id of the data set, in lower case.
        licence: licence of the data, as in CC-BY-4.0.
        provider: who provides the data set.
        description: description of the data set.
        task: one of TACO's tasks.
    """
    import tacotoolbox
    from tacotoolbox.datamodel import Sample, Taco, Tortilla
    from tacotoolbox.sample.extensions.stac import STAC
    from tacotoolbox.taco.datamodel import Provider

    samples = []
    for _, place in eechips.load(run, rows="files").groupby("position"):
        chips = []
        for _, chip in place.iterrows():
            part = Sample(id=name_of(chip), path=Path(chip["path"]))
            part.extend_with(STAC(**grid_of(chip)))
            chips.append(part)
        sample = Sample(id=place["id"].iloc[0][:16], path=Tortilla(samples=chips))
        sample.extend_with({"split": place["split"].iloc[0] if "split" in place else "all"})
        samples.append(sample)
    about = {"description": description, "licenses": [licence], "providers": [Provider(name=provider)], "tasks": [task]}
    data = Taco(tortilla=Tortilla(samples=samples), id=identifier, dataset_version="1.0.0", **about)
    tacotoolbox.create(data, out)
    return len(samples)


def name_of(chip):
    """Return the name of a chip among those of its place: what its file has after the id, as in ID.S2-t00.tif."""
    return Path(chip["file"]).name.partition(".")[2].rpartition(".")[0] or "image"


def grid_of(chip):
    """Return what TACO says of a raster; its transforms have the order of GDAL."""
    a, b, c, d, e, f = chip["transform"]
    times = [round(datetime.fromisoformat(each).timestamp() * 1e6) for each in chip["dates"] or ()]
    shape = (len(chip["bands"]), int(chip["height"]), int(chip["width"]))
    where = {"crs": chip["crs"], "geotransform": (c, a, b, f, d, e), "tensor_shape": shape}
    return {**where, "time_start": min(times, default=0), "return_none": not times}  # a map has no time, and so no STAC


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the chips of a run as a TACO data set.")
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--licence", required=True, help="of the data, as in CC-BY-4.0")
    parser.add_argument("--provider", required=True, help="who provides the data set")
    arguments = parser.parse_args()
    stem = arguments.out.name.partition(".")[0].lower()
    count = write(arguments.run, arguments.out, identifier=stem, licence=arguments.licence, provider=arguments.provider)
    print(f"{count} places in {arguments.out}")
