"""Job names, from `jobs/list`: refreshed beside the polls, and never a reason for one to fail."""

import asyncio

import structlog

from exporter.databricks.client import WorkspaceClient
from exporter.databricks.context import Priority, RequestContext
from exporter.polling.loop import run_loop
from exporter.polling.recorder import Recorder
from exporter.runs.changes import Observation

REFRESH_SECONDS = 600.0
RETRY_SECONDS = 60.0

_log = structlog.stdlib.get_logger(__name__)


class JobNames:
    """Keeps the job names of one workspace fresh until it is told to stop."""

    def __init__(self, client: WorkspaceClient, recorder: Recorder) -> None:
        self._client = client
        self._recorder = recorder

    async def run(self, stop: asyncio.Event) -> None:
        """Refresh the names every 10 minutes; sooner after a failure."""
        await run_loop("job names", self._client.workspace, self._turn, self._failed, stop)

    async def _turn(self) -> float:
        async with RequestContext.while_pages_come(Priority.BACKGROUND, REFRESH_SECONDS) as context:
            names = await self._client.list_job_names(context)
        await self._recorder.record(Observation(names=names))
        return REFRESH_SECONDS

    def _failed(self, error: str) -> float:
        _log.warning(
            "job names can't be refreshed; the last known ones stay",
            workspace=self._client.workspace,
            cause=error,
        )
        return RETRY_SECONDS
