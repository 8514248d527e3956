"""Configure GDAL for one opening of a raster, fsspec for the same store, and GDAL's network statistics."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import rasterio
import rasterio._base
from rasterio.env import get_gdal_config, set_gdal_config
from rasterio.session import DummySession

from eechips.archive.downloads.signers import says_yes
from eechips.archive.windows.locations import RasterLocation
from eechips.client.http.http_messages import Timeouts

_HEADER = 32 << 10  # bytes of the first read when a raster is opened
_LEAST_CACHE = 8 << 20
_SILENCE = 1  # bytes a second below which a transfer counts as stalled
_BESIDE = (".aux.xml", ".hdr", ".prj", ".wld", ".tfw", ".tifw", ".pgw", ".pngw", ".jgw", ".jpgw", ".j2w", ".ige")
"""Suffixes of files beside a raster that affect its content and that GDAL may open: no masks."""
_LISTED = re.compile(r'(?:[^,"]|"[^"]*")+')  # comma-separated headers
_AZURE = {
    "AZURE_STORAGE_ACCOUNT": "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCESS_KEY": "AZURE_STORAGE_ACCOUNT_KEY",
}
"""GDAL's names of variables that Azure's tools and fsspec name differently."""


def gdal_options(
    location: RasterLocation,
    cache: int,
    timeouts: Timeouts,
    condition: str | None = None,
    environment: Mapping[str, str] = os.environ,
    *,
    beside: bool = False,
) -> dict[str, Any]:
    """Return the options of GDAL for one opening (https://gdal.org/en/stable/user/virtual_file_systems.html).

    Folders are not listed. Files beside a raster (headers, world files, masks) are searched on disks and in archives;
    elsewhere, where each takes a request, only with ``beside``, and no masks. Neighbouring blocks are read by one
    request. Nothing is cached for the next opening, which may be of another version, and GDAL does not retry. Stores
    that fsspec finds by ``AWS_ENDPOINT_URL``, ``STORAGE_EMULATOR_HOST`` or ``AZURE_STORAGE_ACCOUNT_NAME`` are set for
    GDAL, too.

    Args:
        cache: bytes for decoded blocks.
        condition: header of all requests, such as ``If-Match: "…"``.
        beside: whether to search files beside the raster in any location.
    """
    own = location.suffix if beside else ""
    options: dict[str, Any] = {
        "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE" if own or location.is_near else "EMPTY_DIR",
        **({"CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ",".join((own, *_BESIDE))} if own else {}),
        **({} if location.is_near else NETWORK_STATS),
        "GDAL_INGESTED_BYTES_AT_OPEN": _HEADER,
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        "GDAL_HTTP_MULTIPLEX": "YES",
        "GDAL_HTTP_MAX_RETRY": 0,
        "GDAL_HTTP_CONNECTTIMEOUT": _seconds(timeouts.connect),
        "GDAL_HTTP_TIMEOUT": _seconds(timeouts.total),
        "GDAL_HTTP_LOW_SPEED_LIMIT": _SILENCE,
        "GDAL_HTTP_LOW_SPEED_TIME": _seconds(timeouts.read),
        "CPL_VSIL_CURL_NON_CACHED": location.path,
        "GDAL_NUM_THREADS": 1,
        "VSI_CACHE": "FALSE",
        "GDAL_CACHEMAX": max(cache, _LEAST_CACHE),
    }
    if condition is not None:
        options["GDAL_HTTP_HEADERS"] = _headers(environment.get("GDAL_HTTP_HEADERS", ""), condition)
    return options | _store_options(location, environment)


def _store_options(location: RasterLocation, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of object stores that GDAL does not take from variables of other libraries."""
    options: dict[str, Any] = {}
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    if location.scheme == "s3" and endpoint and "AWS_S3_ENDPOINT" not in environment:
        there = urlsplit(endpoint)
        options |= {
            "AWS_S3_ENDPOINT": there.netloc,
            "AWS_HTTPS": "YES" if there.scheme == "https" else "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }
    emulator = environment.get("STORAGE_EMULATOR_HOST")
    if location.scheme == "gs" and emulator and "CPL_GS_ENDPOINT" not in environment:
        options |= {"CPL_GS_ENDPOINT": f"{emulator.rstrip('/')}/", "GS_NO_SIGN_REQUEST": "YES"}
    if location.scheme == "az":
        options |= {ours: environment[other] for ours, other in _AZURE.items() if environment.get(other)}
        options |= {"AZURE_STORAGE_ACCOUNT": location.account} if location.account else {}
    return options


def store_options(location: RasterLocation, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the options of fsspec for a store that is set for GDAL by GDAL's own variables."""
    options: dict[str, Any] = {"use_listings_cache": False}
    if location.scheme == "s3":
        endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
        if own := environment.get("AWS_S3_ENDPOINT"):
            endpoint = (
                own
                if "://" in own
                else f"http{'s' if says_yes('AWS_HTTPS', environment) or 'AWS_HTTPS' not in environment else ''}://{own}"
            )
        options |= {"anon": True} if says_yes("AWS_NO_SIGN_REQUEST", environment) else {}
        options |= {"requester_pays": True} if environment.get("AWS_REQUEST_PAYER") == "requester" else {}
        options |= {"endpoint_url": endpoint} if endpoint else {}
    elif location.scheme == "gs":
        emulator, payer = environment.get("STORAGE_EMULATOR_HOST"), environment.get("GS_USER_PROJECT")
        options |= {"endpoint_url": emulator} if emulator else {}
        options |= {"token": "anon"} if emulator or says_yes("GS_NO_SIGN_REQUEST", environment) else {}
        options |= {"requester_pays": payer} if payer else {}
    elif location.scheme == "az":
        account = (
            location.account
            or environment.get("AZURE_STORAGE_ACCOUNT_NAME")
            or environment.get("AZURE_STORAGE_ACCOUNT")
        )
        key = environment.get("AZURE_STORAGE_ACCOUNT_KEY") or environment.get("AZURE_STORAGE_ACCESS_KEY")
        derived = {
            "connection_string": environment.get("AZURE_STORAGE_CONNECTION_STRING"),
            "account_name": account,
            "account_key": key,
            "sas_token": environment.get("AZURE_STORAGE_SAS_TOKEN"),
            "anon": True if says_yes("AZURE_NO_SIGN_REQUEST", environment) else None,
        }
        options |= {name: value for name, value in derived.items() if value is not None}
    return options


@contextlib.contextmanager
def settings(options: Mapping[str, Any]) -> Iterator[None]:
    """Apply options of GDAL. Its cache size is one for the process, and rasterio does not restore it."""
    before = get_gdal_config("GDAL_CACHEMAX")
    try:
        # GDAL finds the credentials of stores itself.
        with rasterio.Env(session=DummySession(), **options):
            yield
    finally:
        set_gdal_config("GDAL_CACHEMAX", before)


def _seconds(value: float) -> int:
    """Round to whole seconds, at least one: zero would mean no limit."""
    return max(1, round(value))


def _headers(own: str, further: str) -> str:
    """Return the user's headers for GDAL and one more.

    They are separate lines: GDAL removes quotation marks from comma-separated headers, but an ETag needs them.
    """
    lines = own.split("\r\n") if "\r\n" in own else [header.replace('"', "") for header in _LISTED.findall(own)]
    kept = [line.strip() for line in lines if line.strip()]
    return "".join(f"{line}\r\n" for line in (*kept, further))


NETWORK_STATS = {"CPL_VSIL_NETWORK_STATS_ENABLED": "YES"}
"""Option of GDAL that enables network statistics.

Neither rasterio nor an option of GDAL returns the statistics: they are read from the library that rasterio has loaded
(https://gdal.org/en/stable/api/cpl.html, ``VSINetworkStatsGetAsSerializedJSON``), and are 0 where that fails.
"""


@functools.cache
def _library() -> Any:
    """Return the GDAL library, after it has read its options again; None if its symbols are not accessible."""
    try:
        library = ctypes.CDLL(rasterio._base.__file__)  # includes the symbols of the libraries it is linked with
        library.VSINetworkStatsGetAsSerializedJSON.restype = ctypes.c_void_p
        library.VSINetworkStatsGetAsSerializedJSON.argtypes = [ctypes.c_void_p]
        library.VSIFree.argtypes = [ctypes.c_void_p]
        library.VSIFree.restype = None
        library.VSINetworkStatsReset.restype = None
        library.VSINetworkStatsReset()
    except (AttributeError, OSError):
        return None
    return library


def enable_network_stats() -> None:
    """Enable the network statistics for good; call it where :data:`NETWORK_STATS` is set."""
    _library()


def downloaded_bytes() -> int:
    """Return the bytes of bodies that GDAL has downloaded in this process; 0 without statistics."""
    library = _library()
    text = None if library is None else library.VSINetworkStatsGetAsSerializedJSON(None)
    if not text:
        return 0
    try:
        statistics = json.loads(ctypes.string_at(text))
    finally:
        library.VSIFree(text)
    methods: dict[str, dict[str, int]] = statistics.get("methods", {})
    return sum(method.get("downloaded_bytes", 0) for method in methods.values())
