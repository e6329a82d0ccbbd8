"""The whole configuration, from all the places that say it.

A setting's value is the last one given, in this order: the dataclass, `configs/default.yaml`, a `--config` file,
the environment (a `.env` file below it), then flags and `key=value` from the command line.
"""

import difflib
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass, replace
from enum import Enum
from functools import reduce
from pathlib import Path
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from forecasting.errors import SettingError
from forecasting.resources import find_resource
from forecasting.settings.environment import (
    read_api_keys,
    read_cache_database,
    read_database,
    read_database_url,
    read_environment,
    read_process,
)
from forecasting.settings.schema import ApiKey, Config, DatabaseConfig, ProcessConfig, require

VARIABLES = {
    "MODEL_DIR": "model_dir",
    "MODEL_VERSION": "serving.model_version",
    "PORT": "serving.port",
    "DEBUG": "debug",
    "JAVA_HOME": "serving.java_home",
}


def load_config(
    settings: Sequence[str] = (), *, files: Sequence[Path] = (), environ: Mapping[str, str] | None = None
) -> Config:
    """The whole configuration, checked. `settings` are `key=value`; `environ` defaults to .env below os.environ.

    Raises SettingError naming the key, what was found, and the nearest key there is.
    """
    environ = read_environment() if environ is None else environ
    tree = OmegaConf.structured(Config)
    for file in (find_resource("configs/default.yaml"), *files):
        for key, value in _read_yaml(file):
            tree = _assign(tree, key, value, origin=str(file))
    for variable, key in VARIABLES.items():
        if environ.get(variable):
            tree = _assign(tree, key, environ[variable], origin=f"the variable {variable}")
    for setting in settings:
        key, equals, value = setting.partition("=")
        require(bool(equals), f"{setting!r} is no setting. Write key=value, such as training.epochs=50.")
        tree = _assign(tree, key, value, origin="the command line")
    try:
        said = cast(Config, OmegaConf.to_object(tree))
    except OmegaConfBaseException as error:  # ${...} that names nothing
        raise SettingError(f"A setting cannot be worked out: {error}") from error
    database = read_database(environ)
    source = read_database_url("SOURCE_URL", environ)
    return replace(
        said,
        database=database,
        source_database=source,
        cache_database=read_cache_database(environ, database, source=source or database),
        api_keys=read_api_keys(environ),
        process=read_process(environ),
    )


def list_settings() -> Iterator[tuple[str, Field[Any], Any]]:  # Any: settings are of many types
    """(key, field, type) of every setting that a file or the command line may name."""
    yield from _walk(Config, "")


def _walk(schema: type, prefix: str) -> Iterator[tuple[str, Field[Any], Any]]:
    hints = get_type_hints(schema)
    for setting in fields(schema):
        key, kind = f"{prefix}{setting.name}", hints[setting.name]
        if kind in (DatabaseConfig, DatabaseConfig | None, ProcessConfig, tuple[ApiKey, ...]):
            continue
        if is_dataclass(kind):
            yield from _walk(cast(type, kind), f"{key}.")
        elif get_origin(kind) is dict:
            yield from _walk(get_args(kind)[1], f"{key}.<name>.")
        else:
            yield key, setting, kind


def _read_yaml(file: Path) -> Iterator[tuple[str, Any]]:  # Any: yaml's own types
    if not file.exists() and not file.is_absolute() and find_resource(str(file)).is_file():
        file = find_resource(str(file))  # such as configs/documented.yaml, outside a checkout
    try:
        content = OmegaConf.to_container(OmegaConf.load(file))
    except FileNotFoundError as error:
        raise SettingError(f"There is no configuration file {file}.") from error
    except (YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{file} cannot be read as yaml: {error}") from error
    yield from _flatten(content, "")


def _flatten(content: Any, prefix: str) -> Iterator[tuple[str, Any]]:  # Any: yaml's own types
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, content


def _assign(tree: DictConfig, key: str, value: Any, *, origin: str) -> DictConfig:  # Any: text, or yaml's own type
    kind = _find(key, origin)
    optional = get_origin(kind) in (Union, types.UnionType)
    if optional:
        kind = next(part for part in get_args(kind) if part is not type(None))
    if isinstance(value, str) and optional and value.lower() in ("null", "none", ""):
        value = None
    if get_origin(kind) is list and isinstance(value, str):
        value = [item.strip() for item in value.strip("[]").split(",") if item.strip()]
    if value == "???":  # OmegaConf's word for a value that is yet to come
        raise SettingError(f"{key} in {origin} is '???', which is no value.")
    if kind is str and not isinstance(value, str | None):
        raise SettingError(f"{key} in {origin} is {value!r}, but is text: write it in quotes, or 1.10 becomes 1.1.")
    try:
        said = reduce(lambda inner, part: {part: inner}, reversed(key.split(".")), value)
        return cast(DictConfig, OmegaConf.merge(tree, said))
    except OmegaConfBaseException as error:
        raise SettingError(f"{key} in {origin} is {value!r}, but must be {_expected(kind)}.") from error


def _expected(kind: Any) -> str:  # Any: a type or a generic alias
    names = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path", str: "text"}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(kind.__members__)
    return names.get(kind, "a list, such as page_visits,unique_visitors")


def _find(key: str, origin: str) -> Any:  # Any: a type or a generic alias
    if key.split(".", maxsplit=1)[0] == "process":
        raise SettingError(f"{key} in {origin}: torchrun says which of how many processes this is.")
    if key.split(".", maxsplit=1)[0] == "database":
        raise SettingError(
            f"{key} in {origin}: where the database is, and its password, come from the environment alone. "
            "Set DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD, or write them in .env."
        )
    if key.split(".", maxsplit=1)[0] == "api_keys":
        raise SettingError(
            f"{key} in {origin}: API keys come from the environment alone. "
            "Set API_KEYS=name:right:key,name:right:key, or write it in .env."
        )
    schema_key = re.sub(r"^metrics\.[^.]+\.", "metrics.<name>.", key)
    known = {name: kind for name, _, kind in list_settings()}
    if schema_key not in known:
        leaves = {name.rsplit(".", 1)[-1]: name for name in known}
        near = difflib.get_close_matches(schema_key, known, n=1) or [
            leaves[leaf] for leaf in difflib.get_close_matches(key.rsplit(".", 1)[-1], leaves, n=1)
        ]
        hint = f"Did you mean {near[0]}?" if near else "--help lists them all."
        raise SettingError(f"There is no setting {key!r} (in {origin}). {hint}")
    return known[schema_key]
