"""Serves a version until Ctrl-C or SIGTERM: TorchServe runs the model, and the documented routes answer on $PORT."""

from collections.abc import Sequence

from forecasting.domain import check_version
from forecasting.invocation import find_command
from forecasting.runtime.log import start_log
from forecasting.settings.command_line import CommandLine

COMMAND = CommandLine(
    "serve",
    about=__doc__,
    examples=(
        ("", "the promoted version, else the newest, on port 5000"),
        ("--model-version v1.0.0 --port 8000", "this version on another port"),
        ("--host 0.0.0.0 serving.torchserve_ports=0", "to other machines too; TorchServe takes any free ports"),
    ),
    version_help="the version to serve; unset: the promoted one, else the newest",
    keys=("model_version", "serving.host", "serving.port"),
    reads_version=True,
)


def main(argv: Sequence[str] | None = None) -> None:
    config, arguments = COMMAND.parse(argv)
    if config.model_version is not None:
        check_version(config.model_version)
    start_log(None, debug=config.debug, lossy=True)
    from forecasting.serving.server import serve

    serve(config, daily_command=[*find_command("daily"), *arguments.repeated])
