"""The same as `traffic-forecast models`."""

from run_command import run_command

if __name__ == "__main__":
    run_command("models")
