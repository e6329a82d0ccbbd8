"""What bench_serving.py and bench_faults.py measure: the base model served to made sites, in a scratch folder."""

import asyncio
import datetime as dt
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from http.client import HTTPConnection
from pathlib import Path
from signal import SIGKILL
from typing import Any
from urllib.parse import urlsplit

import orjson
import psutil
from harness import PATIENCE_SECONDS, Place, Process, clean_environment, command_of, family_of, send_all
from load_generator import write_request
from versions import write_version

from forecasting.artifact import CARD, PROMOTED, load_artifact, load_base, write_card
from forecasting.card import Card, describe_series_card
from forecasting.domain import Kind, Series
from forecasting.predictor import Window, usual_bands
from forecasting.serving.prediction_service import PredictionService
from forecasting.serving.recent_windows import RecentWindows
from forecasting.serving.torchserve import protocol
from forecasting.settings.loading import load_config
from forecasting.settings.schema import Config, DatabaseConfig
from forecasting.warehouse.connection import connect, connected
from forecasting.warehouse.embedded import find_server

VERSION = "bench"
METRICS = ("page_visits", "page_views", "unique_visitors", "visits")
NUM_DAYS = 120
KEY = "bench-reads-with-this-key-and-no-other"
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
UNLIMITED = "guard.requests_per_second=0"
TABLE = """
drop table if exists daily_metrics cascade;
create table daily_metrics (
    site text, date date, page_visits integer, page_views integer, unique_visitors integer, visits integer,
    unique (site, date)
)
"""
# $1 sites with $3 days of weekly seasonality, growth and noise, the last one the day before $2.
FILL = """
insert into daily_metrics (site, date, page_visits, page_views, unique_visitors, visits)
select
    'site-' || lpad(n::text, 4, '0'),
    $2::date - d,
    shape * exp(0.2 * random()),
    shape * exp(0.2 * random()) * 2.2,
    shape * exp(0.2 * random()) * 0.6,
    shape * exp(0.2 * random()) * 0.8
from generate_series(0, $1::integer - 1) as n
cross join generate_series(1, $3::integer) as d
cross join lateral (select 1000 * (1 + n % 17) * (1 + 0.3 * sin(d * 2 * pi() / 7)) * exp(-0.002 * d) as shape) as made
"""
Truth = dict[tuple[str, str], list[dict[str, Any]]]  # predictions by site and metric


@dataclass(frozen=True)
class Stack:
    """A filled database and a version, in a scratch folder."""

    place: Place
    config: Config

    @property
    def folder(self) -> Path:
        return self.place.folder

    @property
    def standby(self) -> Path:
        """Where a second PostgreSQL may be."""
        return self.folder / "standby"

    @cached_property
    def card(self) -> Card:
        return load_artifact(self.config.model_dir, VERSION).card

    @cached_property
    def windows(self) -> list[Window]:
        """The window of each series of the card, as serving reads it."""
        reader = RecentWindows(be_patient(self.config), self.card)

        async def read() -> list[Window]:
            try:
                windows = await reader.read(self.card.series)
            finally:
                await reader.close()
            return [window for window in windows if isinstance(window, Window)]

        return asyncio.run(read())

    def leave_database(self) -> None:
        """So that only serve.py keeps it running."""
        find_server(self.config.database.pgdata).leave()

    def serve(self, *settings: str, **variables: str) -> Process:
        """scripts/serve.py."""
        return self.place.serve(*settings, **variables)

    def fill(self) -> None:
        """Makes the source's table, the same each time."""
        with self._visiting_database():
            asyncio.run(_fill(self.config.database, len(self.card.series) // len(METRICS)))

    def execute(self, *statements: str) -> None:
        """As the owner of the database."""

        async def run() -> None:
            async with connected(self.config.database, writable=True) as connection:
                for statement in statements:
                    await connection.execute(statement)

        with self._visiting_database():
            asyncio.run(run())

    @contextmanager
    def _visiting_database(self) -> Iterator[None]:
        """Afterwards this process keeps it running only if it did before."""
        keeps = find_server(self.config.database.pgdata).in_use
        yield
        if not keeps:
            self.leave_database()


@contextmanager
def made_stack(*, num_sites: int) -> Iterator[Stack]:
    """Removes everything at the end, and stops PostgreSQL."""
    folder = Path(tempfile.mkdtemp(prefix="bench"))
    variables = {"TRAFFIC_PGDATA": str(folder / "pg"), "MODEL_DIR": str(folder / "store")}
    config = load_config(environ=variables)
    try:
        print(f"making {num_sites} sites of {NUM_DAYS} days, and a version of their series ...", file=sys.stderr)
        asyncio.run(_fill(config.database, num_sites))
        _write_version(config, num_sites)
        yield Stack(Place(folder, clean_environment(**variables, API_KEYS=f"bench:admin:{KEY}")), config)
    finally:
        find_server(config.database.pgdata).leave()
        send_all(find_postgres(folder), SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


async def _fill(database: DatabaseConfig, num_sites: int) -> None:
    connection = await connect(database, writable=True, timeout_seconds=600)
    try:
        await connection.execute("select setseed(0.5)")
        await connection.execute(TABLE)
        await connection.execute(FILL, num_sites, dt.datetime.now(dt.UTC).date(), NUM_DAYS)
        await connection.execute("vacuum analyze daily_metrics")
    finally:
        await connection.close()


def _write_version(config: Config, num_sites: int) -> None:
    """The base model as it is: any version of its size is as fast."""
    base = load_base()
    bands = usual_bands(base.settings.output_days)
    series = [
        Series(f"site-{number:04}", metric, Kind.count, additive=metric != "unique_visitors", unit_scale=1.0)
        for number in range(num_sites)
        for metric in METRICS
    ]
    last_day = dt.datetime.now(dt.UTC).date() - dt.timedelta(1)
    data = {"source": "siteanalytics", "missing": "zero", "timezone": "UTC", "last_day": str(last_day)}
    cards = tuple(describe_series_card(each, bands) for each in series)
    write_version(base, config.model_dir, VERSION, series=cards, data=data)


@dataclass(frozen=True)
class TorchServePlace:
    """Where TorchServe answers, and with which key."""

    port: int
    key: str
    run_dir: Path


def find_torchserve(process: Process) -> TorchServePlace:
    """The last one that serve.py's log names."""
    process.wait_for("TorchServe answers on")
    url, key_file = re.findall(r"TorchServe answers on (\S+) and .* its keys are in (\S+)", process.text)[-1]
    key = json.loads(Path(key_file).read_text())["inference"]["key"]
    return TorchServePlace(int(urlsplit(url).port or 0), key, Path(key_file).parent)


def ask_shim(site: str, metric: str = "page_visits", *, days_ahead: int = 7) -> bytes:
    """By the shortest route."""
    if metric == "page_visits":
        return write_request("GET", f"/predict/page-visits?days_ahead={days_ahead}&site={site}", key=KEY)
    return post_shim(site, metric, days_ahead=days_ahead)


def post_shim(site: str, metric: str, *, days_ahead: int = 7) -> bytes:
    body = orjson.dumps({"days_ahead": days_ahead, "metric": metric, "site": site})
    return write_request("POST", "/predict", body=body, key=KEY)


def ask_shim_multiple(sites: Sequence[str]) -> bytes:
    body = orjson.dumps({"metrics": ["page_visits"], "sites": sites})
    return write_request("POST", "/predict/multiple", body=body, key=KEY)


def ask_torchserve(windows: Sequence[Window], *, key: str) -> bytes:
    return write_request("POST", f"/predictions/forecaster/{VERSION}", body=protocol.write_request(windows, 7), key=key)


def ask_plain(windows: Sequence[Window]) -> bytes:
    return write_request("POST", "/predict", body=protocol.write_request(windows, 7))


def promote_copy(stack: Stack, process: Process, *, num_series: int | None = None) -> Mapping[str, Any]:
    """What becomes of promoting a copy of the version under another name, with its first series. It is served until
    serve.py ends.
    """
    store, other = stack.config.model_dir, f"{VERSION}-again"
    shutil.copytree(store / VERSION, store / other)
    try:
        (store / other / CARD).unlink()
        write_card(store / other, replace(stack.card, version=other, series=stack.card.series[:num_series]))
        return _promote(process, other)
    finally:
        shutil.rmtree(store / other)
        (store / PROMOTED).unlink(missing_ok=True)


def _promote(process: Process, version: str) -> Mapping[str, Any]:
    """The promotion's outcome."""
    with closing(HTTPConnection("127.0.0.1", process.port, timeout=PATIENCE_SECONDS)) as connection:
        connection.request("POST", "/model/promote", orjson.dumps({"version": version}), HEADERS)
        promotion: Mapping[str, Any] = orjson.loads(connection.getresponse().read())
        while promotion.get("status") in {"queued", "running"}:
            connection.request("GET", f"{promotion['follow']}?wait=10", headers=HEADERS)
            promotion = orjson.loads(connection.getresponse().read())
    return promotion


def read_health(process: Process) -> Mapping[str, Any]:
    with closing(HTTPConnection("127.0.0.1", process.port, timeout=PATIENCE_SECONDS)) as connection:
        connection.request("GET", "/health", headers=HEADERS)
        health: Mapping[str, Any] = orjson.loads(connection.getresponse().read())
    return health


def be_patient(config: Config) -> Config:
    """The first reading of all days takes longer than serving waits, on a busy machine."""
    return replace(config, serving=replace(config.serving, deadline_seconds=PATIENCE_SECONDS))


def predict_here(stack: Stack, series: Sequence[tuple[str, str]]) -> Truth:
    """The predictions of each site and metric, by PredictionService in this process."""
    config = replace(stack.config, model_version=VERSION)
    metrics_by_site: dict[str, list[str]] = {}
    for site, metric in series:
        metrics_by_site.setdefault(site, []).append(metric)
    with PredictionService(be_patient(config)) as service:
        answers = {site: service.predict_multiple(names, site=site) for site, names in metrics_by_site.items()}
    return {(site, metric): answers[site][metric]["predictions"] for site, metric in series}


def find_parts(stack: Stack, process: Process) -> dict[str, list[psutil.Process]]:
    """The processes of each part of serving."""
    return {
        "shim": [psutil.Process(process.process.pid)],
        "TorchServe, Java": process.children("ModelServer"),
        "TorchServe, workers": process.children("model_service_worker"),
        "PostgreSQL": find_postgres(stack.folder),
    }


def find_postgres(folder: Path) -> list[psutil.Process]:
    """The embedded server below this folder, its postmaster first; empty if none runs."""
    for file in folder.glob("pg/*/postmaster.pid"):
        with suppress(psutil.Error, ValueError, IndexError, OSError):
            postmaster = psutil.Process(int(file.read_text().split()[0]))
            if "postgres" in command_of(postmaster):
                return family_of(postmaster)
    return []
