"""Everything that could keep the server from starting, checked before anything starts."""

import errno
import logging
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from forecasting.artifact import load_artifact
from forecasting.card import restore_settings
from forecasting.errors import CannotStart, ForecastingError, NoRoom
from forecasting.runtime.disk import find_disk_problem
from forecasting.runtime.open_files import ADVICE, raise_file_limit
from forecasting.serving.http.listener import count_files
from forecasting.serving.torchserve.archive import check_handler
from forecasting.serving.torchserve.installation import find_java, find_torchserve
from forecasting.serving.torchserve.ports import choose_ports, find_owner
from forecasting.settings.schema import Config, GuardConfig, ServingConfig

logger = logging.getLogger("forecasting.serving")

ARCHIVE_COPIES = 9  # packed it is up to eight times smaller
LOG_BYTES = 1_000_000


def check_parts(config: Config) -> None:
    """Raises all problems at once, so that nobody fixes one only to learn about the next."""
    serving = config.serving
    checks: tuple[Callable[[], object], ...] = (
        partial(_check_version, config),
        lambda: take_port(serving).close(),
        partial(_check_ports_differ, serving),
        lambda: check_room(Path(tempfile.gettempdir()), 0),
        check_handler,
        find_torchserve,
        partial(find_java, serving.java_home),
        partial(choose_ports, serving),
        partial(_check_open_files, config.guard),
    )
    errors = []
    for check in checks:
        try:
            check()
        except ForecastingError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise CannotStart(f"{len(errors)} problems:\n" + "\n".join(f"- {error}" for error in errors))


def fit_connections(guard: GuardConfig) -> GuardConfig:
    """With as many connections as this process may have files open for: more would be lost, not told to try again."""
    needed = count_files(guard)
    limit = raise_file_limit(needed)
    if limit >= needed:
        return guard
    possible = max(1, guard.max_connections - (needed - limit))
    logger.warning(
        "at most %d connections at a time, not guard.max_connections=%d: that takes %d open files, and the limit is "
        "%d. %s",
        possible, guard.max_connections, needed, limit, ADVICE,
    )  # fmt: skip
    return replace(guard, max_connections=possible)


def _check_open_files(guard: GuardConfig) -> None:
    least = count_files(replace(guard, max_connections=1))
    limit = raise_file_limit(least)
    if limit < least:
        raise CannotStart(
            f"Serving takes {least} open files, and {count_files(guard):,} for {guard.max_connections:,} connections "
            f"(guard.max_connections), but the limit is {limit}. {ADVICE}"
        )


def check_room(folder: Path, archive_bytes: int) -> None:
    """Raises NoRoom if a temporary folder cannot take TorchServe's files: the archive, the same unpacked, and logs."""
    problem = find_disk_problem(
        folder,
        needs_bytes=ARCHIVE_COPIES * archive_bytes + LOG_BYTES,
        purpose="TorchServe's files",
        advice="set TMPDIR",
    )
    if problem is not None:
        raise NoRoom(problem)


def _check_version(config: Config) -> None:
    restore_settings(load_artifact(config.model_dir, config.model_version).card, config)


def take_port(serving: ServingConfig) -> socket.socket:
    """Binds our port before TorchServe starts. Until `listen` is called, connections are refused.

    Raises CannotStart, naming the process that holds the port.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in serving.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        with explain_address_errors(serving):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((serving.host, serving.port))
    except CannotStart:
        listener.close()
        raise
    return listener


@contextmanager
def explain_address_errors(serving: ServingConfig) -> Iterator[None]:
    """CannotStart in place of an OSError of `bind` or `listen`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise CannotStart(
                f"serving.host is {serving.host!r}, which is not an address of this machine ({error.strerror}). "
                "Set it to 127.0.0.1 for this machine alone, or to 0.0.0.0 for all its networks."
            ) from error
        advice = "Only root may use ports below 1024:" if error.errno == errno.EACCES else "Stop that process, or"
        raise CannotStart(
            f"Port {serving.port} on {serving.host} cannot be used: {error.strerror}{find_owner(serving.port)}. "
            f"{advice} choose another port with PORT or --port."
        ) from error


def _check_ports_differ(serving: ServingConfig) -> None:
    """Needed because our port is bound but does not listen yet: TorchServe would start with it, and then fail."""
    names_by_port = {serving.port: ["serving.port"]}
    for name, port in serving.each_torchserve_port.items():
        names_by_port.setdefault(port, []).append(f"TorchServe's {name} port (serving.torchserve_ports)")
    for port, names in names_by_port.items():
        if port and len(names) > 1:
            raise CannotStart(f"{' and '.join(names)} are both {port}. Change one of them, or use 0 for a free port.")
