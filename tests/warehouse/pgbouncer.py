"""A real PgBouncer in front of a test's database."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from forecasting.settings.schema import DatabaseConfig
from tests.waiting import becomes

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
POOL_SIZE = 3  # server sessions: an update needs two at once
CONFIGURATION = """
[databases]
{name} = host={sockets} port=5432

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = {pool_size}
max_client_conn = 50
{more}
"""


@contextmanager
def pgbouncer(database: DatabaseConfig, folder: Path, *, mode: str, more: str = "") -> Iterator[DatabaseConfig]:
    """The database behind PgBouncer, which is as it comes, but for the mode and `more` lines of its configuration."""
    if PROGRAM is None:
        assert "CI" not in os.environ, "PgBouncer is missing: .ci/run must install it"
        pytest.skip("PgBouncer is not installed (on Debian: apt-get install pgbouncer)")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    values = {"name": database.name, "sockets": database.host, "folder": folder, "port": port, "mode": mode}
    (folder / "users").write_text("".join(f'"{user}" ""\n' for user in ("postgres", "nobody")))
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(CONFIGURATION.format(pool_size=POOL_SIZE, more=more, **values))
    with (folder / "log").open("wb") as log:
        # As the server's account: PgBouncer refuses to run as root.
        owner = Path(database.host).stat()
        account = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        process = subprocess.Popen(
            [PROGRAM, str(configuration)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, **account
        )
    try:
        assert becomes(lambda: process.poll() is not None or "process up" in (folder / "log").read_text())
        assert process.poll() is None, (folder / "log").read_text()
        yield replace(database, host="127.0.0.1", port=port)
    finally:
        process.kill()
        process.wait()
