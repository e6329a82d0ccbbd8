"""Starts a command of the package, or says how to install it."""

import sys


def run_command(name: str) -> None:
    try:
        from forecasting.commands import entry_point
    except ModuleNotFoundError as missing:
        sys.exit(f"{missing}. Set everything up with `make demo`, or: pip install -e . -c constraints.txt")
    entry_point.run_command(name, sys.argv[1:])
