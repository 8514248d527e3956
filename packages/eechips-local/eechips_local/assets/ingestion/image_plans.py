"""Plan which bands of which files make which images: one of each file, one of all, or a series of dates, as of a
NetCDF's time axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rasterio.io import DatasetReader

from eechips_local.assets.asset_errors import IngestError
from eechips_local.assets.asset_names import join_id
from eechips_local.assets.date_parsing import Time, date_within, from_netcdf, names_of_dates, to_milliseconds
from eechips_local.assets.ingestion.raster_files import BandSource, RasterFiles

_NETCDF = "netCDF"


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """An image to be: its id, its bands in order and its properties."""

    id: str
    sources: tuple[BandSource, ...]
    properties: Mapping[str, Any]


class ImagePlanner:
    """Decides which bands make which images.

    Args:
        rasters: opens files.
        bands: names, or None.
        resampling: see ``RasterFiles.sources``, as the next two.
        nodata: in place of the files' own, or None.
        crs: in place of the files' own, or None.
    """

    def __init__(
        self,
        rasters: RasterFiles,
        bands: Sequence[str] | None,
        resampling: str | Mapping[str, str] | None,
        nodata: float | None,
        crs: str | None,
    ) -> None:
        self._rasters = rasters
        self._bands = list(bands) if bands is not None else None
        self._options: dict[str, Any] = {"resampling": resampling, "nodata": nodata, "crs": crs}

    def images(
        self, named: Mapping[str, Path], properties: Mapping[str, Any], times: Mapping[str, int]
    ) -> list[ImagePlan]:
        """Return an image of each file.

        Args:
            named: files by id.
            properties: properties of all.
            times: ``system:time_start`` by id, of those that have one of their own.
        """
        return [
            ImagePlan(image_id, tuple(self._sources(path)), {**properties, **_start(times.get(image_id))})
            for image_id, path in named.items()
        ]

    def one(self, paths: Sequence[Path], asset_id: str, properties: Mapping[str, Any]) -> list[ImagePlan]:
        """Return one image of all bands of all files."""
        return [ImagePlan(asset_id, tuple(self._several(paths)), properties)]

    def series(
        self, paths: Sequence[Path], asset_id: str, properties: Mapping[str, Any], dates: Sequence[Time] | None
    ) -> list[ImagePlan]:
        """Return an image of each date of rasters whose bands have dates, in order of time.

        Args:
            paths: the files; no date may occur in two of them.
            asset_id: id of the collection.
            properties: properties of all images.
            dates: dates of the bands of a single file: one for each band, or one for each group of as many bands as
                have names, in order. None takes them from the descriptions of bands, or the time axis of a NetCDF.
        """
        if "system:time_start" in properties or "system:time_end" in properties:
            raise IngestError("Times of a series come from its dates: leave time_start and time_end out.")
        if dates is not None and len(paths) > 1:
            raise IngestError("Dates are those of the bands of one file: ingest the files one after the other.")
        series: dict[int, list[BandSource]] = {}
        for path in paths:
            own = self._dated(path, dates)
            both = sorted(series.keys() & own.keys())
            if both:
                raise IngestError(f"{series[both[0]][0].path} and {path} both have {names_of_dates(both[:1])[0]}.")
            series |= own
        times = sorted(series)
        return [
            ImagePlan(join_id(asset_id, name), tuple(series[time_]), {**properties, **_start(time_)})
            for name, time_ in zip(names_of_dates(times), times, strict=True)
        ]

    def _dated(self, path: Path, dates: Sequence[Time] | None) -> dict[int, list[BandSource]]:
        variables = self._variables(path)
        if dates is not None and variables:
            if len(variables) > 1 and (self._bands is None or len(self._bands) > 1):
                raise IngestError(f"Dates can be given for one variable of {path}: choose it with bands=….")
            name = self._bands[0] if self._bands and self._bands[0] in variables else next(iter(variables))
            return self._grouped(variables[name], [to_milliseconds(date) for date in dates], [name])
        if variables:
            return self._netcdf(path, variables)
        if dates is not None:
            return self._grouped(str(path), [to_milliseconds(date) for date in dates], self._bands)
        return self._grouped(str(path), self._described(path), self._bands)

    def _sources(self, path: Path) -> list[BandSource]:
        variables = self._variables(path)
        if not variables:
            return self._rasters.sources(str(path), names=self._bands, **self._options)
        chosen = self._chosen(path, variables)
        sources: list[BandSource] = []
        for name, variable in chosen.items():
            if _axes(self._rasters.open(variable)):
                raise IngestError(f"{path} has a time axis: ingest it with dates_from_bands=True.")
            sources += self._rasters.sources(variable, names=[name], **self._options)
        return sources

    def _several(self, paths: Sequence[Path]) -> list[BandSource]:
        counts = [len(self._rasters.sources(str(path), names=None, **self._options)) for path in paths]
        if self._bands is None:
            names = [path.stem for path in paths] if set(counts) == {1} else [f"b{n + 1}" for n in range(sum(counts))]
        else:
            names = self._bands
        if len(names) != sum(counts) or len(set(names)) != len(names):
            raise IngestError(
                f"The files have {sum(counts)} bands, which need as many different names: {', '.join(names)}."
            )
        sources: list[BandSource] = []
        for path, count in zip(paths, counts, strict=True):
            own = names[len(sources) : len(sources) + count]
            sources += self._rasters.sources(str(path), names=own, **self._options)
        return sources

    def _described(self, path: Path) -> list[int]:
        """Return the dates in the descriptions of a file's bands."""
        moments = []
        for number, description in enumerate(self._rasters.open(str(path)).descriptions, start=1):
            try:
                moments.append(_moment(description or ""))
            except IngestError as error:
                raise IngestError(f"Band {number} of {path} is not described by a date: {error}.") from error
        return moments

    def _grouped(self, path: str, moments: Sequence[int], names: Sequence[str] | None) -> dict[int, list[BandSource]]:
        """Return bands of a file by their dates, in the order of the file.

        Raises:
            IngestError: if there are not as many bands for each date as there are names.
        """
        labels = [f"b{number}" for number in range(1, self._rasters.open(path).count + 1)]
        sources = self._rasters.sources(path, names=labels, **self._options)
        per_date = len(names) if names else 1
        if per_date > 1 and len(moments) * per_date == len(sources):
            moments = [moment for moment in moments for _ in range(per_date)]
        if len(moments) != len(sources):
            raise IngestError(f"{path} has {len(sources)} bands, but there are {len(moments)} dates for them.")
        series: dict[int, list[BandSource]] = {}
        for source, moment in zip(sources, moments, strict=True):
            series.setdefault(moment, []).append(source)
        for moment, group in series.items():
            if len(group) != per_date:
                date = names_of_dates([moment])[0]
                if names is None:
                    raise IngestError(f"{path} has two bands of {date}: name the bands of a date with bands=….")
                raise IngestError(
                    f"The bands of {path} are {len(group)} of {date}, but {per_date} names were given:"
                    f" {', '.join(names)}."
                )
        own = list(names) if names else ["b1"]
        return {
            moment: [self._renamed(source, name) for source, name in zip(group, own, strict=True)]
            for moment, group in series.items()
        }

    def _chosen(self, path: Path, variables: Mapping[str, str]) -> dict[str, str]:
        """Return GDAL's names of the variables that become bands, by the bands' names."""
        names = self._bands or list(variables)
        if set(names) <= set(variables):
            return {name: variables[name] for name in names}
        if len(names) == len(variables):
            return dict(zip(names, variables.values(), strict=True))
        raise IngestError(f"{path} has the variables {', '.join(variables)}, not {', '.join(names)}.")

    def _netcdf(self, path: Path, variables: Mapping[str, str]) -> dict[int, list[BandSource]]:
        """Return variables by the values of the time axis that they share."""
        chosen = self._chosen(path, variables)
        series: dict[int, list[BandSource]] = {}
        for name, subdataset in chosen.items():
            dataset = self._rasters.open(subdataset)
            tags, axes = dataset.tags(), _axes(dataset)
            if len(axes) != 1 or f"{axes[0]}#units" not in tags:
                own = ", ".join(axes) or "x and y only"
                raise IngestError(f"{subdataset} has the axes {own}, not one of time: choose variables with bands=….")
            units, calendar = tags[f"{axes[0]}#units"], tags.get(f"{axes[0]}#calendar", "standard")
            labels = [f"b{n + 1}" for n in range(dataset.count)]
            values = [dataset.tags(number)[f"NETCDF_DIM_{axes[0]}"] for number in dataset.indexes]
            for source, value in zip(
                self._rasters.sources(subdataset, names=labels, **self._options), values, strict=True
            ):
                moment = from_netcdf(value, units, calendar)
                if any(other.name == name for other in series.get(moment, ())):
                    raise IngestError(f"{path} has {name} of {names_of_dates([moment])[0]} twice: remove one of them.")
                series.setdefault(moment, []).append(self._renamed(source, name))
        if {len(sources) for sources in series.values()} != {len(chosen)}:
            raise IngestError(f"The variables of {path} have different dates: ingest them one by one with bands=….")
        return series

    def _renamed(self, source: BandSource, name: str) -> BandSource:
        return self._rasters.renamed(source, name, self._options["resampling"])

    def _variables(self, path: Path) -> dict[str, str]:
        """Return GDAL's names of a NetCDF's variables, by variable; empty for rasters that are not divided.

        Bounds of coordinates, which GDAL lists among them, are left out
        (https://cfconventions.org/cf-conventions/cf-conventions.html#cell-boundaries).
        """
        dataset = self._rasters.open(str(path))
        if dataset.driver != _NETCDF:
            return {}
        if dataset.subdatasets:
            named = {name.rpartition(":")[2]: name for name in dataset.subdatasets}
            tags = [tag for name in named.values() for tag in self._rasters.open(name).tags().items()]
            bounds = {value for key, value in tags if key.endswith("#bounds")}
            return {variable: name for variable, name in named.items() if variable not in bounds}
        if dataset.tags().get("NETCDF_DIM_EXTRA"):
            return {dataset.tags(1)["NETCDF_VARNAME"]: str(path)}
        return {}


def _axes(dataset: DatasetReader) -> list[str]:
    """Return axes of a NetCDF's variable other than x and y."""
    axes = dataset.tags().get("NETCDF_DIM_EXTRA", "").strip("{}")
    return axes.split(",") if axes else []


def _moment(description: str) -> int:
    """Return the date that a description is, or has in it."""
    try:
        return to_milliseconds(description)
    except IngestError:
        return date_within(description)


def _start(moment: int | None) -> dict[str, int]:
    return {} if moment is None else {"system:time_start": moment}
