"""List the errors of quotas: of requests, of compute, and of batch tasks."""

from __future__ import annotations

from eechips.client.service_errors.error_row import (
    ErrorAction,
    Example,
    ServiceError,
    permission_denied,
    resource_exhausted,
)

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
        "the project's compute of the day is used up",
        _RAISE_QUOTA,
        _COST,
        resource_exhausted(
            "Your usage exceeded the custom quota for 'earthengine.googleapis.com/daily_eecu_usage_time', which is"
            " adjustable by your administrator in the Google Cloud console:"
            " https://console.cloud.google.com/quotas/?project=_."
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
        resource_exhausted(
            "Your usage exceeded the custom quota for 'earthengine.googleapis.com/monthly_eecu_usage_time'."
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
        resource_exhausted("Quota exceeded.", "RATE_LIMIT_EXCEEDED", "EecuSecondsPerMonthPerProject"),
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
        permission_denied(
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
        resource_exhausted(
            "Quota exceeded for quota metric 'Number of read requests' and limit 'Number of read requests per day' of"
            " service 'earthengine.googleapis.com' for consumer 'project_number:599401802498'."
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
        resource_exhausted("Quota exceeded.", "RATE_LIMIT_EXCEEDED", "defaultPerDayPerProject", "1/d/{project}"),
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
        resource_exhausted(
            "Too Many Requests: Request was rejected because the request rate or concurrency limit was exceeded."
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
        resource_exhausted(
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
        resource_exhausted("Quota exceeded.", "RESOURCE_QUOTA_EXCEEDED", "VMsPerProject"),
        reasons=("RESOURCE_QUOTA_EXCEEDED", "quotaExceeded"),
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
        is_queue_full=True,
    ),
    ServiceError(
        "request id",
        ErrorAction.PERMANENT,
        "the id of a request that starts a batch task was used before",
        "`eechips retry`; in a script, a new task",
        "https://developers.google.com/earth-engine/reference/rest/v1/projects.image/export",
        Example(409, "ALREADY_EXISTS", "A different Operation was already started with the given request_id."),
        message=r"already started with the given request_id",
    ),
)
