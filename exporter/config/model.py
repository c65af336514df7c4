"""Every setting, once: type, unit, range, default and help. Durations are seconds.

The names in `names.py` follow from the attributes: `settings.poll.sweep_interval` is `poll.sweep-interval`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from platformdirs import user_state_path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator
from pydantic.config import JsonDict
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from exporter.config.addresses import ListenAddress, parse_listen_address, parse_telemetry_path
from exporter.config.buckets import parse_buckets
from exporter.config.durations import parse_duration
from exporter.config.files import parse_ca_file

STATE_FILE = "databricks-jobs-exporter.db"
FEWEST_SERIES = 1000
SHORTEST_IDLE = 3600


@dataclass(frozen=True, slots=True)
class Written:
    """How values of a type are written.

    `kind` stands for one in `--help`, `is_list`: YAML may hold a list of its parts, `empty_says_none`: an
    empty variable is a value of its own, not a variable that was left out.
    """

    kind: str
    is_list: bool = False
    empty_says_none: bool = False


def _setting(default: str, text: str, *, demo: str | None = None, **limits: Any) -> Any:  # noqa: ANN401
    """A field. Its defaults, also the one with `--demo`, are written as an operator would write them."""
    notes: JsonDict | None = {"demo": demo} if demo else None
    return Field(default, description=text, validate_default=True, json_schema_extra=notes, **limits)


def _unless_parsed(parse: Callable[[str], object]) -> Callable[[object], object]:
    """Flags, variables and YAML give text; Python code gives values that need no parsing."""
    return lambda value: parse(value) if isinstance(value, str) else value


def _from_text(parse: Callable[[str], object]) -> BeforeValidator:
    return BeforeValidator(_unless_parsed(parse))


def _parse_file(text: str) -> Path | None:
    return Path(text) if text else None


def _parse_state_path(text: str) -> Path | None:
    if text == ":memory:":
        raise ValueError("SQLite's name for memory is not used here; write an empty value for memory only")
    return _parse_file(text)


def _default_state_path() -> Path:
    """An absolute path, except for a user without a home folder: `parse` refuses the relative one."""
    try:
        return user_state_path() / STATE_FILE
    except RuntimeError:
        return Path(STATE_FILE)


Duration = Annotated[float, _from_text(parse_duration), Written("DURATION")]
Count = Annotated[int, Written("COUNT")]
Rate = Annotated[float, Written("NUMBER")]
Switch = Annotated[bool, Written("true|false")]
Address = Annotated[ListenAddress, _from_text(parse_listen_address), Written("HOST:PORT")]
UrlPath = Annotated[str, _from_text(parse_telemetry_path), Written("PATH")]
OptionalFile = Annotated[Path | None, _from_text(_parse_file), Written("FILE")]
CaFile = Annotated[Path | None, _from_text(parse_ca_file), Written("FILE")]
StateFile = Annotated[Path | None, _from_text(_parse_state_path), Written("FILE", empty_says_none=True)]
Buckets = Annotated[
    tuple[float, ...] | None,
    PlainValidator(_unless_parsed(parse_buckets)),  # the library would make every bound a float
    Written("LIST", is_list=True),
]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["logfmt", "json"]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WebConfigSettings(Section):
    file: OptionalFile = _setting(
        "", "TLS and basic auth for the pages, in the Prometheus exporter-toolkit format"
    )


class WebSettings(Section):
    listen_address: Address = _setting(
        ":9977",
        "where to listen; an empty host is every interface, port 0 picks a free one and logs it",
    )
    telemetry_path: UrlPath = _setting("/metrics", "where the metrics are served")
    config: WebConfigSettings = Field(default_factory=WebConfigSettings)


class PollSettings(Section):
    interval: Duration = _setting(
        "30s", "from the start of one poll to the start of the next", demo="2s", gt=0
    )
    lookback: Duration = _setting(
        "24h",
        "how far back the very first poll of a fresh state reads; 0s counts only what finishes from now on",
        demo="6h",
        ge=0,
    )
    sweep_interval: Duration = _setting(
        "1h",
        "how often finished runs are listed again to catch repairs and late listings; "
        "the first time is one interval after the first poll",
        gt=0,
    )
    sweep_window: Duration = _setting("24h", "how far back, by start time, a sweep reads", gt=0)


class ApiSettings(Section):
    concurrency: Count = _setting("16", "requests in flight per workspace", ge=1)
    rate: Rate = _setting(
        "20",
        "requests per second per workspace (documented server limits: list 30/s, get 100/s)",
        demo="1000",
        gt=0,
        allow_inf_nan=False,
    )
    timeout: Duration = _setting("30s", "how long one request may take", gt=0)
    ca_file: CaFile = _setting(
        "",
        "PEM file of the CAs to trust for the workspace and an https:// proxy, in place of the "
        "system's; certificates are always verified",
    )


class StateSettings(Section):
    """Where the totals live. `path` None is memory only."""

    path: StateFile = Field(
        default_factory=_default_state_path,
        description="SQLite file that keeps the totals over restarts; empty is memory only",
        json_schema_extra={"default": f"{STATE_FILE} in the user's state folder (XDG)"},
    )

    @property
    def path_is_default(self) -> bool:
        """Whether no path was written: a demo then leaves the real state alone."""
        return "path" not in self.model_fields_set


def _check_series(count: int) -> int:
    if 0 < count < FEWEST_SERIES:
        raise ValueError(f"must be 0 or at least {FEWEST_SERIES}: one job alone makes up to 200")
    return count


def _check_idle(seconds: float) -> float:
    if 0 < seconds < SHORTEST_IDLE:
        raise ValueError("must be 0s or at least 1h: a job that runs every hour would come and go")
    return seconds


class LimitsSettings(Section):
    series: Annotated[Count, AfterValidator(_check_series)] = _setting(
        "2500000",
        "how many series of jobs to serve; jobs beyond the limit are counted together as job_id OTHER; "
        "0 is no limit",
        ge=0,
    )
    idle: Annotated[Duration, AfterValidator(_check_idle)] = _setting(
        "14d", "how long the series of a job stay after its last run; 0s is for ever", ge=0
    )


class CollectSettings(Section):
    tasks: Switch = _setting("true", "serve the databricks_task_run_* families")


class HistogramSettings(Section):
    """`buckets`: upper bounds in seconds, whole ones as `int`; None is the built-in ones."""

    buckets: Buckets = _setting(
        "duration",
        "upper bounds of all duration histograms, queue included: duration is the built-in ones, or "
        "seconds in ascending order, for example 30,60,300,900,3600; take the limits that your alerts and "
        "objectives name; every bound adds a series to each histogram of each job",
    )


class LogSettings(Section):
    level: LogLevel = _setting("info", "the least severe lines to write")
    format: LogFormat = _setting("logfmt", "how lines are written to standard error")


class Settings(BaseSettings):
    """All settings. `Settings()` is every default and reads nothing but the user's state folder."""

    # Values are texts in our own syntax: the library's decoding is JSON.
    model_config = SettingsConfigDict(frozen=True, extra="forbid", enable_decoding=False)

    web: WebSettings = Field(default_factory=WebSettings)
    poll: PollSettings = Field(default_factory=PollSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    state: StateSettings = Field(default_factory=StateSettings)
    limits: LimitsSettings = Field(default_factory=LimitsSettings)
    collect: CollectSettings = Field(default_factory=CollectSettings)
    histograms: HistogramSettings = Field(default_factory=HistogramSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @classmethod
    def from_sources(cls, sources: Iterable[PydanticBaseSettingsSource]) -> Self:
        """The settings that sources give; the first source that has a setting wins.

        Raises:
            pydantic.ValidationError: a value does not fit; its text quotes the value, so do not show it.
        """
        return cls.model_validate({_SOURCES: tuple(sources)})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_of_the_process: PydanticBaseSettingsSource,
        **_also: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the caller passes: nothing is read from the process."""
        given = dict(init_settings())
        sources: tuple[PydanticBaseSettingsSource, ...] = given.pop(_SOURCES, ())
        return (InitSettingsSource(settings_cls, given), *sources)


_SOURCES = "sources"
