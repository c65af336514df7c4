"""Words of the API that nobody would choose: served so that everybody reads back what was meant."""

import asyncio
import random
import subprocess
import sys
import unicodedata
from collections import defaultdict

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.simulator.server import SimulatorServer
from exporter.simulator.workspace import Workspace
from tests.e2e.process import Exporter, Launcher, wait_for
from tests.programs import program

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


# Where words of the API are labels. The duration is of what has finished; to be active is enough for others.
PLACES = (
    ("databricks_job_queued_runs", "reason"),
    ("databricks_job_run_duration_seconds_count", "effective_performance_target"),
    ("databricks_job_run_terminations_total", "code"),
    ("databricks_job_run_terminations_total", "type"),
    ("databricks_job_info", "job_name"),
)


def _one_word_for_each_class() -> dict[str, str]:
    """Some characters of every Unicode class, the unassigned ones too; surrogates are no characters."""
    chance = random.Random(1)
    characters: dict[str, list[str]] = defaultdict(list)
    for number in range(sys.maxunicode + 1):
        characters[unicodedata.category(chr(number))].append(chr(number))
    del characters["Cs"]
    return {
        name: "".join(chance.sample(some, min(len(some), 60)))  # of most
        for name, some in sorted(characters.items())
    }


WORDS = {
    **_one_word_for_each_class(),
    "every control character": "".join(map(chr, [*range(32), *range(127, 160)])),
    "quotes": '"\'`\\"\\\\"',
    "a line break and what looks like a sample": '"} 1\ndatabricks_up{workspace="x"} 0\n# EOF\n',
    "an escape that is none": "\\n \\t \\x00 \\u0000 \\",
    "4,096 bytes": "é" * 2048,
    "4,096 quotes": '"' * 4096,
    "right to left": "\u202e\u2066abc\u2069\u05d0\u0627",
    "joined": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u0301" * 3,
    "a byte order mark": "\ufeffname\ufffe\uffff",
    "blanks alone": " \t\u00a0\u3000",
}


def furnish(workspace: Workspace) -> dict[str, str]:
    """A job for each word, which stands wherever a word of the API becomes a label; the words by job id."""
    named = {}
    for text in WORDS.values():
        job = workspace.add_job(text)
        workspace.finished_run(job, target=text, code=text, termination_type=text)
        workspace.active_run(job, state="QUEUED", queue_reason=text, target=text)
        named[str(job)] = text
    return named


def served(body: str, *, openmetrics: bool) -> dict[tuple[str, str], dict[str, set[str]]]:
    """What stands in each of the places, by job, as prometheus-client reads it."""
    families = parse_openmetrics(body) if openmetrics else parse_text(body)  # type: ignore[no-untyped-call]
    found: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for family in families:
        for sample in family.samples:
            for name, label in PLACES:
                if sample.name == name:
                    found[name, label][sample.labels["job_id"]].add(sample.labels[label])
    return found


async def ready_on(server: SimulatorServer, launch: Launcher) -> Exporter:
    """Ready, found out without reading the metrics: prometheus-client takes seconds over these words."""
    exporter = await launch.start(server)

    async def ready() -> bool:
        return (await exporter.get("/-/ready"))[0] == 200

    await wait_for(ready, "the first poll is over")
    return exporter


@pytest.mark.parametrize("openmetrics", [False, True])
async def test_words_of_every_kind_are_read_back(
    server: SimulatorServer,
    launch: Launcher,
    openmetrics: bool,  # noqa: FBT001  a table
) -> None:
    """Whatever letters a name, a target, a code or a reason is made of, a reader gets just these."""
    named = furnish(server.workspace)
    exporter = await ready_on(server, launch)
    status, body = await exporter.get("/metrics", Accept=OPENMETRICS if openmetrics else "text/plain")
    assert status == 200
    wanted = {job: {text} for job, text in named.items()}
    labels = served(body, openmetrics=openmetrics)
    for place in PLACES:
        assert labels[place] == wanted, place


async def test_promtool_reads_words_of_every_kind(server: SimulatorServer, launch: Launcher) -> None:
    """Prometheus' own parser finds no fault in the exposition of the same words."""
    command = [program("promtool"), "check", "metrics"]
    furnish(server.workspace)
    exporter = await ready_on(server, launch)
    _, body = await exporter.get("/metrics")
    done = await asyncio.to_thread(
        subprocess.run, command, input=body.encode(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


async def test_half_characters_are_served_as_something_else(
    server: SimulatorServer, launch: Launcher
) -> None:
    """A lone surrogate is legal in JSON and no UTF-8: its run is counted, and it shows as a question mark."""
    job = 70_000  # of no job that is listed, so that the run's own name counts
    run = server.workspace.finished_run(job)
    # No encoder writes these.
    written = msgspec.Raw(
        b'{"run_id":%d,"job_id":%d,"start_time":%d,"run_duration":5,"run_name":"\\udfff",'
        b'"effective_performance_target":"\\ud83d","status":{"state":"TERMINATED",'
        b'"termination_details":{"code":"\\udc00","type":"\\ud800"}}}' % (run.run_id, job, run.start_ms)
    )
    server.workspace.override(run.run_id, lambda _: written)
    exporter = await ready_on(server, launch)
    _, body = await exporter.get("/metrics", Accept=OPENMETRICS)
    labels = served(body, openmetrics=True)
    for place in PLACES[1:]:
        assert labels[place] == {str(job): {"?"}}, place
