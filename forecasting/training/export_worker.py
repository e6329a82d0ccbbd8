"""Exports the model in a second process, while training runs.

The exported graph depends on the settings alone. So the worker traces an untrained Forecaster at once, and fills in the
weights when training is done. On two cores this saves about three seconds, a third of the documented job. The module
is light to import, so the worker can start before anything else.
"""

import gc
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from forecasting.artifact import export_program, save_program, trace
from forecasting.domain import Scaling
from forecasting.runtime.log import LOGGER
from forecasting.runtime.memory import KillCounter, describe_end
from forecasting.settings.schema import ModelConfig

if TYPE_CHECKING:
    from forecasting.model.forecaster import Forecaster

TIMEOUT_SECONDS = 120.0


class ExportWorker:
    """A process that traces an untrained Forecaster of these settings, then waits for weights."""

    def __init__(self, settings: ModelConfig) -> None:
        self._kills = KillCounter()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, json.dumps(asdict(settings))],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is meant for the training, which may still need this process
        )

    def start_writing(self, weights: Path, program: Path) -> None:
        """Tells the worker to write the program with these weights, a file with a state_dict."""
        with suppress(BrokenPipeError):  # the worker has failed: `finish` handles that
            print(json.dumps([str(weights), str(program)]), file=self.process.stdin, flush=True)

    def finish(self, forecaster: "Forecaster", program: Path) -> None:
        """Waits until the program is written. If the worker failed, exports the Forecaster in this process."""
        try:
            _, error = self.process.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            error = f"not done after {TIMEOUT_SECONDS:g} s"
        if self.process.returncode != 0:
            reason = error[-500:].strip() or f"it {describe_end(self.process.returncode or 0, self._kills.take_new())}"
            LOGGER.warning("the export process failed, exporting in this process: %s", reason)
            export_program(forecaster, program)


@contextmanager
def start_export_worker(settings: ModelConfig) -> Iterator[ExportWorker]:
    """A running worker, killed on exit if it has not finished."""
    worker = ExportWorker(settings)
    try:
        yield worker
    finally:
        worker.process.kill()
        worker.process.communicate()


def main(settings: str) -> None:
    gc.disable()  # there is little garbage, and searching for it delays the training's end
    os.environ["TORCH_FAKE_TENSOR_DISPATCH_CACHE"] = "0"  # torch's cache takes longer than what it saves: a quarter
    import torch

    from forecasting.model.own_forecaster import make_forecaster

    values = json.loads(settings)
    model = ModelConfig(**{**values, "scaling": Scaling(values["scaling"])})
    torch.set_num_threads(1)
    program = trace(make_forecaster(model))
    torch.export.save(program, io.BytesIO())  # a dry run: its imports take longer than the writing
    gc.freeze()  # keeps Python's final collection short
    if not (request := sys.stdin.readline()):
        return
    weights, path = json.loads(request)
    with torch.no_grad():
        for name, tensor in torch.load(weights, weights_only=True).items():
            program.state_dict[name].copy_(tensor)
    save_program(program, Path(path))


if __name__ == "__main__":
    main(*sys.argv[1:])
