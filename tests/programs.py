"""The programs that tests run beside the exporter: where they are, and those that listen, while they run."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NoReturn

import aiohttp
import pytest

from tests.e2e.process import wait_for

PROMETHEUS = "REQUIRE_PROMETHEUS"
DEPLOY_TOOLS = "REQUIRE_DEPLOY_TOOLS"
_LISTENS = re.compile(r"Listening on.*address=(127\.0\.0\.1:\d+)")


def untested(why: str, demand: str) -> NoReturn:
    """Skips the test; fails it where the environment demands these programs."""
    message = f"{why}, so this is NOT TESTED; {demand}=1 makes it a failure"
    if os.environ.get(demand) == "1":
        pytest.fail(message)
    pytest.skip(message)


def program(name: str, package: str = "", demand: str = PROMETHEUS) -> str:
    """The path of a program; without it the test is not run."""
    path = shutil.which(name)
    if path is None:
        untested(f"{name} is not installed (Debian: {package or name})", demand)
    return path


@asynccontextmanager
async def listening(folder: Path, name: str, *arguments: str) -> AsyncIterator[str]:
    """Prometheus or Alertmanager on a free port, with its log in a folder; its address once it is ready."""
    path = folder / f"{name}.log"
    command = [program(name), "--web.listen-address=127.0.0.1:0", *arguments]
    with path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=log
        )

    async def ready() -> str:
        assert process.returncode is None, path.read_text()
        found = _LISTENS.search(path.read_text())
        if not found:
            return ""
        url = f"http://{found[1]}"
        async with session.get(f"{url}/-/ready") as response:
            return url if response.status == 200 else ""

    try:
        async with aiohttp.ClientSession() as session:
            url = await wait_for(ready, f"{name} is ready")
        yield url
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
