"""What the server has been asked, and the rate above which it refuses."""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

REMEMBERED = 100_000


@dataclass(slots=True)
class Request:
    """One request; `arrival` is monotonic seconds, `status` 0 until answered and for an answer cut short."""

    arrival: float
    endpoint: str
    path: str
    query: dict[str, str]
    authorization: str | None
    status: int = 0


class RequestLog:
    """The latest requests in the order of their arrival, and how many were in flight at once."""

    def __init__(self) -> None:
        self._requests: deque[Request] = deque(maxlen=REMEMBERED)
        self.in_flight = 0
        self.peak_in_flight = 0

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    def __len__(self) -> int:
        return len(self._requests)

    def begin(self, request: Request) -> None:
        self._requests.append(request)
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)

    def end(self) -> None:
        self.in_flight -= 1

    def clear(self) -> None:
        self._requests.clear()
        self.peak_in_flight = self.in_flight

    def of(self, endpoint: str) -> list[Request]:
        """The requests to one endpoint: runs/list, runs/get, jobs/list, token or other."""
        return [request for request in self._requests if request.endpoint == endpoint]


# Requests per second that a real workspace allows, by endpoint: the resource limits page of its manual.
DOCUMENTED_LIMITS = {"runs/list": 30, "runs/get": 100, "jobs/list": 20}


class RateLimit:
    """Allows so many requests per endpoint in any second; an endpoint without a limit is never refused."""

    def __init__(self, per_second: Mapping[str, int]) -> None:
        self._allowed = {endpoint: deque[float](maxlen=limit) for endpoint, limit in per_second.items()}

    def admits(self, endpoint: str) -> bool:
        allowed = self._allowed.get(endpoint)
        if allowed is None:
            return True
        now = time.monotonic()
        if len(allowed) == allowed.maxlen and now - allowed[0] < 1:
            return False
        allowed.append(now)
        return True
