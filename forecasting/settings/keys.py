"""The keys that a settings file or the command line may name, and what is said about others."""

import difflib
import re
from collections.abc import Collection, Iterator
from dataclasses import Field, fields, is_dataclass
from functools import cache
from typing import Any, cast, get_args, get_origin, get_type_hints

from forecasting.errors import SettingError
from forecasting.settings.schema import AlertAddress, ApiKey, Config, DatabaseConfig, ProcessConfig
from forecasting.settings.trainer_arguments import SECTION

FROM_ENVIRONMENT = {
    "process": "torchrun says which of how many processes this is.",
    "database": "where the database is, and its password, come from the environment alone. "
    "Set DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD, or write them in .env.",
    "api_keys": "API keys come from the environment alone. "
    "Set API_KEYS=name:right:key,name:right:key, or write it in .env.",
    "addresses": "where messages go comes from the environment alone. Set ALERT_URLS, or write it in .env.",
}


def list_settings(*, without: Collection[str] = ()) -> Iterator[tuple[str, Field[Any], Any]]:  # Any: of many types
    """(key, field, type) of every setting, except those of the sections in `without`."""
    for key, declared, kind in _walk_all():
        if key.partition(".")[0] not in without:
            yield key, declared, kind


def find_setting(key: str) -> tuple[Field[Any], Any]:  # Any: of many types
    return next((declared, kind) for name, declared, kind in list_settings() if name == key)


def find_kind(key: str, origin: str) -> Any:  # Any: a type or a generic alias
    """The type of the setting that a file or the command line names. Raises SettingError, with the nearest key."""
    section = key.partition(".")[0]
    if section in FROM_ENVIRONMENT:
        raise SettingError(f"{key} in {origin}: {FROM_ENVIRONMENT[section]}")
    schema_key = re.sub(r"^metrics\.[^.]+\.", "metrics.<name>.", key)
    if key.startswith(SECTION):
        schema_key = f"{SECTION}<name>"
    known = {name: kind for name, _, kind in list_settings()}
    if schema_key not in known:
        leaves = {name.rsplit(".", 1)[-1]: name for name in known}
        near = difflib.get_close_matches(schema_key, known, n=1) or [
            leaves[leaf] for leaf in difflib.get_close_matches(key.rsplit(".", 1)[-1], leaves, n=1)
        ]
        hint = f"Did you mean {near[0]}?" if near else "--help-all lists them all."
        raise SettingError(f"There is no setting {key!r} (in {origin}). {hint}")
    return known[schema_key]


@cache
def _walk_all() -> tuple[tuple[str, Field[Any], Any], ...]:  # Any: of many types
    """Once, since type hints are slow to resolve and each key that is set needs them."""
    return tuple(_walk(Config, ""))


def _walk(schema: type, prefix: str) -> Iterator[tuple[str, Field[Any], Any]]:
    hints = get_type_hints(schema)
    for declared in fields(schema):
        key, kind = f"{prefix}{declared.name}", hints[declared.name]
        from_environment = (tuple[ApiKey, ...], tuple[AlertAddress, ...])
        if kind in (DatabaseConfig, DatabaseConfig | None, ProcessConfig, dict[str, str], *from_environment):
            continue
        if is_dataclass(kind):
            yield from _walk(cast(type, kind), f"{key}.")
        elif kind == dict[str, Any]:
            yield f"{key}.<name>", declared, kind
        elif get_origin(kind) is dict:
            yield from _walk(get_args(kind)[1], f"{key}.<name>.")
        else:
            yield key, declared, kind
