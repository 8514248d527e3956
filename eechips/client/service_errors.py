"""List the errors of Earth Engine and of Google's API gateway that reach this client.

The service sends the same status for different matters, so a row is found by the reason of ``google.rpc.ErrorInfo``
(or of the older ``errors[]`` list) or by the message, and only then by the status. The first row that matches counts:
see :func:`find_error`. What no row matches is unknown, and recorded as such.

``docs/reference/errors.md`` lists the same rows for readers; a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

Period = Literal["day", "month"]
QuotaWindow = Literal["", "minute", "day", "month"]
"""Over which a quota counts, if an error's details say it; ``minute`` for all that is shorter than a day."""


class ErrorAction(Enum):
    """Reaction to an error of the service."""

    TRANSIENT = "send again"
    TOO_LARGE = "split"
    INDIVISIBLE = "fail the unit: a part is as large as the whole"
    PERMANENT = "fail the unit"
    UNAVAILABLE = "stop the run; resume later"
    CONFIGURATION = "stop the run"
    CREDENTIALS = "stop the run: the credentials are refused"


@dataclass(frozen=True, slots=True)
class Example:
    """A real body of the error.

    Attributes:
        code: HTTP status.
        status: word of ``google.rpc.Code``.
        message: as the service writes it.
        reason: of ``google.rpc.ErrorInfo``; empty where none is sent.
        quota_limit: metadata of the ErrorInfo.
        quota_unit: metadata of the ErrorInfo.
    """

    code: int
    status: str
    message: str
    reason: str = ""
    quota_limit: str = ""
    quota_unit: str = ""


@dataclass(frozen=True, slots=True)
class ServiceError:
    """One row.

    Attributes:
        name: of the row.
        kind: what to do.
        cause: what happened, a clause without a full stop.
        cure: what the user can do, a clause without a full stop.
        source: where it is documented.
        example: of a body.
        message: regular expression, searched in the message; empty for none.
        reasons: of ErrorInfo, in capitals, or of ``errors[]``.
        codes: HTTP statuses; empty for any. A row with neither message, reasons nor window is found by them alone.
        window: of a quota that the details of the error name; such a row needs neither message nor reason.
        period: after which the quota is renewed. Details that name another period rule the row out.
    """

    name: str
    kind: ErrorAction
    cause: str
    cure: str
    source: str
    example: Example
    message: str = ""
    reasons: tuple[str, ...] = ()
    codes: tuple[int, ...] = ()
    window: QuotaWindow = ""
    period: Period | None = None


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """Content of an error body.

    Attributes:
        message: the service's message.
        reasons: of ``google.rpc.ErrorInfo`` and of ``errors[]``.
        window: of the quota that the error's details name.
        is_whole: False for a JSON object that was cut off or damaged on its way.
    """

    message: str
    reasons: tuple[str, ...] = ()
    window: QuotaWindow = ""
    is_whole: bool = True


_USAGE = "https://developers.google.com/earth-engine/guides/usage"
_COST = "https://developers.google.com/earth-engine/guides/cost_controls"
_TIERS = "https://developers.google.com/earth-engine/guides/noncommercial_tiers"
_DEBUGGING = "https://developers.google.com/earth-engine/guides/debugging"
_ACCESS = "https://developers.google.com/earth-engine/guides/access"
_REASONS = "https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto"
_CODES = "https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto"
_DAILY = "https://developers.google.com/android-publisher/quotas"
_PIXELS = "https://developers.google.com/earth-engine/reference/rest/v1/projects.image/computePixels"
_REDUCE = "https://developers.google.com/earth-engine/apidocs/ee-image-reduceregion"

_RAISE_QUOTA = "or have the quota raised at https://console.cloud.google.com/iam-admin/quotas"
_REGISTER = (
    "register the project at https://code.earthengine.google.com/register, name another one"
    " (`project` or EECHIPS_PROJECT), or run without an account (`local`)"
)
_AUTHENTICATE = "run `earthengine authenticate`, name a key file (`credentials`), or run without an account (`local`)"
_FIX_RECIPE = "correct the recipe or the unit"
_QUOTA_CODES = (400, 402, 403, 429, 503)
_NO_FUNCTION = r"^(?!(?:[A-Z]\w*\.)+\w+: )(?=.*(?:quota|usage|limit|eecu))(?=.*(?:exceed|exhaust|used up|reached))"
"""A message about a quota, not one of a function in the expression."""
_PER_DAY = rf"{_NO_FUNCTION}(?=.*(?:\bper ?day\b|\bdaily|perday|\bqpd\b))"
_PER_MONTH = rf"{_NO_FUNCTION}(?=.*(?:\bper ?month\b|\bmonthly|permonth|\bthis month\b))"

SERVICE_ERRORS: tuple[ServiceError, ...] = (
    ServiceError(
        "daily compute",
        ErrorAction.UNAVAILABLE,
        "the project's compute of the day is used up",
        _RAISE_QUOTA,
        _COST,
        Example(
            429,
            "RESOURCE_EXHAUSTED",
            "Your usage exceeded the custom quota for 'earthengine.googleapis.com/daily_eecu_usage_time', which is"
            " adjustable by your administrator in the Google Cloud console:"
            " https://console.cloud.google.com/quotas/?project=_.",
        ),
        message=r"daily_eecu_usage_time",
        period="day",
    ),
    ServiceError(
        "monthly compute",
        ErrorAction.UNAVAILABLE,
        "the project's compute of the month is used up",
        "or choose a higher tier: https://developers.google.com/earth-engine/guides/noncommercial_tiers",
        _TIERS,
        Example(
            429,
            "RESOURCE_EXHAUSTED",
            "Your usage exceeded the custom quota for 'earthengine.googleapis.com/monthly_eecu_usage_time'.",
        ),
        message=_PER_MONTH,
        codes=_QUOTA_CODES,
        period="month",
    ),
    ServiceError(
        "monthly quota, by its name",
        ErrorAction.UNAVAILABLE,
        "a quota per month is used up",
        _RAISE_QUOTA,
        _REASONS,
        Example(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", "RATE_LIMIT_EXCEEDED", "EecuSecondsPerMonthPerProject"),
        codes=_QUOTA_CODES,
        window="month",
        period="month",
    ),
    ServiceError(
        "daily requests",
        ErrorAction.UNAVAILABLE,
        "the project's requests of the day are used up",
        _RAISE_QUOTA,
        _DAILY,
        Example(
            403,
            "PERMISSION_DENIED",
            "Daily Limit Exceeded. The quota will be reset at midnight Pacific Time (PT). You may monitor your quota"
            " usage and adjust limits in the API Console: https://console.developers.google.com/apis/api/quotas",
            "dailyLimitExceeded",
        ),
        message=r"daily limit (?:exceeded|for)",
        reasons=("dailyLimitExceeded", "dailyLimitExceededUnreg"),
        period="day",
    ),
    ServiceError(
        "quota per day",
        ErrorAction.UNAVAILABLE,
        "a quota per day is used up",
        _RAISE_QUOTA,
        _DAILY,
        Example(
            429,
            "RESOURCE_EXHAUSTED",
            "Quota exceeded for quota metric 'Number of read requests' and limit 'Number of read requests per day' of"
            " service 'earthengine.googleapis.com' for consumer 'project_number:599401802498'.",
        ),
        message=_PER_DAY,
        codes=_QUOTA_CODES,
        period="day",
    ),
    ServiceError(
        "daily quota, by its name",
        ErrorAction.UNAVAILABLE,
        "a quota per day is used up",
        _RAISE_QUOTA,
        _REASONS,
        Example(
            429,
            "RESOURCE_EXHAUSTED",
            "Quota exceeded.",
            "RATE_LIMIT_EXCEEDED",
            "defaultPerDayPerProject",
            "1/d/{project}",
        ),
        codes=_QUOTA_CODES,
        window="day",
        period="day",
    ),
    ServiceError(
        "custom quota",
        ErrorAction.UNAVAILABLE,
        "a quota that the project's administrator has set is used up",
        _RAISE_QUOTA,
        _COST,
        Example(
            400,
            "FAILED_PRECONDITION",
            "Your usage exceeded the custom quota for 'earthengine.googleapis.com/some_usage', which is adjustable by"
            " your administrator in the Google Cloud console.",
        ),
        message=r"exceeded the custom quota",
    ),
    ServiceError(
        "too many requests",
        ErrorAction.TRANSIENT,
        "more requests were in flight, or sent in a second, than the project may send",
        "nothing: eechips sends fewer at once",
        _USAGE,
        Example(
            429,
            "RESOURCE_EXHAUSTED",
            "Too Many Requests: Request was rejected because the request rate or concurrency limit was exceeded.",
        ),
        message=r"too many requests|rate ?limit ?exceeded",
        reasons=("rateLimitExceeded", "userRateLimitExceeded", "concurrentLimitExceeded"),
    ),
    ServiceError(
        "quota per minute",
        ErrorAction.TRANSIENT,
        "a quota per minute, or of requests at once, is used up",
        "nothing: eechips waits",
        "https://github.com/gee-community/qgis-earthengine-plugin/issues/202",
        Example(
            429,
            "RESOURCE_EXHAUSTED",
            "Quota exceeded for quota metric 'Number of read requests' and limit 'Number of read requests per minute"
            " per user' of service 'earthengine.googleapis.com' for consumer 'project_number:599401802498'.",
            "RATE_LIMIT_EXCEEDED",
            "ReadRequestsPerMinutePerUser",
        ),
        message=r"quota exceeded for quota metric",
        reasons=("RATE_LIMIT_EXCEEDED",),
    ),
    ServiceError(
        "resource quota",
        ErrorAction.UNAVAILABLE,
        "a quota of the project is used up",
        _RAISE_QUOTA,
        _REASONS,
        Example(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", "RESOURCE_QUOTA_EXCEEDED", "VMsPerProject"),
        reasons=("RESOURCE_QUOTA_EXCEEDED", "quotaExceeded"),
    ),
    ServiceError(
        "concurrent aggregations",
        ErrorAction.TRANSIENT,
        "too many aggregations ran at once",
        "nothing: eechips sends fewer at once",
        _DEBUGGING,
        Example(429, "RESOURCE_EXHAUSTED", "Too many concurrent aggregations."),
        message=r"too many concurrent aggregations",
    ),
    ServiceError(
        "capacity",
        ErrorAction.TRANSIENT,
        "Earth Engine is overloaded",
        "nothing: eechips sends the request again",
        _DEBUGGING,
        Example(503, "UNAVAILABLE", "Earth Engine capacity exceeded."),
        message=r"earth engine (?:memory )?capacity exceeded",
    ),
    ServiceError(
        "task queue",
        ErrorAction.TRANSIENT,
        "the project has as many batch tasks in the queue as it may",
        "nothing: eechips sends the request again",
        "https://developers.google.com/earth-engine/guides/usage#task_queue_length",
        Example(
            400,
            "RESOURCE_EXHAUSTED",
            "Too many tasks already in the queue (3000). Please wait for some of them to complete.",
        ),
        message=r"too many tasks already in the queue",
    ),
    ServiceError(
        "payload",
        ErrorAction.INDIVISIBLE,
        "the expression is longer than a request may be",
        "send less with each request, such as an asset's id instead of its geometry",
        _USAGE,
        Example(413, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 10485760 bytes."),
        message=r"request payload size exceeds",
    ),
    ServiceError(
        "maxPixels",
        ErrorAction.INDIVISIBLE,
        "a reduction in the expression covers more pixels than it may",
        "give it a coarser scale, maxPixels or bestEffort",
        _REDUCE,
        Example(
            400,
            "INVALID_ARGUMENT",
            "Image.reduceRegion: Too many pixels in the region. Found 105000000, but maxPixels allows only 10000000.",
        ),
        message=r"too many pixels in the region",
    ),
    ServiceError(
        "request size",
        ErrorAction.TOO_LARGE,
        "the pixels of a request are more than it may have",
        "nothing: eechips asks for parts",
        _PIXELS,
        Example(
            400,
            "INVALID_ARGUMENT",
            "Total request size (56623104 bytes) must be less than or equal to 50331648 bytes.",
        ),
        message=r"total request size \(.*\) must be less than or equal to|pixel grid dimensions \(.*\) must be less"
        r"|output of image computation is too large|reprojection output too large|object too large \("
        r"|response size exceeds limit|computed value is too large",
    ),
    ServiceError(
        "memory",
        ErrorAction.TOO_LARGE,
        "a computation needs more memory than it may",
        "nothing: eechips asks for parts",
        _DEBUGGING,
        Example(400, "INVALID_ARGUMENT", "User memory limit exceeded."),
        message=r"user memory limit exceeded",
    ),
    ServiceError(
        "time",
        ErrorAction.TOO_LARGE,
        "a computation took longer than it may",
        "nothing: eechips asks for parts",
        _DEBUGGING,
        Example(400, "INVALID_ARGUMENT", "Computation timed out."),
        message=r"computation timed out",
    ),
    ServiceError(
        "elements",
        ErrorAction.TOO_LARGE,
        "a collection has more elements than a request may ask for",
        "nothing: eechips asks for pages",
        _DEBUGGING,
        Example(400, "INVALID_ARGUMENT", "Collection query aborted after accumulating over 5000 elements."),
        message=r"collection query aborted after accumulating over",
    ),
    ServiceError(
        "API disabled",
        ErrorAction.CONFIGURATION,
        "the Earth Engine API is not enabled in the project",
        f"enable the API at https://console.cloud.google.com/apis/library/earthengine.googleapis.com, or {_REGISTER}",
        "https://github.com/google/earthengine-community/issues/762",
        Example(
            403,
            "PERMISSION_DENIED",
            "Google Earth Engine API has not been used in project 522309567947 before or it is disabled. Enable it by"
            " visiting https://console.developers.google.com/apis/api/earthengine.googleapis.com/overview?project="
            "522309567947 then retry.",
            "SERVICE_DISABLED",
        ),
        message=r"has not been used in project|(?:api|service) (?:is|has been) disabled",
        reasons=("SERVICE_DISABLED", "accessNotConfigured", "SERVICE_NOT_VISIBLE"),
    ),
    ServiceError(
        "not registered",
        ErrorAction.CONFIGURATION,
        "the project is not registered for Earth Engine",
        _REGISTER,
        _ACCESS,
        Example(
            403,
            "PERMISSION_DENIED",
            "Not signed up for Earth Engine or project is not registered. Visit"
            " https://developers.google.com/earth-engine/guides/access",
        ),
        message=r"is not registered to use earth engine|project is not registered|not signed up for earth engine",
    ),
    ServiceError(
        "suspended",
        ErrorAction.UNAVAILABLE,
        "the project is suspended",
        "see https://cloud.google.com/resource-manager/docs/project-suspension-guidelines, or name another `project`",
        "https://github.com/kubernetes/minikube/issues/17959",
        Example(
            403,
            "PERMISSION_DENIED",
            "Permission denied: Consumer 'projects/ee-someone' has been suspended.",
            "CONSUMER_SUSPENDED",
        ),
        message=r"(?:consumer|project)\b.{0,120}\b(?:has been|is) suspended",
        reasons=("CONSUMER_SUSPENDED", "GCP_SUSPENDED"),
    ),
    ServiceError(
        "billing",
        ErrorAction.UNAVAILABLE,
        "billing is disabled for the project",
        "enable billing at https://console.cloud.google.com/billing, or name another `project`",
        "https://github.com/GoogleCloudPlatform/java-docs-samples/issues/276",
        Example(
            403,
            "PERMISSION_DENIED",
            "Project charming-module-137923 (#808448574146) has billing disabled. Please enable it.",
            "BILLING_DISABLED",
        ),
        message=r"billing (?:account )?(?:is |has been )?(?:disabled|closed)|requires billing to be enabled"
        r"|absent billing account|not configured billing|billing must be enabled",
        reasons=("BILLING_DISABLED", "billingNotEnabled", "accountDisabled"),
        codes=(400, 402, 403, 412, 429),
    ),
    ServiceError(
        "no use of the project",
        ErrorAction.CONFIGURATION,
        "the account may not use the project",
        "ask the project's owner for the roles Service Usage Consumer and Earth Engine Resource Viewer, name another"
        " `project`, or run without an account (`local`)",
        "https://github.com/nasaharvest/street2sat/pull/51",
        Example(
            403,
            "PERMISSION_DENIED",
            "Caller does not have required permission to use project my-project. Grant the caller the"
            " roles/serviceusage.serviceUsageConsumer role, or a custom role with the serviceusage.services.use"
            " permission, by visiting https://console.developers.google.com/iam-admin/iam/project?project=my-project"
            " and then retry. Propagation of the new permission may take a few minutes.",
            "USER_PROJECT_DENIED",
        ),
        message=r"caller does not have required permission to use project"
        r"|permission 'earthengine\.(?:computations|thumbnails|maps|tables)\.create' denied"
        r"|permission denied on resource project|permission 'serviceusage\.services\.use'",
        reasons=("USER_PROJECT_DENIED", "CONSUMER_INVALID", "RESOURCE_PROJECT_INVALID", "PROJECT_INVALID"),
    ),
    ServiceError(
        "policy of the organisation",
        ErrorAction.CONFIGURATION,
        "a policy of the organisation refuses the request",
        "ask the organisation's administrator, or run where VPC Service Controls allow it",
        _REASONS,
        Example(
            403,
            "PERMISSION_DENIED",
            "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: 123456789abcde",
            "SECURITY_POLICY_VIOLATED",
        ),
        message=r"prohibited by organization's policy",
        reasons=(
            "SECURITY_POLICY_VIOLATED",
            "ORG_RESTRICTION_VIOLATION",
            "ORG_RESTRICTION_HEADER_INVALID",
            "LOCATION_POLICY_VIOLATED",
            "LOCATION_ORG_POLICY_VIOLATED",
            "LOCATION_TAX_POLICY_VIOLATED",
            "RESOURCE_USAGE_RESTRICTION_VIOLATED",
            "USER_BLOCKED_BY_ADMIN",
        ),
    ),
    ServiceError(
        "credentials",
        ErrorAction.CREDENTIALS,
        "the credentials are refused",
        _AUTHENTICATE,
        _REASONS,
        Example(
            401,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid"
            " authentication credential.",
            "ACCESS_TOKEN_EXPIRED",
        ),
        reasons=(
            "ACCESS_TOKEN_EXPIRED",
            "ACCESS_TOKEN_TYPE_UNSUPPORTED",
            "ACCOUNT_STATE_INVALID",
            "CREDENTIALS_MISSING",
            "SESSION_COOKIE_INVALID",
            "OVERLOADED_CREDENTIALS",
            "API_KEY_INVALID",
            "authError",
        ),
        codes=(401,),
    ),
    ServiceError(
        "scopes",
        ErrorAction.CONFIGURATION,
        "the credentials were made without the scope of Earth Engine",
        f"make them again: {_AUTHENTICATE}",
        _REASONS,
        Example(
            403,
            "PERMISSION_DENIED",
            "Request had insufficient authentication scopes.",
            "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
        ),
        message=r"insufficient authentication scopes",
        reasons=("ACCESS_TOKEN_SCOPE_INSUFFICIENT", "insufficientPermissions"),
    ),
    ServiceError(
        "API key",
        ErrorAction.CONFIGURATION,
        "the API key may not be used for this",
        _AUTHENTICATE,
        _REASONS,
        Example(403, "PERMISSION_DENIED", "Requests from this client are blocked.", "API_KEY_SERVICE_BLOCKED"),
        reasons=(
            "API_KEY_SERVICE_BLOCKED",
            "API_KEY_HTTP_REFERRER_BLOCKED",
            "API_KEY_IP_ADDRESS_BLOCKED",
            "API_KEY_ANDROID_APP_BLOCKED",
            "API_KEY_IOS_APP_BLOCKED",
        ),
    ),
    ServiceError(
        "asset",
        ErrorAction.PERMANENT,
        "an asset does not exist, or may not be read",
        "correct its id, or have it shared",
        _DEBUGGING,
        Example(
            400,
            "INVALID_ARGUMENT",
            "Image.load: Image asset 'NO/SUCH' not found (does not exist or caller does not have access).",
        ),
        message=r"asset '?[^']*'? not found|does not exist or caller does not have access"
        r"|permission 'earthengine\.[\w.]+' denied on resource",
    ),
    ServiceError(
        "expression",
        ErrorAction.PERMANENT,
        "a function of the expression fails for the unit",
        _FIX_RECIPE,
        _DEBUGGING,
        Example(
            400,
            "INVALID_ARGUMENT",
            "Image.select: Band pattern 'B99' did not match any bands. Available bands: [R, G, B, N]",
        ),
        message=r"^(?:[A-Z]\w*\.)+\w+(?:\(\))?: |^[A-Z]\w+: |did not match any bands|error in map\(ID="
        r"|parameter '\w+' is required|unrecognized argument type|expected a \w+; the expression is of type"
        r"|invalid json payload|is not a valid \w+|no band named",
        codes=(400,),
    ),
    ServiceError(
        "not found",
        ErrorAction.PERMANENT,
        "what was asked for does not exist, or its name has expired",
        _FIX_RECIPE,
        _CODES,
        Example(404, "NOT_FOUND", "Not found: the name does not exist or has expired."),
        codes=(404,),
    ),
    ServiceError(
        "internal",
        ErrorAction.TRANSIENT,
        "Earth Engine failed",
        "nothing: eechips sends the request again",
        _DEBUGGING,
        Example(500, "INTERNAL", "An internal error has occurred."),
        codes=tuple(range(500, 600)),
    ),
    ServiceError(
        "try again",
        ErrorAction.TRANSIENT,
        "the service asks for the request again",
        "nothing: eechips sends it again",
        "https://www.rfc-editor.org/rfc/rfc9110#name-408-request-timeout",
        Example(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
        codes=(408, 425, 429),
    ),
    ServiceError(
        "redirection",
        ErrorAction.TRANSIENT,
        "a redirection came, which Earth Engine does not send: a login page may be in between",
        "log in to the network, or check the proxy",
        "https://www.rfc-editor.org/rfc/rfc9110#name-redirection-3xx",
        Example(302, "", "Moved to a captive portal."),
        codes=tuple(range(300, 400)),
    ),
)


def quota_window(unit: str, names: Sequence[str] = ()) -> QuotaWindow:
    """Return over which a quota counts.

    Args:
        unit: ``quota_unit`` of an ErrorInfo, such as ``1/d/{project}`` or ``1/min/{project}/{user}``. The syntax is
            that of ``google.api.QuotaLimit.unit``: quotas with other units are not renewed by time.
        names: of the limit and its metric, such as ``ReadsPerDayPerProject`` or
            ``earthengine.googleapis.com/daily_eecu_usage_time``.
    """
    found = re.search(r"/(s|min|h|d|mo)\b", unit)
    if found is not None:
        return _UNITS.get(found[1], "minute")
    for name in names:
        for window, pattern in _NAMED.items():
            if re.search(pattern, name, re.IGNORECASE):
                return window
    return ""


_UNITS: Mapping[str, QuotaWindow] = {"d": "day", "mo": "month"}
_NAMED: Mapping[QuotaWindow, str] = {
    "minute": r"per[_-]?(?:min|sec|hour|100s)|qpm|qps",
    "day": r"per[_-]?day|daily|qpd",
    "month": r"per[_-]?month|monthly",
}


def find_error(code: int, body: ErrorBody, table: Sequence[ServiceError] = SERVICE_ERRORS) -> ServiceError | None:
    """Return the first row that an answer matches; None if it is unknown.

    Args:
        code: HTTP status.
        body: of the answer.
        table: rows.
    """
    return next((row for row in table if _matches(row, code, body)), None)


def _matches(row: ServiceError, code: int, body: ErrorBody) -> bool:
    is_said = bool(row.message) and re.search(row.message, body.message, re.IGNORECASE | re.DOTALL) is not None
    is_named = bool(set(row.reasons) & set(body.reasons))
    if row.period and body.window not in ("", row.period):
        return False  # of the words of a message, "per day" may be an advice
    if row.kind is ErrorAction.CREDENTIALS:
        return is_named or code in row.codes
    if row.codes and code not in row.codes:
        return is_named
    if row.window:
        return row.window == body.window
    return is_said or is_named or not (row.message or row.reasons)
