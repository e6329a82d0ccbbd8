"""What bench_serving.py and bench_faults.py measure: many sites, a version with the base's weights, and serving."""

import asyncio
import datetime as dt
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import psutil
from load_generator import write_request

from forecasting.artifact import (
    CARD,
    PROGRAM,
    PROMOTED,
    export_program,
    load_artifact,
    load_base,
    staged_version,
    write_card,
)
from forecasting.card import Card, describe_libraries, describe_series_card, now_text
from forecasting.domain import EPOCH, Kind, Series
from forecasting.errors import CannotStart
from forecasting.model.forecaster import LEVELS
from forecasting.predictor import Window, usual_bands
from forecasting.serving.prediction_service import PredictionService
from forecasting.serving.recent_windows import RecentWindows
from forecasting.settings.loading import list_settings, load_config
from forecasting.settings.schema import Config, DatabaseConfig
from forecasting.warehouse.connection import connect
from forecasting.warehouse.embedded import find_server

SCRIPTS = Path(__file__).resolve().parents[1]
VERSION, DATABASE = "bench", "siteanalytics"
METRICS = ("page_visits", "page_views", "unique_visitors", "visits")
NUM_DAYS = 120
KEY = "bench-reads-with-this-key-and-no-other"
PORTS = ("inference", "management", "metrics", "grpc_inference", "grpc_management")
UNWANTED = ("DB_", "MODEL_", "PORT", "DEBUG", "SOURCE_URL", "CACHE_URL", "API_KEYS", "TRAFFIC_")  # of the environment
START_SECONDS, STOP_SECONDS = 120, 30
MIB = 2**20
# Weekly seasonality, growth and noise, until the day before $2.
TABLE = """
drop table if exists daily_metrics cascade;
create table daily_metrics (
    site text, date date, page_visits integer, page_views integer, unique_visitors integer, visits integer,
    unique (site, date)
)
"""
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


@dataclass(frozen=True)
class Place:
    """A scratch folder with a filled database and a version, for programs to be started in."""

    folder: Path
    config: Config

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(UNWANTED)}
        return {**kept, **_variables(self.folder), "API_KEYS": f"bench:admin:{KEY}", "PYTHONUNBUFFERED": "1"}

    @cached_property
    def card(self) -> Card:
        return load_artifact(self.config.model_dir, VERSION).card

    @cached_property
    def instances(self) -> list[Window]:
        """The window of each series of the card, as serving makes it."""
        history = RecentWindows(self.config, self.card)

        async def read() -> list[Window]:
            try:
                read = await history.read(self.card.series)
            finally:
                await history.close()
            return [one for one in read if isinstance(one, Window)]

        return asyncio.run(read())

    def leave_database(self) -> None:
        """So that nobody but serve.py keeps it running."""
        find_server(self.config.database.pgdata).leave()


@dataclass
class Program:
    """A script that runs, with all it has said."""

    process: "subprocess.Popen[bytes]"
    log: Path
    url: str = ""

    @property
    def port(self) -> int:
        return int(urlsplit(self.url).port or 0)

    def wait_for(self, pattern: str) -> "re.Match[str]":
        """Raises CannotStart where it ends, or does not say it."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            said = self.log.read_text()
            if found := re.search(pattern, said):
                return found
            if self.process.poll() is not None:
                raise CannotStart(f"{self.log.name} ended with {self.process.returncode}:\n{said[-2000:]}")
            time.sleep(0.05)
        raise CannotStart(f"{self.log.name}: {pattern!r} was not said in {START_SECONDS} s:\n{said[-2000:]}")

    def stop(self) -> None:
        """SIGTERM; whatever of its descendants is left after that, stopped ones too, is killed."""
        family = [psutil.Process(self.process.pid), *self.children()] if self.process.poll() is None else []
        for one in family:
            with suppress(psutil.Error):
                one.resume()
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        for one in family:
            with suppress(psutil.Error):
                one.kill()
        self.process.wait()

    def children(self, name: str = "") -> list[psutil.Process]:
        with suppress(psutil.Error):
            return [one for one in psutil.Process(self.process.pid).children(recursive=True) if name in command_of(one)]
        return []


@contextmanager
def made_place(*, num_sites: int) -> Iterator[Place]:
    """Everything in it is removed at the end, its PostgreSQL stopped."""
    folder = Path(tempfile.mkdtemp(prefix="forecaster-bench", dir="/tmp"))  # a short path, as a socket's must be
    config = load_config(environ=_variables(folder))
    try:
        print(f"making {num_sites} sites of {NUM_DAYS} days, and a version of their series ...", file=sys.stderr)
        asyncio.run(_fill(config.database, num_sites))
        _make_version(config, num_sites)
        yield Place(folder, config)
    finally:
        find_server(config.database.pgdata).leave()
        send_all(find_postgres(folder), signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def serving(place: Place, *settings: str, temporary: Path | None = None) -> Iterator[Program]:
    """scripts/serve.py, once it answers. Settings that this version does not have are left out. TorchServe's logs and
    other files of its own are in `temporary`, where that is said. Raises CannotStart.
    """
    known = {key for key, _, _ in list_settings()}
    taken = [one for one in settings if one.partition("=")[0] in known]
    free = [f"serving.{name}_port=0" for name in PORTS]
    with running(place, "serve.py", "--port", "0", *free, *taken, temporary=temporary) as program:
        program.url = program.wait_for(r"is served on (http://\S+)")[1]
        yield program


@contextmanager
def running(place: Place, script: str, *arguments: str, temporary: Path | None = None) -> Iterator[Program]:
    log = place.folder / f"{Path(script).name}.{time.monotonic_ns()}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, SCRIPTS / script, *arguments],
            env={**place.environment, **({"TMPDIR": str(temporary)} if temporary else {})},
            cwd=place.folder,  # without the .env of whoever measures
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    program = Program(process, log)
    try:
        yield program
    finally:
        program.stop()


@dataclass(frozen=True)
class TorchServePlace:
    """Where the TorchServe behind the shim answers, and with which key."""

    port: int
    key: str
    run_dir: Path


def find_torchserve(program: Program) -> TorchServePlace:
    """The last that its log names."""
    program.wait_for("TorchServe answers on")
    said = re.findall(r"TorchServe answers on (\S+) and .* its keys are in (\S+)", program.log.read_text())[-1]
    key_file = Path(said[1])
    key = json.loads(key_file.read_text())["inference"]["key"]
    return TorchServePlace(int(urlsplit(said[0]).port or 0), key, key_file.parent)


def ask_shim(site: str, metric: str = "page_visits", *, days_ahead: int = 7) -> bytes:
    """As the shortest route takes it."""
    if metric == "page_visits":
        return write_request("GET", f"/predict/page-visits?days_ahead={days_ahead}&site={site}", key=KEY)
    return post_shim(site, metric, days_ahead=days_ahead)


def post_shim(site: str, metric: str, *, days_ahead: int = 7) -> bytes:
    body = orjson.dumps({"days_ahead": days_ahead, "metric": metric, "site": site})
    return write_request("POST", "/predict", body=body, key=KEY)


def ask_shim_multiple(sites: Sequence[str]) -> bytes:
    body = orjson.dumps({"metrics": ["page_visits"], "sites": sites})
    return write_request("POST", "/predict/multiple", body=body, key=KEY)


def ask_torchserve(instances: Sequence[Window], *, key: str) -> bytes:
    return write_request("POST", f"/predictions/forecaster/{VERSION}", body=_instances_body(instances), key=key)


def ask_plain(instances: Sequence[Window]) -> bytes:
    return write_request("POST", "/predict", body=_instances_body(instances))


def _instances_body(instances: Sequence[Window]) -> bytes:
    told = [
        {
            "history": one.history.tolist(),
            "first_day": (EPOCH + dt.timedelta(days=one.first_day)).isoformat(),
            "kind": one.kind.value,
            "band_scale": one.band_scale[:7].tolist(),
        }
        for one in instances
    ]
    return orjson.dumps({"instances": told})


def promote_another(place: Place, program: Program) -> None:
    """Has a copy of the version served, under another name, until the program ends. Raises CannotStart."""
    store, other = place.config.model_dir, f"{VERSION}-again"
    shutil.copytree(store / VERSION, store / other)
    try:
        (store / other / CARD).unlink()
        write_card(store / other, replace(place.card, version=other))
        body = orjson.dumps({"version": other})
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        with closing(HTTPConnection("127.0.0.1", program.port, timeout=START_SECONDS)) as connection:
            connection.request("POST", "/model/promote", body, headers)
            answer = orjson.loads(connection.getresponse().read())
            while answer.get("status") in {"queued", "running"}:
                connection.request("GET", f"{answer['follow']}?wait=10", headers=headers)
                answer = orjson.loads(connection.getresponse().read())
            if answer.get("status") != "promoted":
                raise CannotStart(f"{other} was not promoted: {answer.get('reason') or answer.get('detail')}")
    finally:
        shutil.rmtree(store / other)
        (store / PROMOTED).unlink(missing_ok=True)


def tell_truth(place: Place, series: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The predictions of each site and metric, by PredictionService in this process."""
    with PredictionService(replace(place.config, serving=replace(place.config.serving, model_version=VERSION))) as ours:
        return {(site, metric): ours.predict(metric, site=site)["predictions"] for site, metric in series}


def find_parts(place: Place, program: Program) -> dict[str, list[psutil.Process]]:
    """The processes of each part of serving."""
    descendants = program.children()
    postgres = find_postgres(place.folder)
    ours = [one for one in descendants if one not in postgres]
    return {
        "shim": [psutil.Process(program.process.pid)],
        "TorchServe, Java": [one for one in ours if "ModelServer" in command_of(one)],
        "TorchServe, workers": [one for one in ours if "model_service_worker" in command_of(one)],
        "PostgreSQL": postgres,
    }


def find_postgres(folder: Path) -> list[psutil.Process]:
    """The embedded server of a place, its postmaster first; none where it does not run."""
    for file in folder.glob("pg/*/postmaster.pid"):
        with suppress(psutil.Error, ValueError, IndexError, OSError):
            postmaster = psutil.Process(int(file.read_text().split()[0]))
            if "postgres" in postmaster.name():
                return [postmaster, *postmaster.children(recursive=True)]
    return []


def send_all(processes: Sequence[psutil.Process], what: signal.Signals) -> None:
    for one in processes:
        with suppress(psutil.Error):
            one.send_signal(what)


def memory_of(processes: Sequence[psutil.Process]) -> int:
    """Bytes, each shared page counted once among those who share it."""
    total = 0
    for one in processes:
        with suppress(psutil.Error, AttributeError):
            total += one.memory_full_info().pss
    return total


def command_of(process: psutil.Process) -> str:
    """Nothing of one that is dead or dying."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _variables(folder: Path) -> Mapping[str, str]:
    return {"TRAFFIC_PGDATA": str(folder / "pg"), "MODEL_DIR": str(folder / "store")}


async def _fill(database: DatabaseConfig, num_sites: int) -> None:
    connection = await connect(database, writable=True, timeout_seconds=600)
    try:
        await connection.execute("select setseed(0.5)")
        await connection.execute(TABLE)
        await connection.execute(FILL, num_sites, dt.datetime.now(dt.UTC).date(), NUM_DAYS)
        await connection.execute("vacuum analyze daily_metrics")
    finally:
        await connection.close()


def _make_version(config: Config, num_sites: int) -> None:
    """The base as it is: its speed is that of any version of its size, and nothing is trained."""
    base = load_base()
    bands = usual_bands(base.settings.prediction_horizon)
    series = [
        Series(f"site-{number:04}", metric, Kind.count, additive=metric != "unique_visitors", unit_scale=1.0)
        for number in range(num_sites)
        for metric in METRICS
    ]
    today = dt.datetime.now(dt.UTC).date()
    card = Card(
        version=VERSION,
        created_at=now_text(),
        model={
            "sequence_length": base.settings.sequence_length,
            "prediction_horizon": base.settings.prediction_horizon,
        },
        context_length=base.settings.context_length,
        levels=LEVELS,
        total_parameters=base.num_parameters(),
        features=(),
        data={
            "source": "siteanalytics",
            "missing": "zero",
            "timezone": "UTC",
            "last_day": str(today - dt.timedelta(1)),
        },
        series=tuple(describe_series_card(one, bands) for one in series),
        training={},
        libraries=describe_libraries(),
        hashes={},
    )
    with staged_version(config.model_dir, VERSION) as folder:
        export_program(base, folder / PROGRAM)
        write_card(folder, card)
