"""What can go wrong between us and a workspace, by who must act."""


class WorkspaceError(Exception):
    """The base of everything that can go wrong between us and a workspace."""


class TryAgain(WorkspaceError):
    """The workspace is away or busy: we repeat the request.

    `retry_after` is the wait the server asked for, in seconds, None where it did not.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Throttled(TryAgain):
    """The workspace has had too many requests (429): every request to that endpoint waits."""


class Postponed(WorkspaceError):
    """We gave up the reading of a run of many pages, so that others get on: it is read again later."""


class AccessRefused(WorkspaceError):
    """The operator must act: credentials, permissions, host."""


class RunGone(WorkspaceError):
    """No action is needed: the API says that the run does not exist, or no longer."""


class NotUnderstood(WorkspaceError):
    """We must act, or this is no Databricks workspace: an answer that follows no rule we know."""


class UnknownPath(NotUnderstood):
    """The server does not know the path, which holds the version of the API."""
