"""Declare the options of ``eechips scenes``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eechips.archive.downloads.signers import AUTHS, AuthName
from eechips.builtin_recipes.shared_options import INPUT_CRS
from eechips.option_fields import data_field, documented, option, option_field

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
    collection: str | Sequence[str] = data_field((), "Ids of collections.", SEARCH, kind="names", default="all")
    roi: str | Path | None = option_field(
        None,
        "Only items that intersect this box, or the polygons of a vector file.",
        SEARCH,
        metavar="W,S,E,N|FILE",
        decides="input",
    )
    input_crs: str | None = field(default=None, metadata=INPUT_CRS)
    start: str | None = data_field(
        None, "First day or moment, ISO 8601.", SEARCH, metavar="DATE", default="the catalogue's first"
    )
    end: str | None = data_field(
        None, "Day or moment after the last.", SEARCH, metavar="DATE", default="the catalogue's last"
    )
    where: str | Sequence[str] = data_field(
        (),
        "Condition on properties: 'eo:cloud_cover < 20'. May be repeated.",
        SEARCH,
        metavar="CONDITION",
        is_multiple=True,
    )
    assets: str | Sequence[str] | None = data_field(
        None,
        "Keys of assets, or names of their bands.",
        SEARCH,
        kind="names",
        default="those with the role data, but no JPEG 2000 that is there as a GeoTIFF",
    )
    max_items: int | None = data_field(None, "Only the first N items.", SEARCH, metavar="N", least=1)
    per_host: int = option_field(
        10,
        "Maximum number of transfers from one host at a time.",
        TRANSFER,
        metavar="N",
        least=1,
        is_advanced=True,
        decides="run",
    )
    max_rate: float | None = option_field(
        None, "Maximum bytes per second of all transfers together.", TRANSFER, kind="bytes", decides="run"
    )
    auth: AuthName = option_field(
        "none",
        "How downloads are authorised: a token (bearer), name and password (basic), .netrc, a token that is"
        " fetched (oauth), or URLs signed by an endpoint (sas).",
        ACCESS,
        choices=AUTHS,
        decides="credentials",
    )
    auth_host: str | Sequence[str] = option_field(
        (),
        "Hosts that receive the secrets; *.example.com for a domain.",
        ACCESS,
        kind="names",
        is_advanced=True,
        decides="credentials",
    )
    token_url: str | None = option_field(
        None,
        "With oauth: URL that issues tokens. With sas: URL that signs; it contains {collection}, or receives ?href=.",
        ACCESS,
        metavar="URL",
        is_advanced=True,
        decides="credentials",
    )
    secrets: str | Path | None = option_field(
        None,
        "File with lines token=, username=, password=, client_id=, client_secret=; environment variables"
        " EECHIPS_SCENES_TOKEN and so on take precedence.",
        ACCESS,
        metavar="FILE",
        kind="file",
        decides="credentials",
    )
    requester_pays: bool = option_field(
        False, "Let your AWS account pay for transfers from S3.", ACCESS, is_advanced=True, decides="credentials"
    )
    keep_query: str | Sequence[str] = option_field(
        (),
        "Query parameters of the files' URLs that are stored; * for all.",
        ACCESS,
        kind="names",
        default="none, as they may be secrets",
        is_advanced=True,
        decides="credentials",
    )
    ingest: str | Path | None = option_field(
        None,
        "Add the scenes to this folder of assets, for `eechips serve --assets DIR`.",
        INGESTION,
        metavar="DIR",
        kind="folder",
        decides="path",
    )
    asset_id: str | None = data_field(
        None,
        "With `ingest`: Earth Engine id of their collection.",
        INGESTION,
        metavar="ID",
        default="scenes/<collection>",
        is_advanced=True,
    )
