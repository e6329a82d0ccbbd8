"""Which `.env` file is read: it can name the folder of the versions, and loading a version runs its code.

So it is never looked for in the current folder, and nobody else may be able to change it.
"""

import grp
import logging
import os
import pwd
import stat
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from forecasting.errors import SettingError
from forecasting.invocation import ENV_FILE
from forecasting.resources import IS_CHECKOUT, PACKAGE
from forecasting.settings.bounds import require
from forecasting.settings.dotenv import parse_dotenv

LOGGER = logging.getLogger("forecasting")
HOME = "TRAFFIC_FORECASTER_HOME"
NAME = ".env"
FOLDERS = ("MODEL_DIR", "TRAFFIC_PGDATA", "JAVA_HOME")  # in a file, relative to its own folder
Notify = Callable[[str], None]


def read_environment(
    env_file: Path | None = None, *, inform: Notify = LOGGER.info, warn: Notify = LOGGER.warning
) -> dict[str, str]:
    """The variables of the `.env` file, overridden by the process's own. `env_file` is read in place of the usual one.

    `inform` gets the file that was read, `warn` what is odd about it, and a file in the current folder that was not.
    """
    file = find_env_file(env_file, os.environ)
    if env_file is None:
        _warn_of_unread(file, warn)
    if file is None:
        return dict(os.environ)
    variables = read_env_file(file, os.environ, trusted_owners(), warn=warn)
    inform(f"settings are read from {file}")
    return {**variables, **os.environ}


def find_env_file(named: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Absolute: the one that is named, else that of TRAFFIC_FORECASTER_HOME, else that of the checkout; None if there
    is none.
    """
    if named is not None:
        file = expand_home(str(named), ENV_FILE).absolute()
        require(file.exists(), f"There is no file {file} ({ENV_FILE}).")
        return file
    home = find_home(environ)
    return home / NAME if home and os.path.lexists(home / NAME) else None  # a broken link is no missing file


def find_home(environ: Mapping[str, str]) -> Path | None:
    """The folder whose `.env` is read; None for an installed package without TRAFFIC_FORECASTER_HOME."""
    if home := environ.get(HOME):
        folder = expand_home(home, HOME).absolute()
        require(folder.is_dir(), f"{HOME} is {home!r}, which is not a folder. Set it to the folder of your {NAME}.")
        return folder
    return PACKAGE.parent if IS_CHECKOUT else None


def trusted_owners() -> set[int]:
    """This user, root, and the owner of this program, who can change what runs here anyway."""
    return {os.geteuid(), 0, PACKAGE.stat().st_uid}


def read_env_file(file: Path, environ: Mapping[str, str], owners: Collection[int], *, warn: Notify) -> dict[str, str]:
    """Raises SettingError if anybody but these `owners` can change it. A group that can is a warning."""
    try:
        with file.open("rb") as opened:  # what is checked is what is read, even if the file is replaced meanwhile
            _check_owner(file, os.fstat(opened.fileno()), owners, warn)
            content = opened.read()
    except OSError as error:
        raise SettingError(
            f"{file} cannot be read ({error.strerror}). Give this user the right, or move it."
        ) from error
    variables = parse_dotenv(content, file, environ)
    for name in FOLDERS:
        value = variables.get(name)
        if value and not value.startswith("~"):
            variables[name] = str(file.parent / value)
    return variables


def expand_home(path: str, setting: str) -> Path:
    """With ~ as a shell expands it: in a file, and after =, no shell does. `setting` starts the error."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise SettingError(
            f"{setting} is {path!r}, and there is no such home directory. Write the whole path."
        ) from error


def _check_owner(file: Path, status: os.stat_result, owners: Collection[int], warn: Notify) -> None:
    if stat.S_ISCHR(status.st_mode):  # /dev/null
        return
    why = "and it can name the folder of the versions, whose code runs here"
    require(
        status.st_uid in owners,
        f"{file} belongs to {_name_user(status.st_uid)}, {why}. If you trust it, make a copy of your own.",
    )
    require(
        not status.st_mode & stat.S_IWOTH,
        f"Every user of this machine can change {file}, {why}. Look through it, then: chmod 600 {file}",
    )
    if status.st_mode & stat.S_IWGRP and not _is_private(status.st_gid, status.st_uid):
        warn(f"the group {_name_group(status.st_gid)} can change {file}, {why}. If it should not: chmod 600 {file}")


def _warn_of_unread(file: Path | None, warn: Notify) -> None:
    try:
        here = Path.cwd() / NAME
        if not here.exists() or (file is not None and file.exists() and here.samefile(file)):
            return
    except OSError:  # the current folder is gone, or may not be searched: nobody expects a file of it
        return
    home = find_home(os.environ)
    place = f"only the one in {home} is" if home else f"only the one in the folder that {HOME} names is"
    warn(f"{here} is not read: {place}. To read it: {ENV_FILE} {NAME}, or {HOME}={here.parent}")


def _is_private(group: int, user: int) -> bool:
    """A user's own group, as many systems make one for each user, with this right by default."""
    return group == 0 or _name_group(group) == _name_user(user)


def _name_user(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"the user with the number {user}"


def _name_group(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return f"with the number {group}"
