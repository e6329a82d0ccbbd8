"""The embedded server's life, across processes that come, go and are killed."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from forecasting.errors import CannotConnect
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.connection import connect, open_pool
from forecasting.warehouse.embedded import find_server
from scripts.bench.harness import PATIENCE_SECONDS
from tests.full_disk import small_disk

PAGE_VISITS = 8921516  # of the sample site: `zcat daily_metrics.csv.gz | awk -F, '{n += $2} END {print n}'`

# Connects, says the sum of page_visits, and stays until its input ends.
USER = """
import asyncio, os, subprocess, sys
from forecasting.settings.loading import load_config
from forecasting.warehouse.connection import connect

async def total():
    connection = await connect(load_config().database)
    try:
        return await connection.fetchval("select sum(page_visits) from daily_metrics")
    finally:
        await connection.close()

print(asyncio.run(total()), flush=True)
"""
STAY = USER + "sys.stdin.read()\n"


@pytest.fixture
def empty(short_folder: Path) -> Iterator[Path]:
    """A folder where nothing was started yet."""
    created = Path(tempfile.mkdtemp(prefix="pg", dir=short_folder))
    yield created
    for process in servers(created):
        process.kill()
    shutil.rmtree(created)


@pytest.fixture(scope="module")
def stopped(short_folder: Path) -> Iterator[Path]:
    """A folder whose server was used once; tests take copies, which are sooner made than new ones."""
    created = Path(tempfile.mkdtemp(prefix="pg", dir=short_folder))
    find_server(created).join("siteanalytics")
    find_server(created).leave()
    with (created / "18" / "postgresql.conf").open("a") as settings:
        settings.write("fsync = off\n")  # nothing here cuts the power
    yield created
    shutil.rmtree(created)


@pytest.fixture
def folder(empty: Path, stopped: Path) -> Path:
    subprocess.run(["cp", "-a", f"{stopped}/.", empty], check=True)
    return empty


def servers(folder: Path) -> list[psutil.Process]:
    """The postmasters whose data folder is below `folder`, as the operating system tells them."""
    actual = []
    for process in psutil.process_iter():
        try:
            parent = process.parent()
            started = process.name() == "postgres" and (parent is None or parent.name() != "postgres")
            if started and Path(process.cwd()).is_relative_to(folder):
                actual.append(process)
        except psutil.Error:
            continue
    return actual


def start(folder: Path, program: str = STAY) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DB_", "PG"))}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        env={**environment, "TRAFFIC_PGDATA": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def hear(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def end(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0


def kill(process: subprocess.Popen[str]) -> None:
    """The process, and initdb or pg_ctl where it runs one; not postgres, whose shared memory nobody would remove."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            if child.name() != "postgres":
                child.kill()
    process.communicate()


def test_two_processes_at_once_make_one_server_and_the_last_out_stops_it(empty: Path) -> None:
    first, second = start(empty), start(empty)
    assert [hear(first), hear(second)] == [PAGE_VISITS, PAGE_VISITS]
    (server,) = servers(empty)
    end(first)
    assert servers(empty) == [server]
    end(second)
    assert servers(empty) == []


def test_killed_user_is_not_counted(folder: Path) -> None:
    killed = start(folder)
    assert hear(killed) == PAGE_VISITS
    kill(killed)
    assert len(servers(folder)) == 1
    next_user = start(folder)
    assert hear(next_user) == PAGE_VISITS
    end(next_user)
    assert servers(folder) == []


def test_children_do_not_keep_the_server_up(folder: Path) -> None:
    program = USER + (
        "started = subprocess.Popen(['sleep', '60'])\n"
        "forked = os.fork()\n"
        "if not forked:\n"
        "    os.execvp('sleep', ['sleep', '60']) if sys.stdin.readline() == 'run' else __import__('time').sleep(60)\n"
        "print(started.pid, forked, sep='\\n', flush=True)\n"
    )
    process = start(folder, program)
    assert hear(process) == PAGE_VISITS
    children = [psutil.Process(hear(process)), psutil.Process(hear(process))]
    try:
        process.wait(timeout=PATIENCE_SECONDS)
        assert [child.is_running() for child in children] == [True, True]
        assert servers(folder) == []
    finally:
        for child in children:
            child.kill()
        process.communicate()


def test_data_outlives_the_server(folder: Path) -> None:
    config = DatabaseConfig(pgdata=folder)

    async def execute(statement: str) -> int | None:
        connection = await connect(config, writable=True)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    asyncio.run(execute("insert into daily_metrics (date, page_visits) values ('2020-08-20', 1)"))
    find_server(folder).leave()
    assert servers(folder) == []
    assert asyncio.run(execute("select sum(page_visits) from daily_metrics")) == PAGE_VISITS + 1
    find_server(folder).leave()


def test_killed_server_is_started_again_by_the_next_connection(folder: Path) -> None:
    config = DatabaseConfig(pgdata=folder)

    async def use() -> list[int]:
        pool = await open_pool(config, max_size=1)
        query = "select sum(page_visits) from daily_metrics"
        try:
            sums = [await pool.fetchval(query)]
            kill_server(folder)
            connection = await connect(config)
            sums.append(await connection.fetchval(query))
            await connection.close()
            sums.append(await pool.fetchval(query))
            return sums
        finally:
            await pool.close()

    assert asyncio.run(use()) == [PAGE_VISITS] * 3
    assert len(servers(folder)) == 1  # and no backend of the killed one
    find_server(folder).leave()
    assert servers(folder) == []


def kill_server(folder: Path) -> None:
    (server,) = servers(folder)
    server.kill()
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:  # some containers never bury it
        time.sleep(0.01)


def test_killed_server_and_user_leave_nothing_in_the_way(folder: Path) -> None:
    killed = start(folder)
    assert hear(killed) == PAGE_VISITS
    kill(killed)
    kill_server(folder)
    assert (folder / "18" / "postmaster.pid").exists()
    next_user = start(folder)
    assert hear(next_user) == PAGE_VISITS
    end(next_user)


def test_pid_that_another_program_has_now_is_not_taken_for_the_server(folder: Path) -> None:
    server = find_server(folder)
    server.join("siteanalytics")
    file = folder / "18" / "postmaster.pid"
    lines = file.read_text().splitlines()
    server.leave()
    other = subprocess.Popen(["sleep", "60"], user=file.parent.stat().st_uid if os.geteuid() == 0 else None)
    try:
        file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        server.join("siteanalytics")
        assert [process.pid for process in servers(folder)] != [other.pid]
        assert len(servers(folder)) == 1
    finally:
        other.kill()
        other.wait()
        server.leave()


def test_kill_at_any_moment_of_the_first_start_breaks_nothing(empty: Path) -> None:
    for seconds in (0.5, 0.7, 0.9):
        process = start(empty)
        time.sleep(seconds)
        kill(process)
    survivor = start(empty)
    assert hear(survivor) == PAGE_VISITS
    end(survivor)
    assert servers(empty) == []


def test_interrupted_initdb_is_started_over(empty: Path) -> None:
    process = start(empty)
    deadline = time.monotonic() + 300
    while not list(empty.glob("18.new-*/PG_VERSION")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()  # its initdb goes on, and must disturb nobody
    process.communicate()
    assert not (empty / "18").exists()
    survivor = start(empty)
    assert hear(survivor) == PAGE_VISITS
    end(survivor)
    leftovers = list(empty.glob("18.new-*"))
    assert len(leftovers) == 1
    os.utime(leftovers[0], (0, 0))
    find_server(empty).join("siteanalytics")
    find_server(empty).leave()
    assert sorted(path.name for path in empty.iterdir()) == ["18", "lock", "users"]


def test_half_loaded_database_is_loaded_again(empty: Path) -> None:
    """As after a kill between the creation of the database and the end of the load."""
    server = find_server(empty)
    server.join("other")

    async def leave_half() -> None:
        connection = await connect(DatabaseConfig(pgdata=empty, name="other"), writable=True)
        await connection.execute("create database siteanalytics_unfinished")
        await connection.close()

    asyncio.run(leave_half())
    user = start(empty)
    assert hear(user) == PAGE_VISITS
    end(user)
    server.leave()


@pytest.mark.parametrize("name", ["a folder, with 'quotes' and ümlauts", "x" * 120])
def test_odd_and_long_paths_work(empty: Path, name: str) -> None:
    user = start(empty / name)
    assert hear(user) == PAGE_VISITS
    sockets = find_server(empty / name).socket_folder
    assert sockets.stat().st_mode & 0o077 == 0
    end(user)
    assert servers(empty) == []
    assert sockets == empty / name / "18" or not sockets.exists()


def test_only_the_owner_may_enter_the_data(folder: Path) -> None:
    user = start(folder)
    assert hear(user) == PAGE_VISITS
    assert (folder / "18").stat().st_mode & 0o077 == 0
    (server,) = servers(folder)
    assert server.net_connections(kind="inet") == []
    end(user)


def test_server_that_cannot_start_says_why(folder: Path) -> None:
    server = find_server(folder)
    server.join("siteanalytics")
    server.leave()
    with (folder / "18" / "postgresql.conf").open("a") as settings:
        settings.write("shared_buffers = many\n")
    with pytest.raises(CannotConnect) as caught:
        asyncio.run(connect(DatabaseConfig(pgdata=folder)))
    assert str(caught.value).startswith(f"The embedded PostgreSQL in {folder}/18 does not start. Its log ends: ")
    assert 'invalid value for parameter "shared_buffers": "many"' in str(caught.value)


def test_disk_without_room_for_the_first_start_is_named(empty: Path) -> None:
    empty.mkdir(exist_ok=True)
    with small_disk(empty, num_bytes=20 * 2**20):
        with pytest.raises(CannotConnect) as caught:
            find_server(empty).join("siteanalytics")
        assert not list(empty.glob("18*"))
    assert str(caught.value) == (
        f"Only 21.0 MB are free in {empty}/18 for the embedded PostgreSQL, and 60.0 MB are needed. Make room, or set "
        "TRAFFIC_PGDATA to another place. Or set DB_HOST to use your own server."
    )


def test_folder_that_cannot_be_made_is_named(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(CannotConnect) as caught:
        asyncio.run(connect(DatabaseConfig(pgdata=folder / "file" / "pg")))
    assert str(caught.value) == (
        f"The embedded PostgreSQL cannot be kept in {folder}/file/pg: Not a directory. Set TRAFFIC_PGDATA to a "
        "writable folder, or DB_HOST to use your own server."
    )


def test_first_use_says_that_the_embedded_server_is_used(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def connect_twice() -> None:
        for _ in range(2):
            connection = await connect(DatabaseConfig(pgdata=folder))
            await connection.close()

    with caplog.at_level("INFO", logger="forecasting.warehouse"):
        asyncio.run(connect_twice())
    find_server(folder).leave()
    assert [text for text in caplog.messages if "DB_HOST" in text] == [
        f"none of DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD is set: using the embedded PostgreSQL in {folder}"
    ]


def test_connecting_at_once_starts_one_server_without_blocking_the_loop(empty: Path) -> None:
    async def use() -> tuple[list[int], float, float]:
        config = DatabaseConfig(pgdata=empty)
        longest, done, start = 0.0, asyncio.Event(), time.monotonic()

        async def watch() -> None:
            nonlocal longest
            while not done.is_set():
                began = time.monotonic()
                await asyncio.sleep(0.01)
                longest = max(longest, time.monotonic() - began)

        watching = asyncio.create_task(watch())
        connections = await asyncio.gather(*(connect(config) for _ in range(4)))
        took = time.monotonic() - start
        done.set()
        await watching
        sums = [await connection.fetchval("select sum(page_visits) from daily_metrics") for connection in connections]
        await asyncio.gather(*(connection.close() for connection in connections))
        return sums, longest, took

    sums, longest, took = asyncio.run(use())
    assert sums == [PAGE_VISITS] * 4
    assert longest < took / 2, json.dumps({"seconds that the loop stood still": longest, "of": took})
    assert len(servers(empty)) == 1
    find_server(empty).leave()
