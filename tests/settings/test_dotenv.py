"""The `.env` file: its quotes, its encoding, and what is refused rather than left out."""

from pathlib import Path

import pytest

from forecasting.errors import SettingError
from forecasting.settings.loading import load_config


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAFFIC_FORECASTER_HOME", str(tmp_path))
    for name in ("DB_HOST", "DB_PASSWORD", "MODEL_DIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / ".env"


@pytest.mark.parametrize(
    ("line", "password"),
    [
        ("DB_PASSWORD='a$b${c}'", "a$b${c}"),
        ("export DB_PASSWORD = 'a$b${c}'  # a comment", "a$b${c}"),
        ("DB_PASSWORD=a$b", "a$b"),
        ('DB_PASSWORD="a$b"', "a$b"),
        ('DB_PASSWORD="a${HOST}"', "adb.example"),
        ("DB_PASSWORD=${NOPE:-x}", "x"),
        ("DB_PASSWORD='it\\'s'", "it's"),
        ("DB_PASSWORD=", ""),
    ],
)
def test_password_is_as_a_shell_would_read_it(file: Path, line: str, password: str) -> None:
    file.write_text(f"HOST=db.example\nDB_HOST=${{HOST}}\n{line}\n")
    config = load_config()
    assert (config.database.host, config.database.password) == ("db.example", password)


def test_variable_that_is_not_set_is_refused(file: Path) -> None:
    """It would be empty, and the server would say that the password is wrong."""
    file.write_text("DB_HOST=db.example\nDB_PASSWORD=secret${c}\n")
    with pytest.raises(SettingError) as refusal:
        load_config()
    assert str(refusal.value) == (
        f"{file}, line 2: DB_PASSWORD names the variable c, which is not set. If the value is meant as it is, write it "
        "in single quotes."
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_name_themselves_are_read(file: Path, encoding: str) -> None:
    """As Notepad and PowerShell write them."""
    file.write_bytes("DB_HOST=db.example\r\nDB_PASSWORD=größe\r\n".encode(encoding))
    config = load_config()
    assert (config.database.host, config.database.password) == ("db.example", "größe")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("DB_HOST=db\nDB_PASSWORD=größe\n".encode("latin-1"), ", line 2, is not valid UTF-8. Save the file as UTF-8."),
        ("DB_HOST=db\n".encode("utf-16-le"), " contains zero bytes, as UTF-16 does. Save the file as UTF-8."),
        (b"\xff\xfeD", ", line 1, is not valid UTF-16. Save the file as UTF-8."),
        (b"DB_HOST=db\nDB_PASSWORD='it's'\n", ", line 2, is not NAME=value. Write the value in quotes, on one line."),
    ],
)
def test_content_that_cannot_be_read_is_refused(file: Path, content: bytes, text: str) -> None:
    file.write_bytes(content)
    with pytest.raises(SettingError) as refusal:
        load_config()
    assert str(refusal.value) == f"{file}{text}"


def test_folder_in_its_place_is_refused(file: Path) -> None:
    file.mkdir()
    with pytest.raises(SettingError) as refusal:
        load_config()
    assert str(refusal.value) == f"{file} cannot be read (Is a directory). Give this user the right, or move it."


def test_home_directory_is_found(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell expands ~ in a file, nor after the = of a setting."""
    monkeypatch.setenv("HOME", str(tmp_path))
    file.write_text("MODEL_DIR=~/store\nTRAFFIC_PGDATA=~/pg\n")
    config = load_config(["data.csv=~/traffic.csv"])
    assert (config.model_dir, config.data.csv) == (tmp_path / "store", tmp_path / "traffic.csv")
    assert config.database.pgdata == tmp_path / "pg"


def test_home_directory_of_nobody_is_refused(file: Path) -> None:
    file.write_text("MODEL_DIR=~nobody-of-that-name/store\n")
    with pytest.raises(SettingError) as refusal:
        load_config()
    assert str(refusal.value) == (
        "model_dir in the variable MODEL_DIR is '~nobody-of-that-name/store', and there is no such home directory. "
        "Write the whole path."
    )
