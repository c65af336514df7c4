"""Stale answers: what a replica that lags behind would say."""

from copy import deepcopy

from exporter.simulator.workspace import Workspace


def earlier(workspace: Workspace) -> Workspace:
    """The workspace as it is now, for a fault that shows it later. The clock of the copy stands still.

    To show only one run as it was, in lists and in runs/get, give the fault a `copy.deepcopy` of the run.
    """
    now_ms = workspace.read()
    copy = Workspace(lambda: now_ms / 1000)
    copy.runs = deepcopy(workspace.runs)
    copy.jobs = dict(workspace.jobs)
    copy.missing_status = workspace.missing_status
    return copy
