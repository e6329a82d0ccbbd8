"""The export, done beside training: the graph follows from the settings alone, so another process traces it meanwhile
and fills in the weights at the end.

On two cores this hides some three seconds, a third of the documented job. It is light to import, so that the process
can start before anything else.
"""

import gc
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from forecasting.artifact import export_program, trace
from forecasting.domain import Scaling
from forecasting.runtime import LOGGER
from forecasting.settings.schema import ModelConfig

if TYPE_CHECKING:
    from forecasting.model.forecaster import Forecaster

TIMEOUT_SECONDS = 120.0


class Tracer:
    """A process that traces an untrained Forecaster of the same settings, and waits for weights."""

    def __init__(self, settings: ModelConfig) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, json.dumps(asdict(settings))],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the training, which may still need this
        )

    def start_writing(self, weights: Path, path: Path) -> None:
        """Has the process write the program with these weights, a file of a state_dict."""
        with suppress(BrokenPipeError):  # it has failed, as `finish` will find
            print(json.dumps([str(weights), str(path)]), file=self.process.stdin, flush=True)

    def finish(self, forecaster: "Forecaster", path: Path) -> None:
        """Waits until it is written; writes it as export_program does, if the process has failed."""
        try:
            _, said = self.process.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            said = f"no end after {TIMEOUT_SECONDS:g} s"
        if self.process.returncode != 0:
            LOGGER.warning("exporting here, since the process that did it failed: %s", said[-500:].strip())
            export_program(forecaster, path)


@contextmanager
def tracing(settings: ModelConfig) -> Iterator[Tracer]:
    """The process, at work until it is asked or no longer needed."""
    tracer = Tracer(settings)
    try:
        yield tracer
    finally:
        tracer.process.kill()
        tracer.process.communicate()


def main(settings: str) -> None:
    gc.disable()  # it makes no garbage worth the search, and somebody waits for its end
    import torch

    from forecasting.model.forecaster import Forecaster

    said = json.loads(settings)
    model = ModelConfig(**{**said, "scaling": Scaling(said["scaling"])})
    torch.set_num_threads(1)
    program = trace(Forecaster(model))
    torch.export.save(program, io.BytesIO())  # once for nothing: what it imports takes longer than to write
    gc.freeze()  # from Python's last search, too
    if not (asked := sys.stdin.readline()):
        return
    weights, path = json.loads(asked)
    with torch.no_grad():
        for name, values in torch.load(weights, weights_only=True).items():
            program.state_dict[name].copy_(values)
    torch.export.save(program, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
