"""List the errors of projects, accounts and credentials, with their messages, such as that of an expired token.

:mod:`eechips.client.access.access_token` tells of logins that cannot be renewed.
"""

from __future__ import annotations

from functools import partial

from eechips.client.service_errors.error_row import REASONS, ErrorAction, ServiceError

_ACCESS = "https://developers.google.com/earth-engine/guides/access"

_REGISTER = (
    "register the project at https://code.earthengine.google.com/register, name another one"
    " (`project` or EECHIPS_PROJECT), or run without an account (`local`)"
)
_AUTHENTICATE = (
    "run `earthengine authenticate --force`, name a key file (`credentials`), or run without an account (`local`)"
)

_refused = partial(ServiceError, kind=ErrorAction.CONFIGURATION)

ACCESS_ERRORS: tuple[ServiceError, ...] = (
    _refused(
        "quota project",
        "run `gcloud auth application-default set-quota-project PROJECT`, or `earthengine authenticate`",
        "https://cloud.google.com/docs/authentication/adc-troubleshooting/user-creds",
        message=r"requires a quota project",
    ),
    _refused(
        "API disabled",
        f"enable the API at https://console.cloud.google.com/apis/library/earthengine.googleapis.com, or {_REGISTER}",
        "https://github.com/google/earthengine-community/issues/762",
        message=r"has not been used in project|(?:api|service) (?:is|has been) disabled",
        reasons=("SERVICE_DISABLED", "accessNotConfigured", "SERVICE_NOT_VISIBLE"),
    ),
    _refused(
        "not registered",
        _REGISTER,
        _ACCESS,
        message=r"is not registered to use earth engine|project is not registered|not signed up for earth engine",
    ),
    ServiceError(
        "suspended",
        "see https://cloud.google.com/resource-manager/docs/project-suspension-guidelines, or name another `project`",
        "https://github.com/kubernetes/minikube/issues/17959",
        ErrorAction.UNAVAILABLE,
        cause="the project is suspended",
        message=r"(?:consumer|project)\b.{0,120}\b(?:has been|is) suspended",
        reasons=("CONSUMER_SUSPENDED", "GCP_SUSPENDED"),
    ),
    ServiceError(
        "billing",
        "enable billing at https://console.cloud.google.com/billing, or name another `project`",
        "https://github.com/GoogleCloudPlatform/java-docs-samples/issues/276",
        ErrorAction.UNAVAILABLE,
        cause="billing is disabled for the project",
        message=r"billing (?:account )?(?:is |has been )?(?:disabled|closed)|requires billing to be enabled"
        r"|absent billing account|not configured billing|billing must be enabled",
        reasons=("BILLING_DISABLED", "billingNotEnabled", "accountDisabled"),
        codes=(400, 402, 403, 412, 429),
    ),
    _refused(
        "no use of the project",
        "ask the project's owner for the roles Service Usage Consumer and Earth Engine Resource Viewer, name another"
        " `project`, or run without an account (`local`)",
        "https://github.com/nasaharvest/street2sat/pull/51",
        message=r"^permission denied\.?$|caller does not have required permission to use project"
        r"|permission 'earthengine\.(?:computations|exports|thumbnails|maps|tables)\.create' denied"
        r"|permission denied on resource project|permission 'serviceusage\.services\.use'",
        reasons=("USER_PROJECT_DENIED", "CONSUMER_INVALID", "RESOURCE_PROJECT_INVALID", "PROJECT_INVALID"),
    ),
    _refused(
        "policy of the organisation",
        "ask the organisation's administrator, or run where VPC Service Controls allow it",
        REASONS,
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
        _AUTHENTICATE,
        REASONS,
        ErrorAction.CREDENTIALS,
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
    _refused(
        "scopes",
        f"make them again: {_AUTHENTICATE}",
        REASONS,
        message=r"insufficient authentication scopes",
        reasons=("ACCESS_TOKEN_SCOPE_INSUFFICIENT", "insufficientPermissions"),
    ),
    _refused(
        "API key",
        _AUTHENTICATE,
        REASONS,
        reasons=(
            "API_KEY_SERVICE_BLOCKED",
            "API_KEY_HTTP_REFERRER_BLOCKED",
            "API_KEY_IP_ADDRESS_BLOCKED",
            "API_KEY_ANDROID_APP_BLOCKED",
            "API_KEY_IOS_APP_BLOCKED",
        ),
    ),
    _refused(
        "bucket",
        "give your account the role Storage Object Admin for the bucket, or name another one (`export_to`)",
        "https://github.com/r-spatial/rgee/blob/master/vignettes/setup_gcs.Rmd",
        message=r"unable to write to bucket",
    ),
)
