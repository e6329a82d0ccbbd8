"""The console command: `traffic-forecast COMMAND ...`."""

import sys
from importlib import import_module
from typing import NoReturn

from forecasting import __version__
from forecasting.invocation import PROGRAM
from forecasting.runtime.process import run

COMMANDS = {
    "train": "train a version on the traffic in PostgreSQL",
    "serve": "serve a version: TorchServe and the HTTP routes",
    "forecast": "forecast every series and write the forecasts to the database",
    "daily": "the daily job: days, forecasts, unusual days, what came true",
    "backtest": "forecast past days and compare with what happened",
    "alerts": "list the messages to people, and test their addresses",
    "anomalies": "list unusual days, or what would have been told of the past",
    "models": "list, promote, roll back and compare versions",
    "export": "write a version as a file for other programs: ONNX",
    "sources": "describe the analytics sources; check yours; list unusual days",
    "pretrain": "make the base model again (in a checkout)",
    "demo": "train on the sample site, serve, ask, and stop",
}


def main() -> NoReturn:
    """Runs the command that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        run_command(name, sys.argv[2:])
    if name == "--version":
        print(f"{PROGRAM} {__version__}")
        sys.exit(0)
    if name in ("-h", "--help"):
        print(describe_commands())
        sys.exit(0)
    print(f"error: there is no command {name!r}. Commands: {', '.join(COMMANDS)}", file=sys.stderr)
    sys.exit(2)


def run_command(name: str, arguments: list[str]) -> NoReturn:
    """Runs one command and exits with its code."""
    command = import_module(f"forecasting.commands.{name}")
    run(lambda: command.main(arguments))


def describe_commands() -> str:
    lines = [f"  {name:10}{purpose}" for name, purpose in COMMANDS.items()]
    return "\n".join([f"usage: {PROGRAM} COMMAND [flags] [key=value ...]", "", *lines, "", f"{PROGRAM} COMMAND --help"])
