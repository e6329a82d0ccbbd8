"""Serves a version: TorchServe on its .mar, and the documented routes on $PORT, until Ctrl-C or SIGTERM."""

from collections.abc import Sequence

from forecasting.runtime import start_log
from forecasting.settings.command_line import SERVE_FLAGS, parse_arguments


def main(argv: Sequence[str] | None = None) -> None:
    config, _ = parse_arguments(argv, about=__doc__, flags=SERVE_FLAGS)
    start_log(None, debug=config.debug, lossy=True)
    from forecasting.serving.server import serve

    serve(config)
