"""The same as `traffic-forecast export`."""

from run_command import run_command

if __name__ == "__main__":
    run_command("export")
