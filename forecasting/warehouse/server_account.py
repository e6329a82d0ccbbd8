"""The account that the embedded PostgreSQL runs as when root starts it: PostgreSQL refuses to run as root."""

import logging
import os
import pwd
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

from forecasting.errors import CannotConnect

logger = logging.getLogger("forecasting.warehouse")

ROOT_RUNS_AS = "pgserver"

Account = pwd.struct_passwd


def find_account(data: Path) -> Account:
    """The owner of the data; for new data, or data of root, an account of its own, which is added if it is missing."""
    owner = data.stat().st_uid if data.exists() else 0
    return _owner_account(owner, data) if owner else _find_or_add_account()


def _owner_account(owner: int, data: Path) -> Account:
    try:
        return pwd.getpwuid(owner)
    except KeyError as error:
        raise CannotConnect(
            f"{data} belongs to the user id {owner}, which has no account here. Give it to an account (chown), or set "
            "TRAFFIC_PGDATA to another folder."
        ) from error


def _find_or_add_account() -> Account:
    command = ("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ROOT_RUNS_AS)
    with suppress(KeyError):
        return pwd.getpwnam(ROOT_RUNS_AS)
    with suppress(OSError):
        subprocess.run(command, check=False, capture_output=True)
    try:
        return pwd.getpwnam(ROOT_RUNS_AS)
    except KeyError as error:
        raise CannotConnect(
            f"The embedded PostgreSQL does not run as root, and the account {ROOT_RUNS_AS} cannot be added for it. Add "
            f"it ({' '.join(command)}), run this as another user, or set DB_HOST to use your own server."
        ) from error


def let_pass(path: Path, account: Account) -> None:
    """Lets the account pass through the parent folders of `path`. It still cannot list what they contain."""
    for folder in path.parents:
        status = folder.stat()
        needed = stat.S_IXGRP if status.st_gid == account.pw_gid else stat.S_IXOTH
        if status.st_uid == account.pw_uid:
            needed = stat.S_IXUSR
        if not status.st_mode & needed:
            logger.info("letting %s pass through %s, for the embedded PostgreSQL", account.pw_name, folder)
            folder.chmod(stat.S_IMODE(status.st_mode) | needed)


def make_programs_readable(folder: Path) -> None:
    """Lets other users than root run the wheel's programs, in case pip installed them under a strict umask."""
    if folder.stat().st_mode & stat.S_IXOTH:
        return
    for path in (folder.parent, *folder.parent.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(stat.S_IMODE(mode) | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def create_private_folder(folder: Path, account: Account | None) -> Path:
    """Creates the folder for the server's account only. Raises CannotConnect if another user created it first."""
    uid = account.pw_uid if account else os.geteuid()
    try:
        folder.mkdir(mode=0o700)
        if account:
            os.chown(folder, account.pw_uid, account.pw_gid)
    except FileExistsError as error:
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid or status.st_mode & 0o077:
            raise CannotConnect(
                f"The embedded PostgreSQL needs {folder} for its socket, but it belongs to another user. Remove it, or "
                "set TRAFFIC_PGDATA to a folder with a shorter path."
            ) from error
    return folder
