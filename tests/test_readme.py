"""What the README says is what the code has."""

import re

from forecasting.commands import forecast, train
from forecasting.settings.keys import list_settings
from tests import PROJECT

README = (PROJECT / "README.md").read_text()


def test_flags_table_is_the_codes() -> None:
    assert train.COMMAND.flags_table() in README
    assert forecast.COMMAND.flags_table() in README


def test_every_setting_and_file_it_names_exists() -> None:
    keys = {key for key, _, _ in list_settings()} | {"metrics.bounce_rate.unit", "metrics.page_visits.additive"}
    named = set(re.findall(r"`((?:model|data|training|serving|guard|forecast|metrics)\.[a-z_.]+)(?:=\S*?)?`", README))
    assert len(named) > 10
    assert {key for key in named if not key.endswith((".py", ".json"))} - keys == set()
    files = set(re.findall(r"`((?:forecasting|handlers|configs|scripts|tests)/[\w/.]+)`", README))
    assert len(files) > 5
    assert {file for file in files if not (PROJECT / file).exists()} == set()


def test_every_documented_chapter_is_there() -> None:
    chapters = re.findall(r"^## (.+)$", README, re.MULTILINE)
    for chapter in (
        "Quick start", "Usage", "Routes", "Architecture", "Training process", "Metrics", "Configuration", "Development",
        "Security", "Monitoring and operating", "Troubleshooting", "Contributing", "License",
    ):  # fmt: skip
        assert chapter in chapters


def test_every_variable_is_named() -> None:
    for name in (
        "DB_HOST",
        "DB_PORT",
        "DB_NAME",
        "DB_USER",
        "DB_PASSWORD",
        "MODEL_DIR",
        "MODEL_VERSION",
        "PORT",
        "DEBUG",
        "API_KEYS",
    ):
        assert f"`{name}`" in README
