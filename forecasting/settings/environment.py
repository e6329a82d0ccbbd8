"""What only the environment sets, or a `.env` file below it: databases, API keys, which training process this is."""

import hashlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from forecasting.domain import Right
from forecasting.errors import SettingError
from forecasting.settings.bounds import require
from forecasting.settings.env_file import expand_home
from forecasting.settings.schema import ApiKey, DatabaseConfig, ProcessConfig

LOGGER = logging.getLogger("forecasting")
PROCESS_VARIABLES = {
    "RANK": "rank",
    "WORLD_SIZE": "world_size",
    "LOCAL_RANK": "local_rank",
    "LOCAL_WORLD_SIZE": "local_world_size",
}
# By srun, in each process of a step. A batch script itself has some of them too, but not the number of tasks.
SLURM_VARIABLES = {
    "SLURM_PROCID": "rank",
    "SLURM_STEP_NUM_TASKS": "world_size",
    "SLURM_LOCALID": "local_rank",
    "SLURM_NTASKS_PER_NODE": "local_world_size",
}
# Of URLs that hosters show: settings of other clients, which mean nothing here.
OTHER_CLIENTS = (
    "application_name", "connect_timeout", "connection_limit", "pgbouncer", "pool_mode", "pool_timeout",
    "prepared_statements", "single_use_connections", "socket_timeout", "sslaccept", "statement_cache_size",
    "supa", "target_session_attrs", "uselibpqcompat", "workaround",
)  # fmt: skip
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")  # of a URL
# How other launchers tell a process how many they started; the first that is set counts.
TASK_VARIABLES = ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
DATABASE_VARIABLES = {"DB_HOST": "host", "DB_PORT": "port", "DB_NAME": "name", "DB_USER": "user"}


def read_database(environ: Mapping[str, str]) -> DatabaseConfig:
    values = {name: environ[variable] for variable, name in DATABASE_VARIABLES.items() if environ.get(variable)}
    if "DB_PASSWORD" in environ:
        values["password"] = environ["DB_PASSWORD"]
    port = values.pop("port", "5432")
    require(port.isdecimal() and 0 < int(port) <= 65535, f"DB_PORT is {port!r}; a port is a number from 1 to 65535.")
    embedded, pgdata = not values and not environ.get("DB_PORT"), _find_pgdata(environ)
    require(
        pgdata is not None or not embedded,
        "There is no home folder for the embedded PostgreSQL: HOME is not set, and this user has no account. Set "
        "TRAFFIC_PGDATA to a folder for it, or DB_HOST to use your own server.",
    )
    return DatabaseConfig(embedded=embedded, pgdata=pgdata or Path(), port=int(port), **values)


def _find_pgdata(environ: Mapping[str, str]) -> Path | None:
    """Absolute; None without a home folder."""
    if pgdata := environ.get("TRAFFIC_PGDATA"):
        return expand_home(pgdata, "TRAFFIC_PGDATA").absolute()
    try:
        home = environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    except RuntimeError:
        return None
    return (expand_home(str(home), "XDG_DATA_HOME") / "website-traffic-forecasting" / "pg").absolute()


def read_cache_database(
    environ: Mapping[str, str], database: DatabaseConfig, *, source: DatabaseConfig
) -> DatabaseConfig | None:
    if environ.get("CACHE_URL") != "embedded":
        return read_database_url("CACHE_URL", environ)
    return DatabaseConfig(embedded=True, pgdata=database.pgdata, name=source.cache_name, variable="CACHE_URL")


def read_database_url(variable: str, environ: Mapping[str, str]) -> DatabaseConfig | None:
    """None if the variable is unset. Errors never show the URL, which may hold a password."""
    url = environ.get(variable)
    if not url:
        return None
    form = (
        f"{variable} is not a PostgreSQL URL. Write it as postgresql://user:password@host:5432/database, and in the "
        "user and the password % as %25, @ as %40, : as %3A, / as %2F, ? as %3F, # as %23."
    )
    try:
        parts = urlsplit(url)
        port = parts.port or 5432
    except ValueError:
        raise SettingError(form) from None  # the cause may show a part of the password
    name = parts.path[1:]
    whole = parts.scheme in ("postgresql", "postgres") and name != "" and parts.fragment == ""
    require(whole and not {"/", "@"} & set(name), form)  # these would be part of a password
    query = {name: value for name, value in parse_qsl(parts.query) if name not in OTHER_CLIENTS}
    host = query.pop("host", parts.hostname)  # the folder of a unix socket cannot stand before the path
    own = {name: query.pop(name) for name in ("sslmode", "schema", "options") if name in query}
    _check_channel_binding(variable, query.pop("channel_binding", "prefer"))
    require(not query, f"{variable} has the parameter {', '.join(sorted(query))}, which is not supported. Remove it.")
    encoded = {"host": host, "user": parts.username, "password": parts.password, "name": name}
    decoded = {key: unquote(value) for key, value in encoded.items() if value is not None}
    require(not any("\0" in value for value in decoded.values()), form)
    sslmode = own.get("sslmode")
    require(sslmode in (None, *SSL_MODES), f"{variable} has sslmode={sslmode}; it must be {', '.join(SSL_MODES)}.")
    values: dict[str, Any] = decoded | own  # Any: text
    return DatabaseConfig(embedded=False, port=port, variable=variable, **values)


def _check_channel_binding(variable: str, value: str) -> None:
    """It ties the password to the server's certificate, which asyncpg cannot."""
    modes = ("disable", "prefer", "require")
    require(value in modes, f"{variable} has channel_binding={value}; it must be {', '.join(modes)}.")
    if value == "require":
        LOGGER.warning(
            "%s has channel_binding=require, which is not supported here: the connection is made without it. "
            "sslmode=verify-full checks the server instead",
            variable,
        )


def read_api_keys(environ: Mapping[str, str]) -> tuple[ApiKey, ...]:
    """Errors name an entry by its place only: if its parts are mixed up, its name is the key."""
    entries = environ.get("API_KEYS", "").strip()
    if not entries:
        return ()
    keys = tuple(_api_key(entry.strip(), place) for place, entry in enumerate(entries.split(","), start=1))
    for place, key in enumerate(keys, start=1):
        before = keys[: place - 1]
        require(
            key.name not in {other.name for other in before} and key.digest not in {other.digest for other in before},
            f"API_KEYS, entry {place}, repeats the name or the key of an earlier entry. Give each its own.",
        )
    return keys


def _api_key(entry: str, place: int) -> ApiKey:
    name, _, rest = entry.partition(":")
    right, _, key = rest.partition(":")
    require(
        right in Right.__members__ and bool(re.fullmatch(r"[A-Za-z0-9._-]{1,32}", name)),
        f"API_KEYS, entry {place}, is not name:right:key, such as dashboard:read:KEY. A name has up to 32 letters, "
        "digits, dots, hyphens and underscores; a right is read or admin; commas only separate entries.",
    )
    require(
        bool(re.fullmatch(r"[!-~]{16,256}", key)),
        f"API_KEYS, entry {place}: the key must be 16 to 256 letters, digits and signs, without spaces. Make one with: "
        "python -c 'import secrets; print(secrets.token_urlsafe(32))'",
    )
    return ApiKey(name, Right(right), hashlib.sha256(key.encode()).digest())


def read_process(environ: Mapping[str, str]) -> ProcessConfig:
    values = {name: environ[variable] for variable, name in PROCESS_VARIABLES.items() if environ.get(variable)}
    if "world_size" not in values:
        return _read_slurm(environ) or _count_tasks(environ)
    numbers: dict[str, Any] = {name: int(value) if value.isdecimal() else -1 for name, value in values.items()}
    process = ProcessConfig(**numbers)  # Any: mypy cannot tell which fields these are
    require(
        0 <= process.rank < process.world_size and 0 <= process.local_rank < process.local_world_size,
        f"RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE are {values}, which is impossible. Start with torchrun, "
        "which sets them, or unset all four.",
    )
    return process


def _read_slurm(environ: Mapping[str, str]) -> ProcessConfig | None:
    """Which of several processes of srun this is, as Lightning's SLURMEnvironment takes it; None if it is none of them,
    or srun did not say how many there are on each machine.
    """
    values = {name: environ.get(variable, "") for variable, name in SLURM_VARIABLES.items()}
    if not all(map(str.isdecimal, values.values())) or values["world_size"] != environ.get("SLURM_NTASKS"):
        return None
    numbers: dict[str, Any] = {name: int(value) for name, value in values.items()}
    process = ProcessConfig(**numbers, is_srun=True)  # Any: mypy cannot tell which fields these are
    fits = process.local_rank < process.local_world_size and process.world_size % process.local_world_size == 0
    return process if process.world_size > 1 and fits else None


def _count_tasks(environ: Mapping[str, str]) -> ProcessConfig:
    """Without torchrun: how many processes another launcher has started, none of which knows the others."""
    launcher = next((name for name in TASK_VARIABLES if environ.get(name)), "")
    count = environ.get(launcher, "")
    return ProcessConfig(launcher=launcher, num_tasks=int(count)) if count.isdecimal() else ProcessConfig()
