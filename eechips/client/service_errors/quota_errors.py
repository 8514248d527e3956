"""List the errors of quotas: of requests, of compute, and of batch tasks."""

from __future__ import annotations

from functools import partial

from eechips.client.service_errors.error_row import REASONS, USAGE, ErrorAction, ServiceError, passing

_COST = "https://developers.google.com/earth-engine/guides/cost_controls"
_TIERS = "https://developers.google.com/earth-engine/guides/noncommercial_tiers"
_DAILY = "https://developers.google.com/android-publisher/quotas"

_RAISE_QUOTA = "or have the quota raised at https://console.cloud.google.com/iam-admin/quotas"
_QUOTA_CODES = (400, 402, 403, 429, 503)
_NO_FUNCTION = r"^(?!(?:[A-Z]\w*\.)+\w+: )(?=.*(?:quota|usage|limit|eecu))(?=.*(?:exceed|exhaust|used up|reached))"
"""A message about a quota, not one of a function in the expression."""
_PER_DAY = rf"{_NO_FUNCTION}(?=.*(?:\bper ?day\b|\bdaily|perday|\bqpd\b))"
_PER_MONTH = rf"{_NO_FUNCTION}(?=.*(?:\bper ?month\b|\bmonthly|permonth|\bthis month\b))"

_used_up = partial(ServiceError, kind=ErrorAction.UNAVAILABLE, cure=_RAISE_QUOTA)

QUOTA_ERRORS: tuple[ServiceError, ...] = (
    _used_up(
        "daily compute",
        source=_COST,
        cause="the project's compute of the day is used up",
        message=r"daily_eecu_usage_time",
        period="day",
    ),
    _used_up(
        "monthly compute",
        cure="or choose a higher tier: https://developers.google.com/earth-engine/guides/noncommercial_tiers",
        source=_TIERS,
        cause="the project's compute of the month is used up",
        message=_PER_MONTH,
        codes=_QUOTA_CODES,
        period="month",
    ),
    _used_up(
        "monthly quota, by its name",
        source=REASONS,
        cause="a quota per month is used up",
        codes=_QUOTA_CODES,
        window="month",
        period="month",
    ),
    _used_up(
        "daily requests",
        source=_DAILY,
        cause="the project's requests of the day are used up",
        message=r"daily limit (?:exceeded|for)",
        reasons=("dailyLimitExceeded", "dailyLimitExceededUnreg"),
        period="day",
    ),
    _used_up(
        "quota per day",
        source=_DAILY,
        cause="a quota per day is used up",
        message=_PER_DAY,
        codes=_QUOTA_CODES,
        period="day",
    ),
    _used_up(
        "daily quota, by its name",
        source=REASONS,
        cause="a quota per day is used up",
        codes=_QUOTA_CODES,
        window="day",
        period="day",
    ),
    _used_up(
        "custom quota",
        source=_COST,
        cause="a quota that the project's administrator has set is used up",
        message=r"exceeded the custom quota",
    ),
    passing(
        "too many requests",
        source=USAGE,
        message=r"too many requests|rate ?limit ?exceeded",
        reasons=("rateLimitExceeded", "userRateLimitExceeded", "concurrentLimitExceeded"),
    ),
    passing(
        "quota per minute",
        source="https://github.com/gee-community/qgis-earthengine-plugin/issues/202",
        message=r"quota exceeded for quota metric",
        reasons=("RATE_LIMIT_EXCEEDED",),
    ),
    _used_up(
        "resource quota",
        source=REASONS,
        cause="a quota of the project is used up",
        reasons=("RESOURCE_QUOTA_EXCEEDED", "quotaExceeded"),
    ),
    passing(
        "task queue",
        source="https://developers.google.com/earth-engine/guides/usage#task_queue_length",
        message=r"too many tasks already in the queue",
        is_queue_full=True,
    ),
    ServiceError(
        "request id",
        "`eechips retry`; in a script, a new task",
        "https://developers.google.com/earth-engine/reference/rest/v1/projects.image/export",
        ErrorAction.PERMANENT,
        message=r"already started with the given request_id",
    ),
)
