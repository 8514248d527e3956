"""List the errors of quotas: of requests, of compute, and of batch tasks."""

from __future__ import annotations

from eechips.client.service_errors.error_row import ErrorAction, ServiceError

_USAGE = "https://developers.google.com/earth-engine/guides/usage"
_COST = "https://developers.google.com/earth-engine/guides/cost_controls"
_TIERS = "https://developers.google.com/earth-engine/guides/noncommercial_tiers"
_REASONS = "https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto"
_DAILY = "https://developers.google.com/android-publisher/quotas"

_RAISE_QUOTA = "or have the quota raised at https://console.cloud.google.com/iam-admin/quotas"
_QUOTA_CODES = (400, 402, 403, 429, 503)
_NO_FUNCTION = r"^(?!(?:[A-Z]\w*\.)+\w+: )(?=.*(?:quota|usage|limit|eecu))(?=.*(?:exceed|exhaust|used up|reached))"
"""A message about a quota, not one of a function in the expression."""
_PER_DAY = rf"{_NO_FUNCTION}(?=.*(?:\bper ?day\b|\bdaily|perday|\bqpd\b))"
_PER_MONTH = rf"{_NO_FUNCTION}(?=.*(?:\bper ?month\b|\bmonthly|permonth|\bthis month\b))"

QUOTA_ERRORS: tuple[ServiceError, ...] = (
    ServiceError(
        "daily compute",
        ErrorAction.UNAVAILABLE,
        _RAISE_QUOTA,
        _COST,
        cause="the project's compute of the day is used up",
        message=r"daily_eecu_usage_time",
        period="day",
    ),
    ServiceError(
        "monthly compute",
        ErrorAction.UNAVAILABLE,
        "or choose a higher tier: https://developers.google.com/earth-engine/guides/noncommercial_tiers",
        _TIERS,
        cause="the project's compute of the month is used up",
        message=_PER_MONTH,
        codes=_QUOTA_CODES,
        period="month",
    ),
    ServiceError(
        "monthly quota, by its name",
        ErrorAction.UNAVAILABLE,
        _RAISE_QUOTA,
        _REASONS,
        cause="a quota per month is used up",
        codes=_QUOTA_CODES,
        window="month",
        period="month",
    ),
    ServiceError(
        "daily requests",
        ErrorAction.UNAVAILABLE,
        _RAISE_QUOTA,
        _DAILY,
        cause="the project's requests of the day are used up",
        message=r"daily limit (?:exceeded|for)",
        reasons=("dailyLimitExceeded", "dailyLimitExceededUnreg"),
        period="day",
    ),
    ServiceError(
        "quota per day",
        ErrorAction.UNAVAILABLE,
        _RAISE_QUOTA,
        _DAILY,
        cause="a quota per day is used up",
        message=_PER_DAY,
        codes=_QUOTA_CODES,
        period="day",
    ),
    ServiceError(
        "daily quota, by its name",
        ErrorAction.UNAVAILABLE,
        _RAISE_QUOTA,
        _REASONS,
        cause="a quota per day is used up",
        codes=_QUOTA_CODES,
        window="day",
        period="day",
    ),
    ServiceError(
        "custom quota",
        ErrorAction.UNAVAILABLE,
        _RAISE_QUOTA,
        _COST,
        cause="a quota that the project's administrator has set is used up",
        message=r"exceeded the custom quota",
    ),
    ServiceError(
        "too many requests",
        ErrorAction.TRANSIENT,
        "",
        _USAGE,
        message=r"too many requests|rate ?limit ?exceeded",
        reasons=("rateLimitExceeded", "userRateLimitExceeded", "concurrentLimitExceeded"),
    ),
    ServiceError(
        "quota per minute",
        ErrorAction.TRANSIENT,
        "",
        "https://github.com/gee-community/qgis-earthengine-plugin/issues/202",
        message=r"quota exceeded for quota metric",
        reasons=("RATE_LIMIT_EXCEEDED",),
    ),
    ServiceError(
        "resource quota",
        ErrorAction.UNAVAILABLE,
        _RAISE_QUOTA,
        _REASONS,
        cause="a quota of the project is used up",
        reasons=("RESOURCE_QUOTA_EXCEEDED", "quotaExceeded"),
    ),
    ServiceError(
        "task queue",
        ErrorAction.TRANSIENT,
        "",
        "https://developers.google.com/earth-engine/guides/usage#task_queue_length",
        message=r"too many tasks already in the queue",
        is_queue_full=True,
    ),
    ServiceError(
        "request id",
        ErrorAction.PERMANENT,
        "`eechips retry`; in a script, a new task",
        "https://developers.google.com/earth-engine/reference/rest/v1/projects.image/export",
        message=r"already started with the given request_id",
    ),
)
