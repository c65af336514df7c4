"""Every expression of the rules has an answer in a real Prometheus that scraped a bit of everything."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from exporter.simulator.runs import Run
from exporter.simulator.workspace import Workspace
from tests.deploy.promql import LEVELS, QUERY, RULE_LABELS, RUNBOOKS, alternatives, rules, without_comparisons
from tests.e2e.monitoring import faster, monitored
from tests.e2e.process import Launcher, wait_for
from tests.e2e.prometheus import Prometheus
from tests.faults import Fault, SimulatorServer, throttled

# A threshold of every job for every alert, as a user might record it.
OVERRIDABLE = {rule.get("alert") for rule in rules()} | {"DatabricksJobErrorBudgetBurn"}
OVERRIDES = {
    "name": "overrides",
    "interval": "1s",
    "rules": [
        {
            "record": "databricks_job:alert_threshold:override",
            "expr": "max by (workspace, job_id) (databricks_job_info)",
            "labels": {"alert": name},
        }
        for name in sorted(filter(None, OVERRIDABLE))
    ],
}


def habits_without_patience(file: str, expression: str) -> str:
    """Habits that are known at once: without their least number of runs, and of the time that is now."""
    return without_comparisons(expression) if file == "habits" else expression


def busy(workspace: Workspace, jobs: list[int], step: int, failed: list[Run]) -> None:
    """Let a run of each job end now, as the step chooses, and repair an earlier one that failed."""
    if step % 5 == 0 and failed:
        run = failed.pop(0)
        workspace.repair(run)
        workspace.finish_repair(run)
    codes = ("SUCCESS", "SUCCESS", "RUN_EXECUTION_ERROR", "SUCCESS", "CLOUD_FAILURE", "USER_CANCELED")
    for job in jobs:
        code = codes[step % len(codes)]
        target = ("STANDARD", "PERFORMANCE_OPTIMIZED")[step // 2 % 2]
        run = workspace.finished_run(
            job, duration=30, queue=5, code=code, target=target, tasks=2, retries=1, setup=4
        )
        if code == "RUN_EXECUTION_ERROR":
            failed.append(run)


@pytest.fixture
async def prometheus(server: SimulatorServer, launch: Launcher, tmp_path: Path) -> AsyncIterator[Prometheus]:
    """One that has seen everything, after some seconds of it."""
    workspace = server.workspace
    jobs = [workspace.add_job(name) for name in ("one", "two", "three")]
    for state in ("RUNNING", "QUEUED", "PENDING"):
        workspace.active_run(jobs[0], start=time.time() - 600, state=state)
    server.faults.add(Fault(throttled(None), probability=0.2))
    exporter = await launch.start(server, "--poll.sweep-interval=1s")
    await exporter.until_ready()
    overridden = monitored(tmp_path, exporter.url, change=habits_without_patience, more_rules=[OVERRIDES])
    async with overridden as running:
        step = 0
        waiting: list[str] = []
        failed: list[Run] = []

        async def everything() -> bool:
            nonlocal step, waiting
            step += 1
            busy(workspace, jobs, step, failed)
            waiting = await silent(running)
            return step > 20 and not waiting

        try:
            await wait_for(everything, "every rule has an answer", pause=0.5)
        except AssertionError as error:
            raise AssertionError(f"{error}: {waiting}") from None
        yield running


async def silent(prometheus: Prometheus) -> list[str]:
    """The recording rules that have recorded nothing yet, and the parts of alerts that have had no series."""
    queries = {query for rule in rules() for query in questions(rule)}
    answers = await asyncio.gather(*(prometheus.instant(query) for query in sorted(queries)))
    return [query for query, answer in zip(sorted(queries), answers, strict=True) if not answer]


def questions(rule: dict[str, Any]) -> list[str]:
    """What must have an answer once all has happened that a rule is about."""
    if "record" in rule:
        return [f"last_over_time({series(rule)}[10m])"]
    return [f"last_over_time(({faster(part)})[10m:500ms])" for part in alternatives(rule["expr"])]


def series(rule: dict[str, object]) -> str:
    labels = rule.get("labels", {})
    assert isinstance(labels, dict)
    matchers = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{rule['record']}{{{matchers}}}"


async def test_every_rule_has_an_answer(prometheus: Prometheus) -> None:
    """Recording rules record with the labels that their names say; an alert's parts have had series."""
    for rule in rules():
        await prometheus.instant(faster(rule["expr"]))
        if "record" in rule:
            (question,) = questions(rule)
            name = rule["record"]
            expected = LEVELS[name.partition(":")[0]] | RULE_LABELS.get(name, set())
            labels = {frozenset(metric) - {"__name__"} for metric, _ in await prometheus.instant(question)}
            assert labels == {frozenset(expected)}, name
    for group in (await prometheus.get("rules"))["groups"]:
        for rule in group["rules"]:
            assert rule["health"] == "ok", f"{rule['name']}: {rule.get('lastError')}"


async def test_every_query_of_a_runbook_has_an_answer(prometheus: Prometheus) -> None:
    """About any job, once everything has happened: its joins match and its labels have such values."""
    for path in sorted(RUNBOOKS.glob("*.md")):
        for query in QUERY.findall(path.read_text()):
            anybodys = query.replace('="w.example"', '=~".+"').replace('job_id="1"', 'job_id=~".+"')
            question = f"last_over_time(({anybodys})[10m:500ms])"
            assert await prometheus.instant(question), f"{path.name}: {query}"
