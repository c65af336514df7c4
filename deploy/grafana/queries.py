"""PromQL for the dashboards, put together from the table of families, so that none names what is not served.

Raw families only: the dashboards work whether or not the recording rules are loaded. Tables and totals look
at the whole `$__range`, because a job may run once a day; graphs at `$__rate_interval`.
"""

from exporter.families import JOB_INFO, RUNS, Family

RANGE = "$__range"
STEP = "$__rate_interval"

WORKSPACES = 'workspace=~"$workspace"'
JOB = 'workspace="$workspace", job_id="$job"'
RUN_OF_JOB = f'{JOB}, effective_performance_target=~"$target"'
RUN_OF_JOBS = f'{WORKSPACES}, job_id=~"$job", effective_performance_target=~"$target"'

GOOD = 'result=~"SUCCESS|SUCCESS_WITH_FAILURES"'
BAD = 'result=~"FAILED|TIMEDOUT"'
# Somebody's wish or somebody else's limit: neither speaks for or against a job.
JUDGED = 'result!~"SKIPPED|CANCELED"'

BY_JOB = ("workspace", "job_id")

# One-off runs are counted under their run type, which has no databricks_job_info and is its own name.
_ONE_OFF = f'group by (workspace, job_id) ({RUNS.name}{{job_id!~"[0-9]+"}})'
_NAMES = (
    f"(max by (workspace, job_id, job_name) ({JOB_INFO.name})"
    f' or on (workspace, job_id) label_replace({_ONE_OFF}, "job_name", "$1", "job_id", "(.*)"))'
)


def where(*matchers: str) -> str:
    """Matchers as they stand behind a name."""
    return "{" + ", ".join(matchers) + "}"


def gauge(family: Family, *matchers: str) -> str:
    return family.name + where(*matchers)


def increase(family: Family, *matchers: str, part: str = "", window: str = RANGE) -> str:
    """How much a counter grew; `part` is `_bucket`, `_count` or `_sum` of a histogram."""
    return f"increase({family.name}{part}{where(*matchers)}[{window}])"


def per_second(family: Family, *matchers: str, part: str = "") -> str:
    return f"rate({family.name}{part}{where(*matchers)}[{STEP}])"


def total(expression: str, *by: str) -> str:
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def per_hour(family: Family, *matchers: str, by: str) -> str:
    """Events per hour by a label: bars of it are comparable whatever the step of the graph is."""
    return f"{total(per_second(family, *matchers), by)} * 3600"


def buckets(family: Family, *matchers: str, by: tuple[str, ...] = (), window: str = RANGE) -> str:
    """Observations by `le`, summed over everything but `by`."""
    return total(increase(family, *matchers, part="_bucket", window=window), "le", *by)


def either(
    families: tuple[Family, Family], *matchers: str, by: tuple[str, ...] = (), window: str = RANGE
) -> str:
    """The buckets of the first family where it observed anything, else those of the second (same bounds).

    Runs of several tasks have no phases of their own, their task attempts have.
    """
    first, second = families
    seen = total(increase(first, *matchers, part="_count", window=window), *by)
    return (
        f"({buckets(first, *matchers, by=by, window=window)} and on ({', '.join(by)}) ({seen} > 0)"
        f" or {buckets(second, *matchers, by=by, window=window)})"
    )


def mean_of_either(families: tuple[Family, Family], *matchers: str, window: str = STEP) -> str:
    """The mean of the first family where it observed anything, else of the second."""
    means = [
        f"sum({increase(family, *matchers, part='_sum', window=window)})"
        f" / (sum({increase(family, *matchers, part='_count', window=window)}) > 0)"
        for family in families
    ]
    return " or ".join(means)


def mean(family: Family, *matchers: str, by: tuple[str, ...] = (), window: str = RANGE) -> str:
    sums = total(increase(family, *matchers, part="_sum", window=window), *by)
    return f"{sums} / ({total(increase(family, *matchers, part='_count', window=window), *by)} > 0)"


def quantile(share: float, vector: str) -> str:
    return f"histogram_quantile({share:g}, {vector})"


def named(expression: str) -> str:
    """With the job's name beside its id."""
    return f"({expression}) * on (workspace, job_id) group_left (job_name) {_NAMES}"


def among(expression: str, chosen: str) -> str:
    """The values of the jobs that another expression has."""
    return f"{expression} and on (workspace, job_id) ({chosen})"


def or_zero(expression: str) -> str:
    return f"{expression} or vector(0)"
