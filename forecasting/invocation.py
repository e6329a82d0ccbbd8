"""How to run a command again, in the way this program was started."""

import sys
from pathlib import Path

PROGRAM = "traffic-forecast"


def show_command(name: str, *arguments: str) -> str:
    """For people to copy: `python scripts/train.py` if a script was run, else `traffic-forecast train`."""
    start = f"python scripts/{name}.py" if _is_script() else f"{PROGRAM} {name}"
    return " ".join([start, *arguments])


def find_command(name: str) -> list[str]:
    """To start as a process. Needs a program that was started by a script or by the console command."""
    started = Path(sys.argv[0]).resolve()
    if _is_script():
        return [sys.executable, str(started.with_name(f"{name}.py"))]
    return [sys.executable, str(started), name]


def _is_script() -> bool:
    started = Path(sys.argv[0]).resolve()
    return started.suffix == ".py" and "scripts" in started.parts
