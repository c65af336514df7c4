"""Answers that are sent in the endpoint's place."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer as it is sent."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def error(status: int, code: str | int, message: str, **headers: str) -> Answer:
    """The API's JSON error; some gateways send a number as `code`. `retry_after` is Retry-After."""
    body = json.dumps({"error_code": code, "message": message}).encode()
    return Answer(
        status, body, headers={name.replace("_", "-").title(): word for name, word in headers.items()}
    )


def throttled(retry_after: int | None = 1) -> Answer:
    """429 with Retry-After in seconds, or without it."""
    headers = {} if retry_after is None else {"retry_after": str(retry_after)}
    return error(429, "REQUEST_LIMIT_EXCEEDED", "Request is rejected due to throttling.", **headers)


def throttled_until(epoch_seconds: float) -> Answer:
    """429 with Retry-After as an HTTP date."""
    return error(
        429,
        "REQUEST_LIMIT_EXCEEDED",
        "Request is rejected due to throttling.",
        retry_after=formatdate(epoch_seconds, usegmt=True),
    )


def unavailable() -> Answer:
    return error(
        503, "TEMPORARILY_UNAVAILABLE", "The service is temporarily unavailable. Please try again later."
    )


def no_such_run(run_id: int, status: int = 404) -> Answer:
    """What runs/get says about a run that it does not know: with 404, or with 400 like older servers."""
    code = "RESOURCE_DOES_NOT_EXIST" if status == 404 else "INVALID_PARAMETER_VALUE"
    return error(status, code, f"Run {run_id} does not exist.")


def html(status: int, title: str) -> Answer:
    """A gateway's error page."""
    page = f"<html><head><title>{title}</title></head><body><pre>{title}</pre></body></html>"
    return Answer(status, page.encode(), "text/html")


def plain(status: int, text: str) -> Answer:
    return Answer(status, text.encode(), "text/plain")


def empty(status: int) -> Answer:
    return Answer(status)


def login_page() -> Answer:
    """200 with HTML: what a workspace behind a private link shows to clients outside of it."""
    return Answer(
        200, b"<!doctype html><html><body><form action='/login.html'></form></body></html>", "text/html"
    )


def redirect(location: str = "/login.html?error=private-link-validation-error", status: int = 302) -> Answer:
    return Answer(status, headers={"Location": location})
