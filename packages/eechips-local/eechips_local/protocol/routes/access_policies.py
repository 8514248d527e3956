"""Keep access policies of assets, and return them. They forbid nothing: every client may read and change everything.

See https://developers.google.com/earth-engine/reference/rest/Shared.Types/Policy.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from eechips_local.assets.asset_names import asset_id
from eechips_local.assets.writable_assets import changes_of, changing, writable_folder
from eechips_local.evaluation.context import Context
from eechips_local.protocol.messages import ServiceRequest, ServiceResponse, encode_json
from eechips_local.protocol.request_errors import EarthEngineError, NotFoundError

_PUBLIC = {"bindings": [{"role": "roles/viewer", "members": ["allUsers"]}]}
_READING = ("earthengine.assets.get", "earthengine.assets.list", "earthengine.assets.getIamPolicy")


class PolicyChangedError(EarthEngineError):
    """Another client has changed the policy since it was read (HTTP 409)."""

    code = 409
    status = "ABORTED"


def get_policy(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``assets.getIamPolicy``. Assets that clients cannot change can be read by all."""
    target = _existing(request, context)
    return encode_json(_with_etag(_policy(target, context)))


def set_policy(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``assets.setIamPolicy``: replace the policy, if it still has the etag of the request."""
    target, folder = _existing(request, context), writable_folder(context)
    new = {name: value for name, value in (request.body.get("policy") or {}).items() if name != "etag"}
    etag = (request.body.get("policy") or {}).get("etag")

    def change(present: Mapping[str, Any]) -> Mapping[str, Any]:
        if etag and etag != _etag(present):
            raise PolicyChangedError(
                "There were concurrent policy changes. Please retry the whole read-modify-write with exponential"
                " backoff."
            )
        return new

    with changing():
        changes_of(folder).set_policy(target, change)
    return encode_json(_with_etag(new))


def test_permissions(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``assets.testIamPermissions``: all permissions of assets that clients may change, those to read of others."""
    target = _existing(request, context)
    asked = list(request.body.get("permissions") or ())
    permissions = asked if _is_writable(target, context) else [name for name in asked if name in _READING]
    return encode_json({"permissions": permissions} if permissions else {})


def _existing(request: ServiceRequest, context: Context) -> str:
    target = asset_id(request.name)
    if context.store.get(target) is None:
        raise NotFoundError(f"Asset '{target}' does not exist or doesn't allow this operation.")
    return target


def _is_writable(target: str, context: Context) -> bool:
    if context.writable is None:
        return False
    with changing():
        return bool(changes_of(context.writable).has(target))


def _policy(target: str, context: Context) -> Mapping[str, Any]:
    if not _is_writable(target, context):
        return _PUBLIC
    with changing():
        policy: Mapping[str, Any] = changes_of(writable_folder(context)).policy(target)
    return policy


def _with_etag(policy: Mapping[str, Any]) -> dict[str, Any]:
    return {**policy, "etag": _etag(policy)}


def _etag(policy: Mapping[str, Any]) -> str:
    text = json.dumps(policy, sort_keys=True).encode()
    return base64.b64encode(hashlib.sha256(text).digest()[:8]).decode()
