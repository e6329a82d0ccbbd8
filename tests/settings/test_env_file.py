"""Which `.env` file is read, that a line says so, and that nobody else can have written it."""

import grp
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from forecasting.commands import sources
from forecasting.commands.entry_point import COMMANDS
from forecasting.errors import SettingError
from forecasting.invocation import show_command
from forecasting.settings.env_file import find_env_file, read_env_file, read_environment, trusted_owners
from tests import PROJECT

WHY = "and it can name the folder of the versions, whose code runs here"
UNUSED_ID = 54321  # of no user and no group


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Named by TRAFFIC_FORECASTER_HOME, with a file in it; another folder is the current one."""
    folder, here = tmp_path / "home", tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    (folder / ".env").write_text("MODEL_DIR=store\nPORT=1111\n")
    monkeypatch.chdir(here)
    monkeypatch.setenv("TRAFFIC_FORECASTER_HOME", str(folder))
    for name in ("MODEL_DIR", "PORT", "TRAFFIC_PGDATA", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


def refuse(file: Path, owners: set[int] | None = None) -> str:
    with pytest.raises(SettingError) as refusal:
        read_env_file(file, {}, owners or trusted_owners(), warn=pytest.fail)
    return str(refusal.value)


def test_a_line_says_which_file_was_read(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, _ = sources.COMMAND.parse([])
    assert (config.model_dir, config.serving.port) == (home / "store", 1111)
    assert capsys.readouterr() == ("", f"settings are read from {home}/.env\n")


def test_file_of_the_current_folder_is_not_read_and_a_line_says_why(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = Path.cwd()
    (here / ".env").write_text("MODEL_DIR=/tmp/of-somebody\n")
    config, _ = sources.COMMAND.parse([])
    assert config.model_dir == home / "store"
    assert capsys.readouterr().err == (
        f"{here}/.env is not read: only the one in {home} is. To read it: --env-file .env, or "
        f"TRAFFIC_FORECASTER_HOME={here}\nsettings are read from {home}/.env\n"
    )


def test_the_same_file_by_another_path_needs_no_warning(home: Path) -> None:
    (Path.cwd() / ".env").symlink_to(home / ".env")
    assert read_environment(warn=pytest.fail)["PORT"] == "1111"


def test_file_that_is_named_is_read_instead(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = Path.cwd()
    (here / ".env").write_text("PORT=2222\n")
    config, _ = sources.COMMAND.parse(["--env-file", ".env"])
    assert (config.serving.port, config.model_dir) == (2222, Path("model_store"))
    assert capsys.readouterr().err == f"settings are read from {here}/.env\n"


def test_file_that_is_named_and_missing_is_refused(home: Path) -> None:
    with pytest.raises(SettingError) as refusal:
        sources.COMMAND.parse(["--env-file", "other.env"])
    assert str(refusal.value) == f"There is no file {Path.cwd()}/other.env (--env-file)."


def test_home_that_is_no_folder_is_refused() -> None:
    with pytest.raises(SettingError) as refusal:
        find_env_file(None, {"TRAFFIC_FORECASTER_HOME": "/nowhere"})
    assert str(refusal.value) == (
        "TRAFFIC_FORECASTER_HOME is '/nowhere', which is not a folder. Set it to the folder of your .env."
    )


def test_no_file_is_none(home: Path) -> None:
    (home / ".env").unlink()
    assert read_environment(inform=pytest.fail, warn=pytest.fail) == dict(os.environ)
    assert read_environment(Path("/dev/null"), inform=lambda line: None, warn=pytest.fail) == dict(os.environ)


def test_link_to_nowhere_is_refused(home: Path) -> None:
    (home / ".env").unlink()
    (home / ".env").symlink_to("gone")
    with pytest.raises(SettingError) as refusal:
        read_environment()
    assert str(refusal.value) == (
        f"{home}/.env cannot be read (No such file or directory). Give this user the right, or move it."
    )


def test_folders_in_a_file_are_relative_to_its_own(home: Path) -> None:
    (home / ".env").write_text("MODEL_DIR=../store\nTRAFFIC_PGDATA=/var/pg\nJAVA_HOME=~/java\nDB_NAME=store\n")
    variables = read_environment()
    assert variables["MODEL_DIR"] == f"{home}/../store"
    assert (variables["TRAFFIC_PGDATA"], variables["JAVA_HOME"]) == ("/var/pg", "~/java")
    assert variables["DB_NAME"] == "store"


def test_file_that_everybody_can_change_is_refused(home: Path) -> None:
    (home / ".env").chmod(0o602)
    assert refuse(home / ".env") == (
        f"Every user of this machine can change {home}/.env, {WHY}. Look through it, then: chmod 600 {home}/.env"
    )


def test_file_of_another_user_is_refused(home: Path) -> None:
    """A link in the right folder does not help: the file that it leads to counts."""
    (home / "link").symlink_to(home / ".env")
    assert refuse(home / "link", owners={UNUSED_ID}).startswith(f"{home}/link belongs to ")
    assert refuse(home / "link", owners={UNUSED_ID}).endswith(f", {WHY}. If you trust it, make a copy of your own.")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_groups_are_warned_of_and_owners_without_a_name_have_a_number(home: Path) -> None:
    file = home / ".env"
    os.chown(file, 0, UNUSED_ID)
    file.chmod(0o660)
    warnings: list[str] = []
    read_env_file(file, {}, {0}, warn=warnings.append)
    assert warnings == [
        f"the group with the number {UNUSED_ID} can change {file}, {WHY}. If it should not: chmod 600 {file}"
    ]
    os.chown(file, UNUSED_ID, UNUSED_ID)
    assert refuse(file) == (
        f"{file} belongs to the user with the number {UNUSED_ID}, {WHY}. If you trust it, make a copy of your own."
    )


@pytest.mark.skipif(
    grp.getgrgid(os.getegid()).gr_name != pwd.getpwuid(os.geteuid()).pw_name, reason="this user's group is shared"
)
def test_private_group_of_a_user_needs_no_warning(home: Path) -> None:
    """The usual umask of many systems, 002, makes files like this."""
    (home / ".env").chmod(0o664)
    os.chown(home / ".env", os.geteuid(), os.getegid())
    assert read_env_file(home / ".env", {}, trusted_owners(), warn=pytest.fail)["PORT"] == "1111"


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """A checkout that is not this one, without what takes room."""
    copy = tmp_path / "clone"
    for name in ("forecasting", "configs", "scripts"):
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "sample"))
    (copy / ".env").write_text("DB_HOST=db.example\nDB_PORT=none\n")
    yield copy
    shutil.rmtree(copy)


def test_clone_reads_the_file_in_its_root_from_any_folder(clone: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DB_", "TRAFFIC_"))}
    for folder, script in ((clone, "scripts/sources.py"), (clone / "scripts", "sources.py")):
        result = subprocess.run(
            [sys.executable, script],
            cwd=folder,
            env={**environment, "PYTHONPATH": str(clone)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr == (
            f"settings are read from {clone}/.env\nerror: DB_PORT is 'none'; a port is a number from 1 to 65535.\n"
        )


@pytest.mark.parametrize("arguments", [["--env-file", "my own.env"], ["--epochs", "3", "--env-file=my own.env"]])
def test_next_commands_repeat_the_file(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/bin/traffic-forecast", "train", *arguments])
    assert show_command("serve") == "traffic-forecast serve --env-file 'my own.env'"
    monkeypatch.setattr(sys, "argv", ["/opt/bin/traffic-forecast", "train", "--env-file"])
    assert show_command("serve") == "traffic-forecast serve"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_a_file(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        import_module(f"forecasting.commands.{command}").main(["--help"])
    assert "--env-file FILE" in capsys.readouterr().out
