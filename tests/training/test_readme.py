"""forecasting/training/README.md names files, settings and flags that exist."""

import re

from forecasting.commands import train
from forecasting.settings.keys import list_settings
from tests import PROJECT

FOLDER = PROJECT / "forecasting" / "training"
README = (FOLDER / "README.md").read_text()


def test_every_module_of_the_folder_is_described() -> None:
    described = set(re.findall(r"`(\w+\.py)`", README))
    assert described == {file.name for file in FOLDER.glob("*.py")} - {"__init__.py"}


def test_named_files_and_settings_exist() -> None:
    files = set(re.findall(r"\b(?:scripts|configs)/[\w/]+\.\w+", README))
    assert len(files) >= 5
    assert {file for file in files if not (PROJECT / file).is_file()} == set()
    settings = set(re.findall(r"\b((?:training|model|data|pretraining)\.[a-z_]+)(?==|`)", README))
    assert len(settings) >= 5
    assert settings - {key for key, _, _ in list_settings()} == {"model.json", "training.log"}


def test_flags_of_the_commands_exist() -> None:
    flags = set(re.findall(r"scripts/train\.py[^\n]* (--[a-z-]+)", README))
    assert flags
    assert flags <= train.COMMAND.flags
