"""List the errors of projects, accounts and credentials, with their messages, such as that of an expired token.

:mod:`eechips.client.access.access_token` tells of logins that cannot be renewed.
"""

from __future__ import annotations

from eechips.client.service_errors.error_row import ErrorAction, Example, ServiceError, permission_denied

_ACCESS = "https://developers.google.com/earth-engine/guides/access"
_REASONS = "https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto"

_REGISTER = (
    "register the project at https://code.earthengine.google.com/register, name another one"
    " (`project` or EECHIPS_PROJECT), or run without an account (`local`)"
)
_AUTHENTICATE = (
    "run `earthengine authenticate --force`, name a key file (`credentials`), or run without an account (`local`)"
)

ACCESS_ERRORS: tuple[ServiceError, ...] = (
    ServiceError(
        "quota project",
        ErrorAction.CONFIGURATION,
        "gcloud's credentials name no project",
        "run `gcloud auth application-default set-quota-project PROJECT`, or `earthengine authenticate`",
        "https://cloud.google.com/docs/authentication/adc-troubleshooting/user-creds",
        permission_denied(
            "Your application is authenticating by using local Application Default Credentials. The"
            " earthengine.googleapis.com API requires a quota project, which is not set by default. To learn how to set"
            " your quota project, see https://cloud.google.com/docs/authentication/adc-troubleshooting/user-creds .",
            "SERVICE_DISABLED",
        ),
        message=r"requires a quota project",
    ),
    ServiceError(
        "API disabled",
        ErrorAction.CONFIGURATION,
        "the Earth Engine API is not enabled in the project",
        f"enable the API at https://console.cloud.google.com/apis/library/earthengine.googleapis.com, or {_REGISTER}",
        "https://github.com/google/earthengine-community/issues/762",
        permission_denied(
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
        permission_denied(
            "Not signed up for Earth Engine or project is not registered. Visit"
            " https://developers.google.com/earth-engine/guides/access"
        ),
        message=r"is not registered to use earth engine|project is not registered|not signed up for earth engine",
    ),
    ServiceError(
        "suspended",
        ErrorAction.UNAVAILABLE,
        "the project is suspended",
        "see https://cloud.google.com/resource-manager/docs/project-suspension-guidelines, or name another `project`",
        "https://github.com/kubernetes/minikube/issues/17959",
        permission_denied(
            "Permission denied: Consumer 'projects/ee-someone' has been suspended.", "CONSUMER_SUSPENDED"
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
        permission_denied(
            "Project charming-module-137923 (#808448574146) has billing disabled. Please enable it.", "BILLING_DISABLED"
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
        permission_denied(
            "Caller does not have required permission to use project my-project. Grant the caller the"
            " roles/serviceusage.serviceUsageConsumer role, or a custom role with the serviceusage.services.use"
            " permission, by visiting https://console.developers.google.com/iam-admin/iam/project?project=my-project"
            " and then retry. Propagation of the new permission may take a few minutes.",
            "USER_PROJECT_DENIED",
        ),
        message=r"^permission denied\.?$|caller does not have required permission to use project"
        r"|permission 'earthengine\.(?:computations|exports|thumbnails|maps|tables)\.create' denied"
        r"|permission denied on resource project|permission 'serviceusage\.services\.use'",
        reasons=("USER_PROJECT_DENIED", "CONSUMER_INVALID", "RESOURCE_PROJECT_INVALID", "PROJECT_INVALID"),
    ),
    ServiceError(
        "policy of the organisation",
        ErrorAction.CONFIGURATION,
        "a policy of the organisation refuses the request",
        "ask the organisation's administrator, or run where VPC Service Controls allow it",
        _REASONS,
        permission_denied(
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
        "the credentials are refused: they may have expired, or been revoked",
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
        permission_denied("Request had insufficient authentication scopes.", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"),
        message=r"insufficient authentication scopes",
        reasons=("ACCESS_TOKEN_SCOPE_INSUFFICIENT", "insufficientPermissions"),
    ),
    ServiceError(
        "API key",
        ErrorAction.CONFIGURATION,
        "the API key may not be used for this",
        _AUTHENTICATE,
        _REASONS,
        permission_denied("Requests from this client are blocked.", "API_KEY_SERVICE_BLOCKED"),
        reasons=(
            "API_KEY_SERVICE_BLOCKED",
            "API_KEY_HTTP_REFERRER_BLOCKED",
            "API_KEY_IP_ADDRESS_BLOCKED",
            "API_KEY_ANDROID_APP_BLOCKED",
            "API_KEY_IOS_APP_BLOCKED",
        ),
    ),
    ServiceError(
        "bucket",
        ErrorAction.CONFIGURATION,
        "Earth Engine may not write to the bucket of exported files",
        "give your account the role Storage Object Admin for the bucket, or name another one (`export_to`)",
        "https://github.com/r-spatial/rgee/blob/master/vignettes/setup_gcs.Rmd",
        permission_denied("Unable to write to bucket demo_0001 (permission denied)."),
        message=r"unable to write to bucket",
    ),
)
