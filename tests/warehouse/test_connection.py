"""The errors of failed connections, against real servers. None of them contains the password."""

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from forecasting.errors import CannotConnect, WarehouseError
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.cluster import Cluster, programs
from forecasting.warehouse.connection import connect, open_pool, translate_errors

SECRET = "hunter2-Geheim"  # distinct from every word of a message


@pytest.fixture(scope="module")
def guarded(short_folder: Path) -> Iterator[DatabaseConfig]:
    """A server on a TCP port that asks for a password, like a user's own."""
    folder = short_folder / "guarded"
    folder.mkdir()
    cluster = Cluster(folder)
    cluster.start()
    asyncio.run(_set_password(cluster.socket_folder))
    cluster.stop()
    (cluster.data / "pg_hba.conf").write_text("host all postgres,reader 127.0.0.1/32 scram-sha-256\n")
    port = free_port()
    options = f"-h 127.0.0.1 -p {port} -k . -c max_connections=20"
    control(cluster.data, "start", "-w", "-o", options, "-l", str(cluster.data / "log"))
    yield DatabaseConfig(embedded=False, host="127.0.0.1", port=port, name="postgres", password=SECRET)
    control(cluster.data, "stop", "-m", "fast", "-w")


async def _set_password(sockets: Path) -> None:
    connection = await asyncpg.connect(host=str(sockets), user="postgres", database="postgres", password="")
    await connection.execute(f"alter role postgres password '{SECRET}'")
    await connection.execute(f"create role reader login password '{SECRET}'")
    await connection.execute("create database closed")
    await connection.execute("revoke connect on database closed from public")
    await connection.close()


def control(data: Path, *arguments: str) -> None:
    """pg_ctl as the data's owner: PostgreSQL refuses to run as root."""
    owner = data.stat()
    account = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    command = [programs() / "pg_ctl", *arguments, "-D", data]
    subprocess.run(command, check=True, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **account)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def refusal(config: DatabaseConfig) -> str:
    """The text of the error, after checking that neither it nor its cause contains the password."""
    with pytest.raises(CannotConnect) as caught:
        asyncio.run(connect(config))
    assert SECRET not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {config!r}"
    return str(caught.value)


def test_right_password_connects(guarded: DatabaseConfig) -> None:
    async def ask() -> tuple[str, ...]:
        connection = await connect(guarded)
        async with connection.transaction():
            row = await connection.fetchrow(
                "select current_setting('application_name'), current_setting('transaction_read_only'), "
                "current_setting('TimeZone'), current_setting('statement_timeout')"
            )
        await connection.close()
        return tuple(row)

    assert asyncio.run(ask()) == ("website-traffic-forecasting", "on", "UTC", "1min")


def test_only_a_writable_connection_writes(guarded: DatabaseConfig) -> None:
    async def write(writable: bool) -> None:
        connection = await connect(guarded, writable=writable)
        try:
            async with connection.transaction():
                await connection.execute("create table written ()")
                await connection.execute("drop table written")
        finally:
            await connection.close()

    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        asyncio.run(write(False))
    asyncio.run(write(True))


def test_wrong_password(guarded: DatabaseConfig) -> None:
    assert refusal(replace(guarded, password=f"not {SECRET}")) == (
        f"Cannot connect to PostgreSQL at host 127.0.0.1, port {guarded.port}, database postgres, as user postgres: "
        'the password is wrong (password authentication failed for user "postgres"). Check DB_USER and DB_PASSWORD.'
    )


def test_wrong_password_in_a_url_names_the_url(guarded: DatabaseConfig) -> None:
    assert refusal(replace(guarded, password=f"not {SECRET}", variable="SOURCE_URL")).endswith(
        'the password is wrong (password authentication failed for user "postgres"). Check SOURCE_URL.'
    )


def test_refused_user(guarded: DatabaseConfig) -> None:
    assert refusal(replace(guarded, user="nobody")) == (
        f"Cannot connect to PostgreSQL at host 127.0.0.1, port {guarded.port}, database postgres, as user nobody: "
        'the server refuses this user (no pg_hba.conf entry for host "127.0.0.1", user "nobody", database '
        '"postgres", no encryption). Check DB_USER, and pg_hba.conf on the server.'
    )


def test_no_such_database(guarded: DatabaseConfig) -> None:
    assert refusal(replace(guarded, name="siteanalytics")) == (
        f"Cannot connect to PostgreSQL at host 127.0.0.1, port {guarded.port}, database siteanalytics, "
        'as user postgres: there is no such database (database "siteanalytics" does not exist). Check DB_NAME.'
    )


def test_database_that_the_user_may_not_use(guarded: DatabaseConfig) -> None:
    assert refusal(replace(guarded, name="closed", user="reader")) == (
        f"Cannot connect to PostgreSQL at host 127.0.0.1, port {guarded.port}, database closed, as user reader: the "
        'user may not use this database (permission denied for database "closed"). Grant CONNECT on it, or check '
        "DB_NAME and DB_USER."
    )


def test_all_connections_taken(guarded: DatabaseConfig) -> None:
    async def take_all() -> str:
        taken = []
        try:
            while True:
                taken.append(await connect(replace(guarded, user="reader")))
        except CannotConnect as error:
            return str(error)
        finally:
            await asyncio.gather(*(connection.close() for connection in taken))

    assert asyncio.run(take_all()).endswith(
        "as user reader: the server has too many open connections (remaining connection slots are reserved for roles "
        "with the SUPERUSER attribute). Close some, or raise its max_connections."
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "/tmp/no-such-folder"])
def test_no_server_listens(host: str) -> None:
    config = DatabaseConfig(embedded=False, host=host, port=free_port(), password=SECRET)
    assert refusal(config) == (
        f"Cannot connect to PostgreSQL at host {host}, port {config.port}, database siteanalytics, as user postgres: "
        "no server answers. Check DB_HOST and DB_PORT, and that the server runs and listens there."
    )


def test_unknown_host() -> None:
    assert refusal(DatabaseConfig(embedded=False, host="database.invalid", password=SECRET)) == (
        "Cannot connect to PostgreSQL at host database.invalid, port 5432, database siteanalytics, as user postgres: "
        "the host name is unknown. Check DB_HOST."
    )


@pytest.mark.parametrize("host", ["a..b", ".", "a" * 64])
def test_impossible_host(host: str) -> None:
    assert refusal(DatabaseConfig(embedded=False, host=host, password=SECRET)) == (
        f"Cannot connect to PostgreSQL at host {host}, port 5432, database siteanalytics, as user postgres: "
        "there can be no such host name. Check DB_HOST."
    )


def test_server_without_tls(guarded: DatabaseConfig) -> None:
    assert refusal(replace(guarded, sslmode="require", variable="SOURCE_URL")) == (
        f"Cannot connect to PostgreSQL at host 127.0.0.1, port {guarded.port}, database postgres, as user postgres: "
        "the server has no TLS, which sslmode=require demands. Turn it on there, leave sslmode out, or "
        "check SOURCE_URL."
    )


def test_any_other_reason_of_the_server_is_shown(guarded: DatabaseConfig) -> None:
    assert refusal(replace(guarded, name="template0")) == (
        f"Cannot connect to PostgreSQL at host 127.0.0.1, port {guarded.port}, database template0, as user postgres: "
        'the server refuses the connection (database "template0" is not currently accepting connections). Check '
        "DB_HOST, DB_PORT and DB_NAME, and its log."
    )


def test_silent_server_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert refusal(DatabaseConfig(embedded=False, host="127.0.0.1", port=port, password=SECRET)) == (
            f"Cannot connect to PostgreSQL at host 127.0.0.1, port {port}, database siteanalytics, as user postgres: "
            "no answer within 5 s. Check DB_HOST and DB_PORT, and look for a firewall."
        )


def test_port_of_another_program() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer_as_a_web_server() -> None:
            caller, _ = other.accept()
            with caller:
                caller.recv(1000)
                caller.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        answering = threading.Thread(target=answer_as_a_web_server)
        answering.start()
        port = other.getsockname()[1]
        text = refusal(DatabaseConfig(embedded=False, host="127.0.0.1", port=port, password=SECRET))
        answering.join()
    assert text.endswith("as user postgres: the server that answers is not PostgreSQL. Check DB_PORT.")


def test_pool_opens_without_a_server_and_says_why_when_asked() -> None:
    config = DatabaseConfig(embedded=False, host="127.0.0.1", port=free_port(), password=SECRET)

    async def use() -> None:
        async with await open_pool(config, max_size=2) as pool:
            await pool.fetchval("select 1")

    with pytest.raises(CannotConnect, match="no server answers"):
        asyncio.run(use())


def test_pool_limits_statements_and_connections(guarded: DatabaseConfig) -> None:
    async def use() -> int:
        async with await open_pool(guarded, max_size=2, timeout_seconds=0.2) as pool:
            with pytest.raises(TimeoutError):
                await pool.execute("select pg_sleep(5)")
            await asyncio.gather(*(pool.fetchval("select pg_sleep(0.05)") for _ in range(6)))
            return pool.get_size()

    assert asyncio.run(use()) == 2


@pytest.mark.parametrize(
    ("code", "reason", "advice"),
    [
        ("53100", 'could not extend file "base/5/2": No space left on device', "Make room on the server's disk."),
        ("53200", "out of memory", "Give the server more memory, or read fewer days or sites."),
    ],
)
def test_server_without_room_or_memory_is_told_with_what_to_do(
    guarded: DatabaseConfig, code: str, reason: str, advice: str
) -> None:
    async def fail() -> None:
        connection = await connect(guarded)
        try:
            with translate_errors("writing to forecasting.daily"):
                await connection.execute(
                    f"do $$ begin raise exception using errcode = '{code}', message = '{reason}'; end $$"
                )
        finally:
            await connection.close()

    with pytest.raises(WarehouseError) as error:
        asyncio.run(fail())
    assert str(error.value) == f"PostgreSQL failed while writing to forecasting.daily: {reason}. {advice}"
