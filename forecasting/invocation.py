"""How to run a command again, in the way this program was started."""

import argparse
import shlex
import sys
from pathlib import Path

PROGRAM, ENV_FILE = "traffic-forecast", "--env-file"


def show_command(name: str, *arguments: str) -> str:
    """For people to copy: `python scripts/train.py` if a script was run, else `traffic-forecast train`."""
    start = f"python scripts/{name}.py" if _is_script() else f"{PROGRAM} {name}"
    return " ".join([start, *arguments, *(shlex.quote(option) for option in repeat_env_file())])


def repeat_env_file() -> list[str]:
    """The flag and the file, if this program was started with one: without it, another command has other settings."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument(ENV_FILE, default="")
    try:
        file = parser.parse_known_args(sys.argv[1:])[0].env_file
    except argparse.ArgumentError:  # the flag is last, without a file: the command itself refuses that
        return []
    return [ENV_FILE, file] if file else []


def find_command(name: str) -> list[str]:
    """To start as a process. Needs a program that was started by a script or by the console command."""
    started = Path(sys.argv[0]).resolve()
    if _is_script():
        return [sys.executable, str(started.with_name(f"{name}.py"))]
    return [sys.executable, str(started), name]


def _is_script() -> bool:
    started = Path(sys.argv[0]).resolve()
    return started.suffix == ".py" and "scripts" in started.parts
