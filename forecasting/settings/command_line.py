"""Flags and `key=value` of the commands, and their help, made from the settings."""

import argparse
import difflib
import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import Field, dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

from forecasting.errors import SettingError
from forecasting.invocation import ENV_FILE, show_command
from forecasting.settings.env_file import read_environment
from forecasting.settings.keys import find_setting, list_settings
from forecasting.settings.loading import SERVED_VERSION, load_config
from forecasting.settings.schema import Config

WIDTH = 80  # characters of a terminal
# Sections that only the command of that name reads.
COMMANDS_OWN = ("anomalies", "backtest", "export", "forecast", "models", "pretraining")
SOURCE = ("data.source", "data.sites", "data.metrics")  # flags of all commands that read the source


@dataclass(frozen=True)
class CommandLine:
    """What one command accepts, besides any setting as `key=value`."""

    name: str
    about: str
    examples: Sequence[tuple[str, str]]  # arguments, and what they do
    keys: Sequence[str] = ()  # settings with a flag
    switches: Mapping[str, str] = field(default_factory=dict)  # on-off options that are not settings, and their help
    words: Mapping[str, str] = field(default_factory=dict)  # what may follow the command, and what each does
    section: str = ""  # of COMMANDS_OWN
    version_help: str = ""  # what --model-version means to this command
    version_from: Collection[str] = SERVED_VERSION  # see load_config
    reads_version: bool = False  # a version may say which source it was trained on

    def parse(self, argv: Sequence[str] | None) -> tuple[Config, argparse.Namespace]:
        """The configuration and the command's own switches. Exits for --help, and with 2 for a flag that is unknown."""
        parser = self._make_parser()
        arguments, unknown = parser.parse_known_intermixed_args(argv)
        if unknown:
            parser.error(self._explain_unknown(unknown[0], parser))
        if self.words:
            arguments.words = [word for word in arguments.settings if "=" not in word]
            arguments.settings = [setting for setting in arguments.settings if "=" in setting]
        values = {key: getattr(arguments, key) for key in self.keys}
        # A flag of a list may be repeated: --metric visits --metric pageviews.
        flags = {key: ",".join(value) if isinstance(value, list) else value for key, value in values.items() if value}
        _refuse_conflicts(flags, arguments.settings)
        settings = [f"{key}={value}" for key, value in flags.items()]
        arguments.repeated = _repeat([*arguments.settings, *settings], arguments)
        config = load_config(
            [*arguments.settings, *settings],
            files=arguments.config,
            environ=read_environment(arguments.env_file, inform=_notify, warn=_notify),
            version_from=self.version_from,
            notify=_notify,
        )
        if not self.reads_version:
            config.refuse_unread_file()
        return config, arguments

    @property
    def flags(self) -> set[str]:
        """Every name of every flag of its own."""
        return {flag for key in self.keys for flag in find_setting(key)[0].metadata["flags"]} | set(self.switches)

    def describe(self, key: str) -> str:
        return self.version_help if key == "model_version" else describe(find_setting(key)[0])

    def flags_table(self) -> str:
        """README's table of flags, a row each."""
        rows = ((find_setting(key)[0].metadata["flags"], key) for key in self.keys)
        return "\n".join(f"| `{'`, `'.join(flags)}` | `{key}` | {self.describe(key)} |" for flags, key in rows)

    def _explain_unknown(self, argument: str, parser: argparse.ArgumentParser) -> str:
        flag = argument.partition("=")[0]
        known = [name for name in parser.format_help().replace(",", " ").split() if name.startswith("--")]
        near = difflib.get_close_matches(flag, known, n=1)
        return f"there is no flag {flag}. " + (f"Did you mean {near[0]}?" if near else "--help lists them all.")

    def _make_parser(self) -> argparse.ArgumentParser:
        command = show_command(self.name)
        parser = argparse.ArgumentParser(
            prog=command,
            usage=f"{command} {'WHAT ' if self.words else ''}[flags] [key=value ...]",
            description=f"{_fill(self.about)}\n\n{_describe_words(self.words)}examples:\n"
            f"{_describe_examples(command, self.examples)}",
            formatter_class=_Formatter,
            add_help=False,
        )
        flags = parser.add_argument_group("flags")
        for key in self.keys:
            declared, kind = find_setting(key)
            names, about = declared.metadata["flags"], self.describe(key)
            action = "append" if get_origin(kind) is list else "store"
            shown = _placeholder(declared, kind)
            flags.add_argument(*names, dest=key, action=action, metavar=shown, help=_escape(about))
        for switch, about in self.switches.items():
            flags.add_argument(switch, action="store_true", help=_escape(about))
        flags.add_argument(
            "--config", type=Path, action="append", default=[], metavar="FILE", help="a yaml file of settings"
        )
        flags.add_argument(
            ENV_FILE,
            type=Path,
            metavar="FILE",
            help="a file of variables, in place of the project's .env",
        )
        flags.add_argument("-h", "--help", action="help", help="show this text")
        flags.add_argument(
            "--help-all",
            action=_HelpAll,
            settings=describe_settings(self.section),
            help="show this text and every setting",
        )
        parser.add_argument("settings", nargs="*", metavar="key=value", help=argparse.SUPPRESS)
        return parser


def _repeat(settings: Sequence[str], arguments: argparse.Namespace) -> list[str]:
    """Arguments that give another command the same settings."""
    files = [("--config", file) for file in arguments.config]
    files += [(ENV_FILE, arguments.env_file)] if arguments.env_file else []
    return [*settings, *(str(part) for pair in files for part in pair)]


def _describe_words(words: Mapping[str, str]) -> str:
    if not words:
        return ""
    lines = [f"  {word:18}{about}" for word, about in words.items()]
    return "\n".join(["WHAT is one of:", *lines, "", ""])


def _notify(line: str) -> None:
    print(line, file=sys.stderr)


def _refuse_conflicts(flags: Mapping[str, str], settings: Sequence[str]) -> None:
    """Refuses a setting given as a flag and differently as key=value, and a list given twice as key=value."""
    before: dict[str, str] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key in flags and flags[key] != value:
            [flag, *_] = find_setting(key)[0].metadata["flags"]
            raise SettingError(f"{key} is given twice: {flag} {flags[key]} and {setting}. Keep one of them.")
        other = before.setdefault(key, value)
        if other != value and any(name == key and get_origin(kind) is list for name, _, kind in list_settings()):
            raise SettingError(f"{key} is given twice: {key}={other} and {setting}. Write {key}={other},{value}.")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """The same 80 columns in every terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=WIDTH)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """`--days-ahead, --horizon N`, where argparse would repeat N after each name."""
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(action.option_strings)} {action.metavar}"


class _HelpAll(argparse.Action):
    """Prints the help and every setting, and exits."""

    def __init__(self, option_strings: Sequence[str], dest: str, settings: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)  # Any: argparse's own options
        self.settings = settings

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(parser.format_help(), self.settings, sep="\n")
        parser.exit()


def describe_settings(section: str = "") -> str:
    """Each setting that every command reads, and those of one command's own section."""
    others = [name for name in COMMANDS_OWN if name != section]
    lines = ["every setting, as key=value or in a --config file:"]
    for key, declared, _ in list_settings(without=others):
        lines += [f"  {key}", textwrap.indent(textwrap.fill(describe(declared), WIDTH - 6), " " * 6)]
    return "\n".join(lines)


def describe(declared: Field[Any]) -> str:
    """Its help and its default."""
    default = declared.default
    if isinstance(default, bool):
        default = str(default).lower()
    shown = f"; default {default}" if isinstance(default, str | int | float | Path) else ""
    return f"{declared.metadata['help']}{shown}"


def _placeholder(declared: Field[Any], kind: Any) -> str:  # Any: a type or a generic alias
    names = {int: "N", float: "X", Path: "FILE", list[str]: "NAME,..."}
    by_type = next((name for part, name in names.items() if part in (kind, *get_args(kind))), "NAME")
    return str(declared.metadata["placeholder"] or by_type)


def _fill(text: str) -> str:
    return "\n\n".join(textwrap.fill(part, WIDTH) for part in text.split("\n\n"))


def _describe_examples(command: str, examples: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"  {command} {arguments}".rstrip() + f"\n      {about}" for arguments, about in examples)


def _escape(text: str) -> str:
    return text.replace("%", "%%")
