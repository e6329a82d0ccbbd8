"""The whole configuration, from every place that can set it.

The last value given wins, in this order: the dataclass, `configs/default.yaml`, a `--config` file, the environment
(a `.env` file below it), then flags and `key=value` on the command line.
"""

import io
import logging
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from functools import reduce
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Union, cast, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError, safe_load

from forecasting.domain import ALL_DAYS
from forecasting.errors import SettingError
from forecasting.resources import open_resource
from forecasting.settings.alert_urls import read_alert_addresses
from forecasting.settings.bounds import require
from forecasting.settings.env_file import expand_home, read_environment
from forecasting.settings.environment import (
    read_api_keys,
    read_cache_database,
    read_database,
    read_database_url,
    read_process,
)
from forecasting.settings.keys import find_kind
from forecasting.settings.older_keys import Assignment, renew
from forecasting.settings.schema import Config
from forecasting.settings.trainer_arguments import SECTION

LOGGER = logging.getLogger("forecasting")
VARIABLES = {
    "MODEL_DIR": "model_dir",
    "MODEL_VERSION": "model_version",
    "PORT": "serving.port",
    "DEBUG": "debug",
    "JAVA_HOME": "serving.java_home",
}
COMMAND_LINE = "the command line"
WORDS = {("data.days_back", "all"): ALL_DAYS}  # in place of a number
SERVED_VERSION = ("MODEL_VERSION", "serving.model_version")


def load_config(
    settings: Sequence[str] = (),
    *,
    files: Sequence[Path] = (),
    environ: Mapping[str, str] | None = None,
    version_from: Collection[str] = SERVED_VERSION,
    notify: Callable[[str], None] = LOGGER.warning,
) -> Config:
    """The whole configuration, checked. `settings` are `key=value`; `environ` defaults to .env below os.environ.

    `version_from`: the variable and the older keys that mean `model_version` here. Training, for one, ignores
    MODEL_VERSION, which names the version served. `notify` gets a line for each older key.

    Raises SettingError with the key, the value, and the nearest key that exists.
    """
    environ = read_environment() if environ is None else environ
    tree = OmegaConf.structured(Config)
    explicit = {COMMAND_LINE, *map(str, files)}
    given: dict[str, str] = {}
    for assignment in _read_assignments(settings, files, environ, version_from):
        ports = tree.serving.torchserve_ports
        for renewed in renew(assignment, ports=ports, version_from=version_from, notify=notify):
            tree = _assign(tree, renewed)
            if assignment.origin in explicit:
                given[renewed.key] = assignment.origin
    try:
        config = cast(Config, OmegaConf.to_object(tree))
    except OmegaConfBaseException as error:  # ${...} that names nothing
        raise SettingError(f"A setting cannot be worked out: {error}") from error
    database = read_database(environ)
    source = read_database_url("SOURCE_URL", environ)
    in_url, schema = source and source.schema, config.data.schema
    require(
        not in_url or not schema or in_url == schema,
        f"data.schema is {schema}, but SOURCE_URL has schema={in_url}. Remove one of them.",
    )
    return replace(
        config,
        database=database,
        source_database=source,
        cache_database=read_cache_database(environ, database, source=source or database),
        api_keys=read_api_keys(environ),
        addresses=read_alert_addresses(environ),
        process=read_process(environ),
        given=given,
    )


def _read_assignments(
    settings: Sequence[str], files: Sequence[Path], environ: Mapping[str, str], version_from: Collection[str]
) -> Iterator[Assignment]:
    """In the order in which they win, the strongest last."""
    for file in (open_resource("configs/default.yaml"), *map(_find_yaml, files)):
        for key, value in _read_yaml(file):
            yield Assignment(key, value, str(file))
    for variable, key in VARIABLES.items():
        if environ.get(variable) and (key != "model_version" or variable in version_from):
            yield Assignment(key, environ[variable], f"the variable {variable}")
    for setting in settings:
        key, equals, value = setting.partition("=")
        require(bool(equals), f"{setting!r} is not a setting. Write key=value, such as training.epochs=50.")
        yield Assignment(key, value, COMMAND_LINE)


def _find_yaml(file: Path) -> Traversable:
    """Also one that comes with the package, such as configs/documented.yaml, outside a checkout."""
    bundled = open_resource(str(file))
    return bundled if not file.exists() and not file.is_absolute() and bundled.is_file() else file


def _read_yaml(file: Traversable) -> Iterator[tuple[str, Any]]:  # Any: yaml's own types
    try:
        opened = file if isinstance(file, Path) else io.StringIO(file.read_text("utf-8"))
        content = OmegaConf.to_container(OmegaConf.load(opened))
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


def _assign(tree: DictConfig, assignment: Assignment) -> DictConfig:
    key, value, origin = assignment.key, assignment.value, assignment.origin
    kind = find_kind(key, origin)
    optional = get_origin(kind) in (Union, types.UnionType)
    if optional:
        kind = next(part for part in get_args(kind) if part is not type(None))
    if isinstance(value, str) and optional and value.lower() in ("null", "none", ""):
        value = None
    if get_origin(kind) is list and isinstance(value, str):
        value = [item.strip() for item in value.strip("[]").split(",") if item.strip()]
    if isinstance(value, str) and (key, value) in WORDS:
        value = WORDS[key, value]
    if key.startswith(SECTION):
        value = _read_scalar(value)
    if value == "???":  # OmegaConf's mark for a value that is still missing
        raise SettingError(f"{key} in {origin} is '???', which is not a value.")
    if kind is str and not isinstance(value, str | None):
        raise SettingError(f"{key} in {origin} is {value!r}, but is text: write it in quotes, or 1.10 becomes 1.1.")
    if kind is Path and isinstance(value, str) and value.startswith("~"):
        value = expand_home(value, f"{key} in {origin}")
    try:
        nested = reduce(lambda inner, part: {part: inner}, reversed(key.split(".")), value)
        return cast(DictConfig, OmegaConf.merge(tree, nested))
    except OmegaConfBaseException as error:
        raise SettingError(f"{key} in {origin} is {value!r}, but must be {_describe_kind(kind)}.") from error


def _read_scalar(value: Any) -> Any:  # Any: yaml's own types
    """A number, a truth value or text, as yaml reads it."""
    try:
        return safe_load(value) if isinstance(value, str) else value
    except YAMLError:
        return value


def _describe_kind(kind: Any) -> str:  # Any: a type or a generic alias
    names = {
        int: "a whole number", float: "a number", bool: "true or false", Path: "a path", str: "text",
        list[int]: "a list of whole numbers, such as 8080,8081",
    }  # fmt: skip
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(kind.__members__)
    return names.get(kind, "a list, such as page_visits,unique_visitors")
