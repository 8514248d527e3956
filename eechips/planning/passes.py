"""Group the images of a collection by pass: tiles and scenes of the same day, or of the same orbit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from eechips.errors import UsageError
from eechips.planning.inventory import Scene

PassKind = Literal["day", "orbit"]
"""What the images of a pass have in common besides the platform: the day, UTC, or the orbit."""

PASS_KINDS: tuple[PassKind, ...] = ("day", "orbit")

PLATFORM_PROPERTIES = ("SPACECRAFT_NAME", "SPACECRAFT_ID", "platform_number", "platform")
"""Properties with the name of the satellite: of Sentinel-2, Landsat, Sentinel-1 and STAC items."""

ORBIT_PROPERTIES = (
    *("sat:absolute_orbit", "SENSING_ORBIT_NUMBER", "relativeOrbitNumber_start", "sat:relative_orbit"),
    *("WRS_PATH", "landsat:wrs_path"),
)
"""Properties with the number of the orbit, absolute or relative; the first that an image has counts.

SENSING_ORBIT_NUMBER is Sentinel-2's relative orbit, WRS_PATH Landsat's path.
"""

PASS_PROPERTIES = (*PLATFORM_PROPERTIES, *ORBIT_PROPERTIES)
"""All properties that :func:`group_passes` reads."""

HALF_ORBIT = 3_000_000
"""Milliseconds between images of the same orbit above which they are of different passes.

Landsat takes 99 minutes for an orbit (https://landsat.usgs.gov/what-are-orbit-paths-landsat-satellites), other such
satellites about as long; a pass over the lit side of the Earth is half of an orbit. Relative orbits repeat after days.
"""


@dataclass(frozen=True, slots=True)
class ImagePass:
    """The images of a pass.

    Attributes:
        scenes: by time.
    """

    scenes: tuple[Scene, ...]

    @property
    def first(self) -> Scene:
        """The earliest image."""
        return self.scenes[0]


def group_passes(scenes: Sequence[Scene], kind: PassKind, dataset: str) -> list[ImagePass]:
    """Group images by pass.

    Images of a pass have the same platform, if they name one, and the same day or the same orbit. Images without a time
    are passes of their own.

    Args:
        scenes: by time, with :data:`PASS_PROPERTIES`.
        kind: ``day`` or ``orbit``.
        dataset: name of the collection, for the error.

    Returns:
        The passes by the time of their first image.

    Raises:
        UsageError: if an image has no number of an orbit, which ``orbit`` needs.
    """
    groups: list[list[Scene]] = []
    latest: dict[Any, list[Scene]] = {}
    for scene in scenes:
        key = _first_of(scene, PLATFORM_PROPERTIES), scene.day if kind == "day" else _orbit(scene, dataset)
        group = None if scene.time is None else latest.get(key)
        if group is None or (kind == "orbit" and _gap(group[-1], scene) > HALF_ORBIT):
            group = []
            groups.append(group)
            if scene.time is not None:
                latest[key] = group
        group.append(scene)
    return [ImagePass(tuple(group)) for group in groups]


def _gap(before: Scene, after: Scene) -> int:
    assert before.time is not None
    assert after.time is not None
    return after.time - before.time


def _orbit(scene: Scene, dataset: str) -> Any:
    number = _first_of(scene, ORBIT_PROPERTIES)
    if number is None:
        raise UsageError(
            f"mosaic_by='orbit': the image {scene.index} of {dataset} has no number of an orbit"
            f" ({', '.join(ORBIT_PROPERTIES)}): take mosaic_by='day'"
        )
    return number


def _first_of(scene: Scene, names: Iterable[str]) -> Any:
    """Return the first of some properties that an image has; None if it has none."""
    return next(_values(scene, names), None)


def _values(scene: Scene, names: Iterable[str]) -> Iterator[Any]:
    return (value for name in names if (value := scene.properties.get(name)) is not None)
