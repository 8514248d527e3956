"""Quality bands: what each dataset's own say of its pixels, clouds above all.

This is data: which bits of which band mean what, and where that is documented.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ee

_CATALOG = "https://developers.google.com/earth-engine/datasets/catalog/"
HALF = "{half}"
"""In the name of a quality band: Day or Night, as in the band that it tells of."""


@dataclass(frozen=True, slots=True)
class Bits:
    """Bits of a band, and the numbers in them that mean something.

    Attributes:
        band: name; ``{half}`` in it stands for ``Night`` where a band of the night is masked, else for ``Day``.
        first: the lowest bit, counted from 0.
        last: the highest.
        values: of these bits, read as a number, any of which counts.
    """

    band: str
    first: int
    last: int
    values: tuple[int, ...] = (1,)

    def set_in(self, quality: ee.Image) -> ee.Image:
        """1 where the band has one of the values, else 0."""
        bits = quality.bitwiseAnd(((1 << (self.last - self.first + 1)) - 1) << self.first)
        found: ee.Image = bits.eq(self.values[0] << self.first)
        for value in self.values[1:]:
            found = found.Or(bits.eq(value << self.first))
        return found


@dataclass(frozen=True, slots=True)
class Score:
    """A score of another collection, whose images have the same ``system:index``: the higher, the clearer.

    Attributes:
        collection: asset id.
        band: of its images.
        threshold: least score of a clear pixel, unless the user says otherwise.
    """

    collection: str
    band: str
    threshold: float


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of pixels that a mask can remove.

    Attributes:
        name: a word for it.
        bits: any of these says so.
    """

    name: str
    bits: tuple[Bits, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where some datasets say which of their pixels are clear.

    Attributes:
        name: a word for it, usually the band's.
        datasets: regular expression of their ids.
        title: of the datasets, for people.
        url: where the bits are documented.
        kinds: of pixels that can be masked.
        usual: names of those that are, unless the user names others.
        score: in the place of kinds: a score of another collection.
    """

    name: str
    datasets: str
    title: str
    url: str
    kinds: tuple[Kind, ...] = ()
    usual: tuple[str, ...] = ()
    score: Score | None = None

    def serves(self, dataset: str) -> bool:
        """Whether it belongs to a dataset."""
        return re.fullmatch(self.datasets, dataset) is not None


def _flags(band: str, **bits: int) -> tuple[Kind, ...]:
    """Kinds that have a bit each."""
    return tuple(Kind(name, (Bits(band, bit, bit),)) for name, bit in bits.items())


def _state(band: str) -> tuple[Kind, ...]:
    """The kinds of MODIS surface reflectance's state flags."""
    return (
        Kind("cloud", (Bits(band, 0, 1, (1,)),)),
        Kind("mixed", (Bits(band, 0, 1, (2,)),)),
        Kind("shadow", (Bits(band, 2, 2),)),
        Kind("cirrus", (Bits(band, 8, 9, (2, 3)),)),  # average or high; 1 is small
        Kind("internal", (Bits(band, 10, 10),)),  # cloudy to another algorithm
        Kind("snow", (Bits(band, 12, 12), Bits(band, 15, 15))),  # MOD35's flag, and the internal one
        Kind("adjacent", (Bits(band, 13, 13),)),
    )


_S2 = r"COPERNICUS/S2(_SR)?(_HARMONIZED)?"
_STATE_USUAL = ("cloud", "mixed", "shadow", "cirrus")

SOURCES: tuple[Source, ...] = (
    Source(
        name="scl",
        datasets=r"COPERNICUS/S2_SR(_HARMONIZED)?",
        title="Sentinel-2",
        url=_CATALOG + "COPERNICUS_S2_SR_HARMONIZED",
        kinds=tuple(
            Kind(name, (Bits("SCL", 0, 7, values),))
            for name, values in {
                "defective": (1,),
                "dark": (2,),
                "shadow": (3,),
                "vegetation": (4,),
                "bare": (5,),
                "water": (6,),
                "unclassified": (7,),
                "cloud": (8, 9),  # of medium and of high probability
                "cirrus": (10,),
                "snow": (11,),
            }.items()
        ),
        usual=("defective", "shadow", "cloud", "cirrus"),
    ),
    *(
        Source(
            name=band,
            datasets=_S2,
            title="Sentinel-2",
            url=_CATALOG + "GOOGLE_CLOUD_SCORE_PLUS_V1_S2_HARMONIZED",
            score=Score("GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED", band, 0.6),  # as in the catalog's example
        )
        for band in ("cs_cdf", "cs")
    ),
    # Masked out between February 2022 and February 2024, says the catalog: nothing is left of images of that time.
    Source(
        name="qa60",
        datasets=_S2,
        title="Sentinel-2",
        url=_CATALOG + "COPERNICUS_S2_HARMONIZED",
        kinds=_flags("QA60", cloud=10, cirrus=11),
        usual=("cloud", "cirrus"),
    ),
    # The usual ones are those of the example in the catalog: bits 0 to 4.
    Source(
        name="qa_pixel",
        datasets=r"LANDSAT/L[MTEOC]0\d/C02/T[12](_RT)?(_TOA|_L2)?",
        title="Landsat Collection 2",
        url=_CATALOG + "LANDSAT_LC08_C02_T1_L2",
        kinds=_flags("QA_PIXEL", fill=0, dilated=1, cirrus=2, cloud=3, shadow=4, snow=5, water=7),
        usual=("fill", "dilated", "cirrus", "cloud", "shadow"),
    ),
    Source(
        name="qc",
        datasets=r"MODIS/0(06|61)/M[OY]D11A[12]",
        title="MODIS temperatures",
        url=_CATALOG + "MODIS_061_MOD11A2",
        kinds=(
            Kind("unproduced", (Bits(f"QC_{HALF}", 0, 1, (2, 3)),)),  # because of clouds, or else
            Kind("other", (Bits(f"QC_{HALF}", 0, 1, (1,)),)),  # produced, not of good quality
            Kind("over1k", (Bits(f"QC_{HALF}", 6, 7, (1, 2, 3)),)),  # average error of the temperature
            Kind("over2k", (Bits(f"QC_{HALF}", 6, 7, (2, 3)),)),
            Kind("over3k", (Bits(f"QC_{HALF}", 6, 7, (3,)),)),
        ),
        usual=("unproduced", "over2k"),
    ),
    Source(
        name="summaryqa",
        datasets=r"MODIS/0(06|61)/M[OY]D13(A1|A2|Q1)",
        title="MODIS vegetation indices",
        url=_CATALOG + "MODIS_061_MOD13A2",
        kinds=tuple(
            Kind(name, (Bits("SummaryQA", 0, 1, (value,)),))
            for name, value in {"marginal": 1, "snow": 2, "cloud": 3}.items()
        ),
        usual=("snow", "cloud"),
    ),
    Source(
        name="state",
        datasets=r"MODIS/0(06|61)/M[OY]D09GA",
        title="MODIS reflectance",
        url=_CATALOG + "MODIS_061_MOD09GA",
        kinds=_state("state_1km"),
        usual=_STATE_USUAL,
    ),
    Source(
        name="state",
        datasets=r"MODIS/0(06|61)/M[OY]D09A1",
        title="MODIS reflectance",
        url=_CATALOG + "MODIS_061_MOD09A1",
        kinds=_state("StateQA"),
        usual=_STATE_USUAL,
    ),
    Source(
        name="state",
        datasets=r"MODIS/0(06|61)/M[OY]D09Q1",
        title="MODIS reflectance",
        url=_CATALOG + "MODIS_061_MOD09Q1",
        kinds=_state("State"),
        usual=_STATE_USUAL,
    ),
    Source(
        name="fmask",
        datasets=r"NASA/HLS/HLS[LS]30/v002",
        title="Harmonized Landsat Sentinel-2",
        url=_CATALOG + "NASA_HLS_HLSL30_v002",
        kinds=_flags("Fmask", cloud=1, adjacent=2, shadow=3, snow=4, water=5),
        usual=("cloud", "adjacent", "shadow"),
    ),
)
"""Every mask there is. Of those of a dataset, the first is what ``--mask auto`` means."""


def masks_of(dataset: str) -> tuple[Source, ...]:
    """The masks of a dataset, the usual one first; none if there is no known one.

    Args:
        dataset: asset id.
    """
    return tuple(source for source in SOURCES if source.serves(dataset))
