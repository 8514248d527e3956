"""List the known open archives: their addresses, hosts, credentials, page sizes and connections.

Addresses, hosts and limits: documents of the archives, which each entry names.
"""

from __future__ import annotations

from eechips_local.archives.archive_model import ArchiveDescription

EARTH_SEARCH = ArchiveDescription(
    name="earth-search",
    title="Earth Search",
    api="https://earth-search.aws.element84.com/v1",
    hosts=(
        "e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com",
        "sentinel-cogs.s3.us-west-2.amazonaws.com",
        "copernicus-dem-30m.s3.amazonaws.com",
        "copernicus-dem-30m.s3.eu-central-1.amazonaws.com",
        "usgs-landsat.s3.us-west-2.amazonaws.com",
        "naip-analytic.s3.us-west-2.amazonaws.com",
    ),
    signing="requester-pays",
    page_items=100,
    source="https://github.com/Element84/earth-search",
)

PLANETARY_COMPUTER = ArchiveDescription(
    name="planetary-computer",
    title="Planetary Computer",
    api="https://planetarycomputer.microsoft.com/api/stac/v1",
    hosts=("*.blob.core.windows.net",),
    signing="planetary-computer",
    token_api="https://planetarycomputer.microsoft.com/api/sas/v1/token",
    has_cql2=True,
    page_items=250,
    source="https://planetarycomputer.microsoft.com/docs/concepts/sas",
)

CDSE = ArchiveDescription(
    name="cdse",
    title="Copernicus Data Space Ecosystem",
    api="https://stac.dataspace.copernicus.eu/v1",
    hosts=("eodata.dataspace.copernicus.eu", "download.dataspace.copernicus.eu"),
    signing="cdse",
    connections=4,  # https://documentation.dataspace.copernicus.eu/Quotas.html: of a general user
    has_cql2=True,
    page_items=100,
    source="https://documentation.dataspace.copernicus.eu/APIs/STAC.html",
)

LANDSATLOOK = ArchiveDescription(
    name="landsatlook",
    title="USGS LandsatLook",
    api="https://landsatlook.usgs.gov/stac-server",
    hosts=("usgs-landsat.s3.us-west-2.amazonaws.com",),
    signing="requester-pays",
    page_items=100,
    source="https://www.usgs.gov/landsat-missions/landsat-commercial-cloud-data-access",
)

LPCLOUD = ArchiveDescription(
    name="lpcloud",
    title="LP DAAC",
    api="https://cmr.earthdata.nasa.gov/stac/LPCLOUD",
    # The first answers a bearer token with 303 to a signed address at the second; public programs record it.
    hosts=("data.lpdaac.earthdatacloud.nasa.gov", "d1nklfio7vscoe.cloudfront.net"),
    signing="earthdata",
    page_items=100,
    source="https://github.com/nasa/cmr-stac",
)

AEF = ArchiveDescription(
    name="aef",
    title="AlphaEarth Foundations, at Source Cooperative",
    # The bucket us-west-2.opendata.source.coop, which anybody may read; its name has dots, which no certificate covers.
    index="https://s3.us-west-2.amazonaws.com/us-west-2.opendata.source.coop/tge-labs/aef/v1/annual/aef_index.parquet",
    hosts=("s3.us-west-2.amazonaws.com",),
    source="https://source.coop/tge-labs/aef",
)

ARCHIVES = (EARTH_SEARCH, PLANETARY_COMPUTER, CDSE, LANDSATLOOK, LPCLOUD, AEF)
"""The known archives, those without an account first."""


def known_archive(name: str) -> ArchiveDescription | None:
    """Return the archive of a name, or None if it is not known."""
    return next((archive for archive in ARCHIVES if archive.name == name), None)
