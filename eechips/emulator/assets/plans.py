"""Which bands of which files make which images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eechips.emulator.assets.dates import from_netcdf, names_of_dates, to_milliseconds
from eechips.emulator.assets.errors import IngestError
from eechips.emulator.assets.names import join_id
from eechips.emulator.assets.rasters import BandSource, Rasters

_NETCDF = "netCDF"


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """An image to be: its id, its bands in order and its properties."""

    id: str
    sources: tuple[BandSource, ...]
    properties: Mapping[str, Any]


class Planner:
    """Decides which bands make which images.

    Args:
        rasters: opens files.
        bands: names, or None.
        resampling: see ``Rasters.sources``, as the next two.
        nodata: in place of the files' own, or None.
        crs: in place of the files' own, or None.
    """

    def __init__(
        self,
        rasters: Rasters,
        bands: Sequence[str] | None,
        resampling: str | Mapping[str, str] | None,
        nodata: float | None,
        crs: str | None,
    ) -> None:
        self._rasters = rasters
        self._bands = list(bands) if bands is not None else None
        self._options: dict[str, Any] = {"resampling": resampling, "nodata": nodata, "crs": crs}

    def plan(
        self,
        paths: Sequence[Path],
        asset_id: str,
        properties: Mapping[str, Any],
        *,
        dates_from_bands: bool,
        one_image: bool,
    ) -> list[ImagePlan]:
        """The images to be, in order."""
        if dates_from_bands:
            if one_image or len(paths) > 1:
                raise IngestError("A series of dates comes from one file: ingest the files one after the other.")
            return self._dates(paths[0], asset_id, properties)
        if one_image:
            return [ImagePlan(asset_id, tuple(self._several(paths)), properties)]
        return [
            ImagePlan(image_id, tuple(self._sources(path)), properties)
            for image_id, path in ids_of(paths, asset_id).items()
        ]

    def _sources(self, path: Path) -> list[BandSource]:
        if self._variables(path):
            raise IngestError(f"{path} has a time axis or several variables: ingest it with dates_from_bands=True.")
        return self._rasters.sources(str(path), names=self._bands, **self._options)

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

    def _dates(self, path: Path, asset_id: str, properties: Mapping[str, Any]) -> list[ImagePlan]:
        if "system:time_start" in properties or "system:time_end" in properties:
            raise IngestError("Times of a series come from its dates: leave time_start and time_end out.")
        variables = self._variables(path)
        series = self._netcdf(path, variables) if variables else self._described(path)
        times = list(series)
        names = names_of_dates(times)
        return [
            ImagePlan(join_id(asset_id, name), tuple(series[time_]), {**properties, "system:time_start": time_})
            for name, time_ in sorted(zip(names, times, strict=True))
        ]

    def _described(self, path: Path) -> dict[int, list[BandSource]]:
        """Bands by the dates that their descriptions give."""
        dataset = self._rasters.open(str(path))
        if self._bands is not None and len(self._bands) != 1:
            raise IngestError(f"Each image of {path} has one band, so one name is needed: {', '.join(self._bands)}.")
        name = self._bands[0] if self._bands else "b1"
        descriptions = dataset.descriptions
        sources = self._rasters.sources(str(path), names=[f"b{n + 1}" for n in range(dataset.count)], **self._options)
        series: dict[int, list[BandSource]] = {}
        for source, description in zip(sources, descriptions, strict=True):
            try:
                moment = to_milliseconds(description or "")
            except IngestError as error:
                raise IngestError(f"Band {source.number} of {path} is not described by a date: {error}.") from error
            if moment in series:
                raise IngestError(f"{path} has two bands of {description}.")
            series[moment] = [replace(source, name=name)]
        return series

    def _netcdf(self, path: Path, variables: Mapping[str, str]) -> dict[int, list[BandSource]]:
        """Variables by the values of the time axis that they share."""
        names = self._bands or list(variables)
        if set(names) <= set(variables):
            chosen = {name: variables[name] for name in names}
        elif len(names) == len(variables):
            chosen = dict(zip(names, variables.values(), strict=True))
        else:
            raise IngestError(f"{path} has the variables {', '.join(variables)}, not {', '.join(names)}.")
        series: dict[int, list[BandSource]] = {}
        for name, subdataset in chosen.items():
            dataset = self._rasters.open(subdataset)
            tags = dataset.tags()
            axes = tags.get("NETCDF_DIM_EXTRA", "{}").strip("{}")
            if axes != "time":
                raise IngestError(f"{subdataset} has the axes {axes or 'x and y only'}, not one of time.")
            labels = [f"b{n + 1}" for n in range(dataset.count)]
            for source in self._rasters.sources(subdataset, names=labels, **self._options):
                value = dataset.tags(source.number)["NETCDF_DIM_time"]
                moment = from_netcdf(value, tags["time#units"], tags.get("time#calendar", "standard"))
                series.setdefault(moment, []).append(replace(source, name=name))
        if {len(sources) for sources in series.values()} != {len(chosen)}:
            raise IngestError(f"The variables of {path} have different dates: ingest them one by one with bands=….")
        return series

    def _variables(self, path: Path) -> dict[str, str]:
        """GDAL's names of a NetCDF's variables, by variable; empty for rasters that are not divided."""
        dataset = self._rasters.open(str(path))
        if dataset.driver != _NETCDF:
            return {}
        if dataset.subdatasets:
            return {name.rpartition(":")[2]: name for name in dataset.subdatasets}
        if dataset.tags().get("NETCDF_DIM_EXTRA"):
            return {dataset.tags(1)["NETCDF_VARNAME"]: str(path)}
        return {}


def ids_of(paths: Sequence[Path], asset_id: str) -> dict[str, Path]:
    """One file is the asset itself; several are its children, named by their stems.

    Raises:
        IngestError: if two files have the same stem.
    """
    if len(paths) == 1:
        return {asset_id: paths[0]}
    named: dict[str, Path] = {}
    for path in paths:
        child = join_id(asset_id, path.stem)
        if child in named:
            raise IngestError(f"{named[child]} and {path} would both become {child}: rename one of them.")
        named[child] = path
    return named
