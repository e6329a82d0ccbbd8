"""psql on the database that holds the schema `forecasting`: how to call it, and running it on the embedded server."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

from forecasting.invocation import ENV_FILE, repeat_env_file
from forecasting.runtime.process import run
from forecasting.settings.env_file import read_environment
from forecasting.settings.loading import load_config
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.cluster import PORT, programs
from forecasting.warehouse.embedded import find_server


def show_psql(database: DatabaseConfig, statement: str) -> str:
    """For people to copy into a shell. psql asks for the password, or finds it in PGPASSWORD or ~/.pgpass."""
    if database.embedded:  # it may have stopped by then, and only our own program starts it
        program = [sys.executable, "-P", "-m", __name__, *repeat_env_file()]  # -P: runs no code of the current folder
    else:
        program = [(shutil.which("psql") and "psql") or str(programs() / "psql"), make_url(database)]
    return f'{shlex.join(program)} -c "{statement}"'


def make_url(database: DatabaseConfig) -> str:
    """Without the password."""
    options = {"sslmode": database.sslmode} if database.sslmode else {}
    is_folder = database.host.startswith("/")
    if is_folder:
        options |= {"host": database.host, "port": str(database.port)}
    host = f"[{database.host}]" if ":" in database.host else database.host
    place = "" if is_folder else f"{host}:{database.port}"
    query = f"?{urlencode(options)}" if options else ""
    return f"postgresql://{quote(database.user, safe='')}@{place}/{quote(database.name, safe='')}{query}"


def main(arguments: Sequence[str]) -> int:
    """Runs psql with these arguments, after ours, on the embedded server, which it starts if it has to."""
    env_file = None
    if arguments[:1] == [ENV_FILE]:
        env_file, arguments = Path(arguments[1]), arguments[2:]
    database = load_config(environ=read_environment(env_file)).kept_in
    server = find_server(database.pgdata)
    server.join(database.name)
    place = DatabaseConfig(embedded=False, host=str(server.socket_folder), port=PORT, name=database.name)
    return subprocess.call([programs() / "psql", make_url(place), *arguments])


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
