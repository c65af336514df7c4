"""Every setting, once: type, unit, range, default and help.

The dotted name is the attribute path (`settings.poll.sweep_interval` is `poll.sweep-interval`); the flag,
the environment variable and the YAML key follow from it. Durations are seconds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from platformdirs import user_state_path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from exporter.config.addresses import ListenAddress, parse_listen_address, parse_telemetry_path
from exporter.config.durations import format_duration, parse_duration
from exporter.config.files import parse_ca_file

ENVIRONMENT_PREFIX = "DATABRICKS_EXPORTER_"
STATE_FILE = "databricks-jobs-exporter.db"
FEWEST_SERIES = 1000
SHORTEST_IDLE = 3600


@dataclass(frozen=True, slots=True)
class Written:
    """How values of a type are shown: `kind` stands for one in `--help`, `text` writes a default."""

    kind: str
    text: Callable[[Any], str] = str


@dataclass(frozen=True, slots=True)
class DefaultNote:
    """A default that the field cannot say: not the same on every machine, or another one with `--demo`."""

    text: str | None = None
    demo: str | None = None


def _from_text(parse: Callable[[str], object]) -> BeforeValidator:
    """Flags, variables and YAML give text; Python code gives values that need no parsing."""
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


def _parse_file(text: str) -> Path | None:
    return Path(text) if text else None


def _parse_state_path(text: str) -> Path | None:
    if text == ":memory:":
        raise ValueError("SQLite's name for memory is not used here; write an empty value for memory only")
    return _parse_file(text)


def _default_state_path() -> Path:
    """Absolute, but for a user without a home, as containers have them: `parse` refuses that one."""
    try:
        return user_state_path() / STATE_FILE
    except RuntimeError:
        return Path(STATE_FILE)


def _show_default_file(path: Path | None) -> str:
    return "none" if path is None else str(path)


Duration = Annotated[float, _from_text(parse_duration), Written("DURATION", format_duration)]
Count = Annotated[int, Written("COUNT")]
Rate = Annotated[float, Written("NUMBER", "{:g}".format)]
Switch = Annotated[bool, Written("true|false", lambda on: str(on).lower())]
Address = Annotated[ListenAddress, _from_text(parse_listen_address), Written("HOST:PORT")]
UrlPath = Annotated[str, _from_text(parse_telemetry_path), Written("PATH")]
OptionalFile = Annotated[Path | None, _from_text(_parse_file), Written("FILE", _show_default_file)]
CaFile = Annotated[Path | None, _from_text(parse_ca_file), Written("FILE", _show_default_file)]
StateFile = Annotated[Path | None, _from_text(_parse_state_path), Written("FILE", _show_default_file)]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["logfmt", "json"]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WebConfigSettings(Section):
    file: OptionalFile = Field(
        default=None,
        description="TLS and basic auth for the pages, in the Prometheus exporter-toolkit format",
    )


class WebSettings(Section):
    listen_address: Address = Field(
        default=ListenAddress("", 9977),
        description="where to listen; an empty host is every interface, port 0 picks a free one and logs it",
    )
    telemetry_path: UrlPath = Field(default="/metrics", description="where the metrics are served")
    config: WebConfigSettings = Field(default_factory=WebConfigSettings)


class PollSettings(Section):
    interval: Annotated[Duration, DefaultNote(demo="2s")] = Field(
        default=30.0,
        gt=0,
        description="from the start of one poll to the start of the next",
    )
    lookback: Annotated[Duration, DefaultNote(demo="6h")] = Field(
        default=24 * 3600.0,
        ge=0,
        description="how far back the very first poll of a fresh state reads; "
        "0s counts only what finishes from now on",
    )
    sweep_interval: Duration = Field(
        default=3600.0,
        gt=0,
        description="how often finished runs are listed again to catch repairs and late listings; "
        "the first time one interval after the first poll",
    )
    sweep_window: Duration = Field(
        default=24 * 3600.0,
        gt=0,
        description="how far back, by start time, a sweep reads",
    )


class ApiSettings(Section):
    concurrency: Count = Field(default=16, ge=1, description="requests in flight per workspace")
    rate: Annotated[Rate, DefaultNote(demo="1000")] = Field(
        default=20.0,
        gt=0,
        allow_inf_nan=False,
        description="requests per second per workspace (documented server limits: list 30/s, get 100/s)",
    )
    timeout: Duration = Field(default=30.0, gt=0, description="how long one request may take")
    ca_file: CaFile = Field(
        default=None,
        description="PEM file of the CAs to trust for the workspace and an https:// proxy, in place of the "
        "system's; certificates are always verified",
    )


class StateSettings(Section):
    """Where the totals live. `path` None is memory only."""

    path: Annotated[StateFile, DefaultNote(text=f"{STATE_FILE} in the user's state folder (XDG)")] = Field(
        default_factory=_default_state_path,
        description="SQLite file that keeps the totals over restarts; empty is memory only",
    )

    @property
    def path_is_default(self) -> bool:
        """Whether nobody wrote a path: a demo then keeps out of the real state."""
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
    series: Annotated[Count, AfterValidator(_check_series)] = Field(
        default=1_000_000,
        ge=0,
        description="how many series of jobs to serve; the jobs that there is no more room for are counted "
        "together as job_id OTHER; 0 is no limit",
    )
    idle: Annotated[Duration, AfterValidator(_check_idle)] = Field(
        default=14 * 24 * 3600.0,
        ge=0,
        description="how long the series of a job stay without a run; 0s is for ever",
    )


class CollectSettings(Section):
    tasks: Switch = Field(default=True, description="serve the databricks_task_run_* families")


class LogSettings(Section):
    level: LogLevel = Field(default="info", description="the least severe lines to write")
    format: LogFormat = Field(default="logfmt", description="how lines are written to standard error")


class Settings(BaseSettings):
    """All settings. `Settings()` is every default and reads nothing but the user's state folder."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    web: WebSettings = Field(default_factory=WebSettings)
    poll: PollSettings = Field(default_factory=PollSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    state: StateSettings = Field(default_factory=StateSettings)
    limits: LimitsSettings = Field(default_factory=LimitsSettings)
    collect: CollectSettings = Field(default_factory=CollectSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @classmethod
    def from_layers(cls, *layers: Mapping[str, Any]) -> Self:
        """Settings from nested mappings of texts; the first layer that names a setting wins.

        Raises:
            pydantic.ValidationError: a value does not fit; its text quotes the value, so do not show it.
        """
        return cls.model_validate({_LAYERS: layers})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the caller passes.

        The library's own readers of environment and arguments take them from the process, split names at
        every underscore, and quote values in their errors; `flags.py` and `variables.py` replace them.
        """
        del env_settings, dotenv_settings, file_secret_settings
        given = dict(init_settings())
        layers: Sequence[dict[str, Any]] = given.pop(_LAYERS, ())
        return tuple(InitSettingsSource(settings_cls, layer) for layer in (given, *layers))


_LAYERS = "layers"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as people see it. `path`: attribute names from `Settings` down to the value."""

    path: tuple[str, ...]
    kind: str
    default_text: str
    help: str
    demo_default_text: str | None = None
    is_switch: bool = False

    @property
    def name(self) -> str:
        return ".".join(self.path).replace("_", "-")

    @property
    def flag(self) -> str:
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + "_".join(self.path).upper()


# Not in the model: a file cannot name the file it is read from.
CONFIG_FILE = Setting(
    path=("config", "file"),
    kind="FILE",
    default_text="none",
    help="YAML file with any of the settings below",
)


def all_settings() -> tuple[Setting, ...]:
    """Every setting of the model, in its order."""
    return tuple(_settings_of(Settings, ()))


def _settings_of(model: type[BaseModel], above: tuple[str, ...]) -> Iterator[Setting]:
    for attribute, field in model.model_fields.items():
        path = (*above, attribute)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings_of(field.annotation, path)
        else:
            yield _setting(path, field)


def _setting(path: tuple[str, ...], field: FieldInfo) -> Setting:
    note = next((extra for extra in field.metadata if isinstance(extra, DefaultNote)), DefaultNote())
    written = next((extra for extra in field.metadata if isinstance(extra, Written)), None)
    if written is None:
        written = Written("|".join(get_args(field.annotation)))
    return Setting(
        path=path,
        kind=written.kind,
        default_text=note.text or written.text(field.default),
        help=field.description or "",
        demo_default_text=note.demo,
        is_switch=field.annotation is bool,
    )
