"""Job names, from `jobs/list`: refreshed beside the polls, and never a reason for one to fail."""

import asyncio

import structlog

from exporter.databricks.client import WorkspaceClient
from exporter.databricks.errors import WorkspaceError
from exporter.databricks.limits import RequestContext
from exporter.polling.reader import sleep
from exporter.polling.recorder import Recorder
from exporter.state.errors import StateError

REFRESH_SECONDS = 600.0
RETRY_SECONDS = 60.0

_log = structlog.stdlib.get_logger(__name__)


class NameKeeper:
    """Keeps the job names of one workspace until it is told to stop."""

    def __init__(self, client: WorkspaceClient, recorder: Recorder) -> None:
        self._client = client
        self._recorder = recorder

    async def run(self, stop: asyncio.Event) -> None:
        """Refresh the names every 10 minutes; sooner after a failure."""
        log = _log.bind(workspace=self._client.workspace)
        while not stop.is_set():
            pause = RETRY_SECONDS
            try:
                names = await self._client.list_job_names(
                    RequestContext.within(REFRESH_SECONDS, background=True)
                )
                now_ms = self._client.server_ms(asyncio.get_running_loop().time())
                await self._recorder.rename(names, now_ms)
                pause = REFRESH_SECONDS
            except (WorkspaceError, StateError) as fault:
                log.warning("job names can't be refreshed; the last known ones stay", cause=str(fault))
            except Exception:  # a loop survives what nobody foresaw
                log.exception("refreshing job names failed in a way nobody foresaw")
            await sleep(stop, pause)
