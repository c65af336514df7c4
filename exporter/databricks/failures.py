"""The meaning of an answer that is not what was asked for: the error that says who must act.

Pure. Source of codes and words: Databricks REST API, Jobs 2.2, and what gateways before it answer.
"""

import re
from urllib.parse import urlsplit

from exporter.databricks.bodies import json_object, one_line, reason
from exporter.databricks.errors import (
    AccessRefused,
    NotUnderstood,
    RunGone,
    Throttled,
    TryAgain,
    UnknownPath,
    WorkspaceError,
)

# Also what gateways invent (520 to 530, 598, ...); a repetition helps against all but these two.
RETRIED_STATUSES = frozenset({408, 425, 429, *range(500, 600)} - {501, 505})
REDIRECTS = frozenset({301, 302, 303, 307, 308})

_PRIVATE_LINK = "private-link"
_MISSING_OBJECT = re.compile(
    r"RESOURCE_DOES_NOT_EXIST|\b(?:run|job)\b.*(?:(?:does not|doesn.t|no longer) exist|not found)",
    re.IGNORECASE,
)
_UNKNOWN_PATH = re.compile(r"bad target|endpoint_not_found|no api found", re.IGNORECASE)
# The status that belongs to an `error_code`, where it is not 500. Databricks API reference, "Error codes".
_STATUS_OF_CODE = {
    "BAD_REQUEST": 400,
    "INVALID_PARAMETER_VALUE": 400,
    "INVALID_STATE": 400,
    "MALFORMED_REQUEST": 400,
    "UNAUTHENTICATED": 401,
    "UNAUTHORIZED": 401,
    "INVALID_CLIENT": 401,
    "PERMISSION_DENIED": 403,
    "RESOURCE_DOES_NOT_EXIST": 404,
    "NOT_FOUND": 404,
    "ENDPOINT_NOT_FOUND": 404,
    "REQUEST_LIMIT_EXCEEDED": 429,
    "RESOURCE_EXHAUSTED": 429,
}


def failure(status: int, location: str, body: bytes, retry_after: float | None) -> WorkspaceError:
    """The error for a status that brings no page. `location`: the header of that name, empty without one."""
    if status in REDIRECTS:
        return _redirected(status, location)
    return _refused(status, f"HTTP {status}", body, retry_after)


def error_in_page(code: object, body: bytes) -> WorkspaceError:
    """The error that came with status 200; `code` is the `error_code` or the `error` of the body."""
    word = str(code).upper()
    status = int(word) if re.fullmatch("[45][0-9]{2}", word) else _STATUS_OF_CODE.get(word, 500)
    return _refused(status, "HTTP 200 with an error", body, None)


def token_refused(status: int, body: bytes, retry_after: float | None) -> WorkspaceError:
    """The error for a refusal of the OAuth token endpoint."""
    why = reason(body)
    if "throttled" in why.lower():
        return TryAgain(f"HTTP {status}: {why}", retry_after)
    return AccessRefused(
        f"the token endpoint refuses: HTTP {status}: {why}; "
        "check DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET"
    )


def _refused(status: int, who: str, body: bytes, retry_after: float | None) -> WorkspaceError:
    why = reason(body)
    if status in RETRIED_STATUSES:
        kind = Throttled if status == 429 else TryAgain
        return kind(f"{who}: {why}", retry_after)
    if status in {401, 403}:
        return AccessRefused(
            f"{who}: {why}; check the credentials and that they may view the jobs",
        )
    if status == 404 and (_UNKNOWN_PATH.search(why) or _error_of_api(body) is None):
        complaint = f"{who}: {why}; is DATABRICKS_HOST a workspace with Jobs API 2.2 or 2.1?"
        return UnknownPath(complaint) if _UNKNOWN_PATH.search(why) else NotUnderstood(complaint)
    if status == 404 or (status == 400 and _MISSING_OBJECT.search(why)):
        return RunGone(f"{who}: {why}")
    return NotUnderstood(f"{who}: {why}; please report it, unless a proxy answers in the workspace's place")


def _error_of_api(body: bytes) -> object:
    """The `error_code` that every error of the API has; None for an answer of a gateway."""
    try:
        return json_object(body).get("error_code")
    except TryAgain:
        return None


def _redirected(status: int, location: str) -> AccessRefused:
    if _PRIVATE_LINK in location.lower():
        return AccessRefused(
            f"HTTP {status}: the workspace accepts requests through its private link only, and this one took "
            "another way; check that DATABRICKS_HOST resolves to the private endpoint's address on this "
            "machine, that the endpoint is approved, and what HTTPS_PROXY and NO_PROXY say"
        )
    target = _target(location)
    return AccessRefused(
        f"HTTP {status}: the server redirects{f' to {target}' if target else ''}; "
        "set DATABRICKS_HOST to the workspace's own address, or look for a proxy that answers in its place"
    )


def _target(location: str) -> str:
    """Host and path of a redirect; its query may repeat what we sent."""
    try:
        parts = urlsplit(location)
    except ValueError:
        return ""
    return one_line(f"{parts.netloc.rpartition('@')[2]}{parts.path}")
