"""Faults on purpose, in front of the simulated workspace.

The seam: `exporter.simulator.server.SimulatorServer` takes `middlewares`. They run inside its request log and
around everything else. The `SimulatorServer` of this package is that server with one middleware, which asks
`server.faults` what a request gets.

    faults = server.faults
    faults.add(fault_of("hang", run_id=run.run_id))                          # runs/get of one run, for ever
    faults.add(fault_of("status 500", endpoint="runs/list", times=3))        # three requests to one endpoint
    faults.add(Fault(throttled(90), endpoint="jobs/list", until=now + 600))  # for ten minutes of the clock
    faults.add(Fault(clock_error=-20 * DAY, endpoint="runs/get", times=1))   # a good answer with a wrong Date
    faults.add(Fault(earlier=earlier(workspace), endpoint="runs/list", times=1))  # a stale answer, once

`fault_of(kind, …)` builds one of the kinds in `FAULTS`. Every field of `Fault` can be set with it.
"""

from tests.faults.answers import (
    Answer,
    empty,
    error,
    html,
    login_page,
    no_such_run,
    plain,
    redirect,
    throttled,
    throttled_until,
    unavailable,
)
from tests.faults.catalog import ANSWERS, FAULTS, STATUSES, fault_of
from tests.faults.faults import Fault, Faults
from tests.faults.server import SimulatorServer
from tests.faults.stale import earlier

__all__ = [
    "ANSWERS",
    "FAULTS",
    "STATUSES",
    "Answer",
    "Fault",
    "Faults",
    "SimulatorServer",
    "earlier",
    "empty",
    "error",
    "fault_of",
    "html",
    "login_page",
    "no_such_run",
    "plain",
    "redirect",
    "throttled",
    "throttled_until",
    "unavailable",
]
