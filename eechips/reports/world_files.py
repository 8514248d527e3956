"""Write files beside the pictures of a run that tell GDAL and other programs where the pictures are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from eechips.errors import UsageError
from eechips.geo.crs import parse_crs
from eechips.manifest.run import Run, open_run
from eechips.storage import LocalStore, write_file
from eechips.text.formatting import escape_html
from eechips.training.sample_reader import read_samples

_SUFFIXES = {"png": "pgw", "jpg": "jgw", "jpeg": "jgw"}


def georeference(run: Run | str | Path) -> int:
    """Write ``NAME.png.aux.xml`` beside every picture of a run, and a world file where its rows run from west to east.

    The first has the coordinate reference system and the transform, as GDAL reads them
    (https://gdal.org/en/stable/drivers/raster/png.html); world files have the transform alone, for other programs.
    Results themselves are not changed.

    Args:
        run: the run, or its folder.

    Returns:
        The number of pictures.

    Raises:
        UsageError: if the results are in an object store, or none is a picture whose place is known.
        StorageError: if a file cannot be written.

    Example:
        >>> eechips.georeference("outputs/sample-naip")
    """
    run = open_run(run)
    store = run.store
    if not isinstance(store, LocalStore):
        raise UsageError(
            f"the results of {run.path} are in an object store: copy pictures to a folder; GeoTIFFs need none"
        )
    count = 0
    for name, crs, transform in _pictures(run):
        path = store.file(name)
        files = {path.with_name(path.name + ".aux.xml"): _auxiliary(crs, transform)}
        if transform[1] == transform[3] == 0.0:
            files[path.with_suffix("." + _SUFFIXES[path.suffix.lstrip(".").lower()])] = _world(transform)
        for beside, content in files.items():
            write_file(beside, content.encode(), is_one_of_many=True)
        count += 1
    if not count:
        raise UsageError(f"{run.path} has no PNG or JPEG files whose place is known; GeoTIFFs have theirs inside")
    return count


def _pictures(run: Run) -> Iterator[tuple[str, str, Sequence[float]]]:
    """Yield name, coordinate reference system and transform of each picture whose place is known."""
    for sample in read_samples(run):
        for file in sample.files:
            if file.suffix in _SUFFIXES and file.crs is not None and file.transform is not None:
                yield file.name, file.crs, file.transform


def _auxiliary(crs: str, transform: Sequence[float]) -> str:
    """Return GDAL's auxiliary metadata. Its transform has the corner first: c, a, b, f, d, e."""
    a, b, c, d, e, f = transform
    numbers = ", ".join(map(repr, (c, a, b, f, d, e)))
    described = escape_html(parse_crs(crs).to_wkt())
    return f"<PAMDataset>\n  <SRS>{described}</SRS>\n  <GeoTransform>{numbers}</GeoTransform>\n</PAMDataset>\n"


def _world(transform: Sequence[float]) -> str:
    """Return a world file: six lines, of which the last two are the centre of the upper left pixel.

    https://gdal.org/en/stable/drivers/raster/wld.html
    """
    a, b, c, d, e, f = transform
    centre = (c + (a + b) / 2.0, f + (d + e) / 2.0)
    return "".join(f"{number!r}\n" for number in (a, d, b, e, *centre))
