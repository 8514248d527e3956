"""List which bits and values of the quality bands of each dataset mean cloud, shadow, snow or water.

From the datasets' pages in the Earth Engine data catalog. :mod:`eechips.planning.imagery.image_masking` applies them.
"""

from __future__ import annotations

from eechips.datasets.quality_bands import HALF, BitField, ClearScore, MaskSource, PixelClass, ValueRange

_CATALOG = "https://developers.google.com/earth-engine/datasets/catalog/"


def _flags(band: str, **bits: int) -> tuple[PixelClass, ...]:
    """Return classes of one bit each, by name."""
    return tuple(PixelClass(name, (BitField(band, bit, bit),)) for name, bit in bits.items())


def _state(band: str) -> tuple[PixelClass, ...]:
    """Return the classes of the state flags of MODIS surface reflectance."""
    return (
        PixelClass("cloud", (BitField(band, 0, 1, (1,)),)),
        PixelClass("mixed", (BitField(band, 0, 1, (2,)),)),
        PixelClass("shadow", (BitField(band, 2, 2),)),
        PixelClass("cirrus", (BitField(band, 8, 9, (2, 3)),)),  # average or high; 1 is small
        PixelClass("internal", (BitField(band, 10, 10),)),  # cloudy to another algorithm
        PixelClass("snow", (BitField(band, 12, 12), BitField(band, 15, 15))),  # MOD35's flag, and the internal one
        PixelClass("adjacent", (BitField(band, 13, 13),)),
    )


_S2 = r"COPERNICUS/S2(_SR)?(_HARMONIZED)?"
_STATE_USUAL = ("cloud", "mixed", "shadow", "cirrus")

S2_SCL = MaskSource(
    name="scl",
    datasets=r"COPERNICUS/S2_SR(_HARMONIZED)?",
    title="Sentinel-2",
    url=_CATALOG + "COPERNICUS_S2_SR_HARMONIZED",
    kinds=tuple(
        PixelClass(name, (BitField("SCL", 0, 7, values),))
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
)


def _score(band: str) -> MaskSource:
    return MaskSource(
        name=band,
        datasets=_S2,
        title="Sentinel-2",
        url=_CATALOG + "GOOGLE_CLOUD_SCORE_PLUS_V1_S2_HARMONIZED",
        score=ClearScore("GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED", band, 0.6),  # threshold of the catalog's example
    )


S2_CS_CDF, S2_CS = _score("cs_cdf"), _score("cs")

# According to the catalog, the band is masked from February 2022 to February 2024: such images are masked completely.
S2_QA60 = MaskSource(
    name="qa60",
    datasets=_S2,
    title="Sentinel-2",
    url=_CATALOG + "COPERNICUS_S2_HARMONIZED",
    kinds=_flags("QA60", cloud=10, cirrus=11),
    usual=("cloud", "cirrus"),
)

# Default classes as in the catalog's example: bits 0 to 4.
LANDSAT_QA_PIXEL = MaskSource(
    name="qa_pixel",
    datasets=r"LANDSAT/L[MTEOC]0\d/C02/T[12](_RT)?(_TOA|_L2)?",
    title="Landsat Collection 2",
    url=_CATALOG + "LANDSAT_LC08_C02_T1_L2",
    kinds=_flags("QA_PIXEL", fill=0, dilated=1, cirrus=2, cloud=3, shadow=4, snow=5, water=7),
    usual=("fill", "dilated", "cirrus", "cloud", "shadow"),
)

MODIS_QC = MaskSource(
    name="qc",
    datasets=r"MODIS/0(06|61)/M[OY]D11A[12]",
    title="MODIS temperatures",
    url=_CATALOG + "MODIS_061_MOD11A2",
    kinds=(
        PixelClass("unproduced", (BitField(f"QC_{HALF}", 0, 1, (2, 3)),)),  # because of clouds, or else
        PixelClass("other", (BitField(f"QC_{HALF}", 0, 1, (1,)),)),  # produced, not of good quality
        PixelClass("over1k", (BitField(f"QC_{HALF}", 6, 7, (1, 2, 3)),)),  # average error of the temperature
        PixelClass("over2k", (BitField(f"QC_{HALF}", 6, 7, (2, 3)),)),
        PixelClass("over3k", (BitField(f"QC_{HALF}", 6, 7, (3,)),)),
    ),
    usual=("unproduced", "over2k"),
)

MODIS_SUMMARYQA = MaskSource(
    name="summaryqa",
    datasets=r"MODIS/0(06|61)/M[OY]D13(A1|A2|Q1)",
    title="MODIS vegetation indices",
    url=_CATALOG + "MODIS_061_MOD13A2",
    kinds=tuple(
        PixelClass(name, (BitField("SummaryQA", 0, 1, (value,)),))
        for name, value in {"marginal": 1, "snow": 2, "cloud": 3}.items()
    ),
    usual=("snow", "cloud"),
)


def _modis_state(product: str, band: str) -> MaskSource:
    return MaskSource(
        name="state",
        datasets=rf"MODIS/0(06|61)/M[OY]D{product}",
        title="MODIS reflectance",
        url=f"{_CATALOG}MODIS_061_MOD{product}",
        kinds=_state(band),
        usual=_STATE_USUAL,
    )


MODIS_STATE_1KM = _modis_state("09GA", "state_1km")
MODIS_STATEQA = _modis_state("09A1", "StateQA")
MODIS_STATE = _modis_state("09Q1", "State")

HLS_FMASK = MaskSource(
    name="fmask",
    datasets=r"NASA/HLS/HLS[LS]30/v002",
    title="Harmonized Landsat Sentinel-2",
    url=_CATALOG + "NASA_HLS_HLSL30_v002",
    kinds=_flags("Fmask", cloud=1, adjacent=2, shadow=3, snow=4, water=5),
    usual=("cloud", "adjacent", "shadow"),
)


def _border(collection: str, noise: float) -> MaskSource:
    """Return the mask of the noisy borders of radar images.

    The angles are from Hird et al. 2017 (https://doi.org/10.3390/rs9121315), as in Mullissa et al. 2021
    (https://doi.org/10.3390/rs13101954), section 2.2; the power is that of the catalog's example, -30 dB.
    """
    return MaskSource(
        name="border",
        datasets=collection,
        title="Sentinel-1",
        url=_CATALOG + "COPERNICUS_S1_GRD",
        kinds=(
            PixelClass("noise", (ValueRange("VV", most=noise),)),
            PixelClass("near", (ValueRange("angle", most=30.63993),)),
            PixelClass("far", (ValueRange("angle", least=45.23993),)),
        ),
        usual=("noise", "near", "far"),
    )


S1_BORDER = _border("COPERNICUS/S1_GRD", -30.0)
S1_FLOAT_BORDER = _border("COPERNICUS/S1_GRD_FLOAT", 0.001)
