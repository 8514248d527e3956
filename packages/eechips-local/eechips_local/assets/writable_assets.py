"""Check what clients may change: the folder of ``--export-assets``, names and lengths of properties; turn errors of the
asset store into the service's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from eechips_local.evaluation.context import Context
from eechips_local.protocol.request_errors import EarthEngineError, InvalidError, NotFoundError
from eechips_local.stores import WritableFolder
from eechips_local.values import list_filter

if TYPE_CHECKING:
    from eechips_local.assets.asset_changes import AssetChanges

OPTION = "--export-assets"
"""Option of a server with the folder whose assets may be changed."""
TIMES = {"startTime": "system:time_start", "endTime": "system:time_end"}
"""Properties that have times, by the fields of assets."""
_MOST_BYTES = 16_384
OWN = ("system:index", "system:footprint", "system:id", "system:version", "system:asset_size")
"""Properties that Earth Engine gives an asset itself."""
_KEY = re.compile(r"(?:system:)?[A-Za-z0-9_]+")
"""Names of properties: https://github.com/tracek/gee_asset_manager/issues/59 has the message, which ``v1alpha`` gave
for ``system:time_start`` too. Google's reference of ``ImageManifest`` calls the times deprecated, and the same project
(``metadata_loader.py``) allows further names of ``system:``; all are taken.
"""


def is_too_long(value: Any) -> bool:
    """Return whether a value has more bytes of UTF-8 than an image or a collection keeps of a property.

    openforis/sepal@7e954a39 measured it (``earthEngineAssetProperties.js``): a change with such a value is refused as a
    whole, and an export ends well without the property.
    """
    return isinstance(value, str) and len(value.encode()) > _MOST_BYTES


class FailedPreconditionError(EarthEngineError):
    """What the server, or an asset, is now does not allow the method (HTTP 400)."""

    code = 400
    status = "FAILED_PRECONDITION"


def writable_folder(context: Context) -> WritableFolder:
    """Return the folder whose assets clients may change.

    Raises:
        FailedPreconditionError: if the server has none; names its option.
    """
    if context.writable is None:
        raise FailedPreconditionError(
            f"This local Earth Engine has no folder for assets of clients: start it with {OPTION} DIR."
        )
    return context.writable


def changes_of(folder: WritableFolder) -> AssetChanges:
    """Return what changes the assets of a folder."""
    # Here, since a server without folders has no use for the libraries of assets.
    from eechips_local.assets.asset_changes import AssetChanges

    return AssetChanges(folder.path.absolute(), most_bytes=folder.most_bytes, most_assets=folder.most_assets)


def check_vacant(id: str, context: Context) -> None:
    """Check that no asset has an id, in no folder of the server.

    Raises:
        InvalidError: with Earth Engine's message, if one has.
    """
    if context.store.get(id) is not None:
        raise InvalidError(f"Cannot overwrite asset '{id}'.")


@contextmanager
def changing() -> Iterator[None]:
    """Turn errors of the folder of assets into the service's."""
    # Here, since a server without folders has no use for the libraries of assets.
    from eechips_local.assets import asset_errors

    try:
        yield
    except asset_errors.UnknownAssetError as error:
        raise NotFoundError(str(error)) from error
    except (asset_errors.AssetChangeError, asset_errors.QuotaExceededError) as error:
        raise FailedPreconditionError(str(error)) from error
    except asset_errors.AssetError as error:
        raise InvalidError(str(error)) from error


def _moment(value: str | Mapping[str, Any]) -> int:
    """Return milliseconds since 1970 of a checked time: RFC 3339, or seconds and nanoseconds.

    Raises:
        InvalidError: if it is none.
    """
    if isinstance(value, str):
        return list_filter.moment(value)
    return int(value.get("seconds") or 0) * 1000 + int(value.get("nanos") or 0) // 1_000_000


def properties_of(asset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties of an asset in a request, with its times, title and description.

    Raises:
        InvalidError: if one is Earth Engine's own, or has a name that it refuses.
    """
    properties = dict(asset.get("properties") or {})
    properties.update({name: asset[name] for name in ("title", "description") if asset.get(name) is not None})
    own = sorted(set(properties) & set(OWN))
    if own:
        raise InvalidError(f"The property {own[0]} is Earth Engine's own: leave it out.")
    wrong = next((name for name, value in properties.items() if value is not None and not _KEY.fullmatch(name)), None)
    if wrong is not None:
        what = f'Property key "{wrong[:300]}" is invalid.'
        raise InvalidError(f"{what} Property keys must contain only letters, digits, and underscores.")
    long = next((name for name, value in properties.items() if is_too_long(value)), None)
    if long is not None:
        raise InvalidError(f'The value of the property "{long}" has more than {_MOST_BYTES} bytes.')
    texts = {key: properties[key] for key in TIMES.values() if isinstance(properties.get(key), str)}
    times = {key: asset[name] for name, key in TIMES.items() if asset.get(name) is not None}
    properties.update({key: _moment(time) for key, time in (texts | times).items()})
    return {name: value for name, value in properties.items() if value is not None}
