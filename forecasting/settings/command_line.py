"""Flags and `key=value` of the scripts, and the help that is made from the settings."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import Field
from pathlib import Path
from typing import Any

from forecasting.settings.loading import list_settings, load_config
from forecasting.settings.schema import FLAGS, SOURCE_FLAGS, Config

SERVE_FLAGS = {
    "--model-version": "serving.model_version",
    "--host": "serving.host",
    "--port": "serving.port",
}
BACKTEST_FLAGS = {
    f"--{name}": f"backtest.{name}"
    for name in ("csv", "history", "origins", "step", "horizon", "model", "refit", "out", "plot")
} | SOURCE_FLAGS
FORECAST_FLAGS = {"--model": "forecast.model", "--days-ahead": "forecast.days_ahead", **SOURCE_FLAGS}


def parse_arguments(
    argv: Sequence[str] | None,
    *,
    about: str,
    flags: Mapping[str, str] = FLAGS,
    switches: Mapping[str, str] | None = None,
) -> tuple[Config, argparse.Namespace]:
    """What the command line, the environment and the files say: the configuration, and the script's own switches.

    `flags` name settings; their help is the settings' own. `switches` are on-off options that are no setting.
    """
    parser = argparse.ArgumentParser(
        description=about, epilog=describe_settings(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for flag, key in flags.items():
        setting = find_setting(key)
        parser.add_argument(flag, dest=key, metavar=key.rsplit(".", 1)[-1].upper(), help=f"{_help(setting)} ({key})")
    for switch, text in (switches or {}).items():
        parser.add_argument(switch, action="store_true", help=text)
    parser.add_argument(
        "--config", type=Path, action="append", default=[], metavar="FILE", help="a yaml file of settings"
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="any setting, such as data.missing=mask")
    arguments = parser.parse_intermixed_args(argv)
    said = [f"{key}={getattr(arguments, key)}" for key in flags.values() if getattr(arguments, key) is not None]
    return load_config([*arguments.settings, *said], files=arguments.config), arguments


def describe_settings() -> str:
    """A line a setting: what `--help` ends with."""
    lines = (f"  {key:35}{_help(setting)}" for key, setting, _ in list_settings())
    return "\n".join(["every setting, as key=value or in a --config file:", *lines])


def flags_table(flags: Mapping[str, str] = FLAGS) -> str:
    """README's table of flags: a row each."""
    rows = (f"| `{flag}` | `{key}` | {_help(find_setting(key))} |" for flag, key in flags.items())
    return "\n".join(rows)


def _help(setting: Field[Any]) -> str:
    default = setting.default
    shown = f"; default {default}" if isinstance(default, str | int | float | Path) else ""
    return f"{setting.metadata['help']}{shown}".replace("%", "%%")


def find_setting(key: str) -> Field[Any]:
    return next(setting for name, setting, _ in list_settings() if name == key)
