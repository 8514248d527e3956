"""Declare the options of ``eechips scenes``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eechips.archive.downloads.access_secrets import AUTHS, AuthName
from eechips.jobs.shared_options import INPUT_CRS
from eechips.option_fields import documented, option

SEARCH, TRANSFER, ACCESS, INGESTION = "Search", "Transfers", "Access", "Local Earth Engine"
"""Headings of the options in the help."""


@documented
@dataclass(frozen=True, kw_only=True)
class ScenesOptions:
    """The options of ``eechips scenes``, unchecked."""

    stac: str = field(
        metadata=option(
            "STAC API, static catalogue, or STAC GeoParquet: a file, a pattern, or a folder.",
            SEARCH,
            metavar="URL|PATH",
            decides="network",
        )
    )
    collection: str | Sequence[str] = field(
        default=(), metadata=option("Ids of collections.", SEARCH, kind="names", default="all", decides="data")
    )
    roi: str | Path | None = field(
        default=None,
        metadata=option(
            "Only items that intersect this box, or the polygons of a vector file.",
            SEARCH,
            metavar="W,S,E,N|FILE",
            decides="input",
        ),
    )
    input_crs: str | None = field(default=None, metadata=INPUT_CRS)
    start: str | None = field(
        default=None,
        metadata=option(
            "First day or moment, ISO 8601.", SEARCH, metavar="DATE", default="the catalogue's first", decides="data"
        ),
    )
    end: str | None = field(
        default=None,
        metadata=option(
            "Day or moment after the last.", SEARCH, metavar="DATE", default="the catalogue's last", decides="data"
        ),
    )
    where: str | Sequence[str] = field(
        default=(),
        metadata=option(
            "Condition on properties: 'eo:cloud_cover < 20'. May be repeated.",
            SEARCH,
            metavar="CONDITION",
            is_multiple=True,
            decides="data",
        ),
    )
    assets: str | Sequence[str] | None = field(
        default=None,
        metadata=option(
            "Keys of assets, or names of their bands.",
            SEARCH,
            kind="names",
            default="those with the role data",
            decides="data",
        ),
    )
    max_items: int | None = field(
        default=None,
        metadata=option("Only the first N items.", SEARCH, metavar="N", kind="integer", least=1, decides="data"),
    )
    per_host: int = field(
        default=10,
        metadata=option(
            "Maximum number of transfers from one host at a time.",
            TRANSFER,
            metavar="N",
            kind="integer",
            least=1,
            is_advanced=True,
            decides="run",
        ),
    )
    max_rate: float | None = field(
        default=None,
        metadata=option("Maximum bytes per second of all transfers together.", TRANSFER, kind="bytes", decides="run"),
    )
    auth: AuthName = field(
        default="none",
        metadata=option(
            "How downloads are authorised: a token (bearer), name and password (basic), .netrc, a token that is"
            " fetched (oauth), or URLs signed by an endpoint (sas).",
            ACCESS,
            choices=AUTHS,
            decides="credentials",
        ),
    )
    auth_host: str | Sequence[str] = field(
        default=(),
        metadata=option(
            "Hosts that receive the secrets; *.example.com for a domain.",
            ACCESS,
            kind="names",
            is_advanced=True,
            decides="credentials",
        ),
    )
    token_url: str | None = field(
        default=None,
        metadata=option(
            "With oauth: URL that issues tokens. With sas: URL that signs; it contains {collection}, or receives"
            " ?href=.",
            ACCESS,
            metavar="URL",
            is_advanced=True,
            decides="credentials",
        ),
    )
    secrets: str | Path | None = field(
        default=None,
        metadata=option(
            "File with lines token=, username=, password=, client_id=, client_secret=; environment variables"
            " EECHIPS_SCENES_TOKEN and so on take precedence.",
            ACCESS,
            metavar="FILE",
            kind="file",
            decides="credentials",
        ),
    )
    requester_pays: bool = field(
        default=False,
        metadata=option(
            "Let your AWS account pay for transfers from S3.", ACCESS, is_advanced=True, decides="credentials"
        ),
    )
    keep_query: str | Sequence[str] = field(
        default=(),
        metadata=option(
            "Query parameters of the files' URLs that are stored; * for all.",
            ACCESS,
            kind="names",
            default="none, as they may be secrets",
            is_advanced=True,
            decides="credentials",
        ),
    )
    ingest: str | Path | None = field(
        default=None,
        metadata=option(
            "Add the scenes to this folder of assets, for `eechips serve --assets DIR`.",
            INGESTION,
            metavar="DIR",
            kind="folder",
            decides="path",
        ),
    )
    asset_id: str | None = field(
        default=None,
        metadata=option(
            "With `ingest`: Earth Engine id of their collection.",
            INGESTION,
            metavar="ID",
            default="scenes/<collection>",
            is_advanced=True,
            decides="data",
        ),
    )
