"""Serves a version: TorchServe on its .mar, and the documented routes on $PORT, until Ctrl-C or SIGTERM."""

import sys

try:
    from forecasting.runtime import run, start_log
    from forecasting.settings.command_line import SERVE_FLAGS, parse_arguments
except ModuleNotFoundError as missing:
    sys.exit(f"{missing}. Set everything up with `make demo`, or: pip install -e . -c constraints.txt")


def main(argv: list[str] | None = None) -> None:
    config, _ = parse_arguments(argv, about=__doc__, flags=SERVE_FLAGS)
    start_log(None, debug=config.debug, lossy=True)
    from forecasting.serving.server import serve

    serve(config)


if __name__ == "__main__":
    run(main)
