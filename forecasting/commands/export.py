"""Writes a version as a file for other programs: ONNX, which runs without torch and without this package."""

from collections.abc import Sequence
from pathlib import Path

from forecasting.errors import SettingError
from forecasting.runtime.log import LOGGER, start_log
from forecasting.runtime.process import without_collection
from forecasting.settings.command_line import CommandLine

COMMAND = CommandLine(
    "export",
    about=__doc__,
    examples=(
        ("--onnx", "the promoted version, else the newest, as VERSION.onnx"),
        ("--onnx --model-version v1.1.0", "that version, as v1.1.0.onnx"),
        ("--onnx --model-version base --out base.onnx", "the base model"),
    ),
    keys=("model_version", "export.out"),
    switches={"--onnx": "as ONNX"},
    version_help="base, or a version in model_store/; default: the promoted one, else the newest",
    section="export",
)


def main(argv: Sequence[str] | None = None) -> None:
    config, arguments = COMMAND.parse(argv)
    start_log(None, debug=config.debug)
    if not arguments.onnx:
        raise SettingError("Say as what to export: --onnx. For torch, model.pt2 in the version's folder is it already.")
    with without_collection():
        from forecasting.onnx_file import write_onnx
    file = config.export.out or Path(f"{config.model_version or 'forecaster'}.onnx")
    version = write_onnx(config.model_dir, config.model_version, file)
    LOGGER.info("wrote %s: version %s, %.1f MB", file, version, file.stat().st_size / 1e6)
