"""Query parameters and page tokens, with the texts the API refuses bad ones with."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

Query = Mapping[str, str]


class RefusedError(Exception):
    """A request that the API answers with an error body: HTTP `status`, `code` word and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def invalid(message: str) -> RefusedError:
    return RefusedError(400, "INVALID_PARAMETER_VALUE", message)


def integer(query: Query, name: str) -> int | None:
    if name not in query:
        return None
    try:
        return int(query[name])
    except ValueError:
        raise invalid(f"Could not parse '{query[name]}' of parameter {name} as a number.") from None


def boolean(query: Query, name: str) -> bool:
    word = query.get(name, "false")
    if word not in {"true", "false"}:
        raise invalid(f"Could not parse '{word}' of parameter {name} as a boolean.")
    return word == "true"


@dataclass(frozen=True, slots=True)
class PageSize:
    """The bounds of `limit` on one endpoint; 0 asks for the maximum."""

    default: int
    maximum: int

    def of(self, query: Query) -> int:
        limit = integer(query, "limit")
        if limit is None:
            return self.default
        if limit < 0:
            raise invalid(f"Invalid limit {limit} - it has to be no less than 0.")
        if limit > self.maximum:
            raise invalid(f"Invalid limit {limit} - it has to be no more than {self.maximum}.")
        return limit or self.maximum


def token(kind: str, *position: int) -> str:
    """An opaque page token; it pins a place in the order, so that what arrives meanwhile moves nothing."""
    return base64.urlsafe_b64encode(":".join([kind, *map(str, position)]).encode()).decode()


def position(query: Query, kind: str) -> tuple[int, ...] | None:
    """The place that the request's page token pins, or None without one; a foreign token is refused."""
    word = query.get("page_token")
    if not word:
        return None
    try:
        found, *numbers = base64.urlsafe_b64decode(word).decode().split(":")
        place = tuple(int(number) for number in numbers)
    except (ValueError, binascii.Error):
        found, place = "", ()
    if found != kind:
        raise invalid("Invalid page token.")
    return place
