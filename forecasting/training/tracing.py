"""The export's slow half, done beside training: the graph follows from the settings alone; another process traces it.

On two cores this hides two seconds, a fifth of the documented job; only the weights are filled in at the end. It is
light to import, so that the process can start before anything else.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from forecasting.artifact import export_program, staging_folder
from forecasting.command import LOGGER
from forecasting.config import ModelConfig, Scaling

if TYPE_CHECKING:
    from forecasting.model.forecaster import Forecaster

TIMEOUT_SECONDS = 120.0


class Tracer:
    """A process that exports an untrained Forecaster of the same settings."""

    def __init__(self, settings: ModelConfig, folder: Path) -> None:
        self._traced = folder / "untrained.pt2"
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, json.dumps(asdict(settings)), str(self._traced)],
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the training, which may still need this
        )

    def write(self, forecaster: "Forecaster", path: Path) -> None:
        """Writes the Forecaster as export_program does; by itself, if the process has failed."""
        import torch

        try:
            _, said = self.process.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            said = f"no end after {TIMEOUT_SECONDS:g} s".encode()
        if self.process.returncode != 0:
            LOGGER.warning("exporting here, since the process that did it failed: %s", said.decode()[-500:].strip())
            export_program(forecaster, path)
            return
        program = torch.export.load(self._traced)
        with torch.no_grad():
            for name, weights in forecaster.state_dict().items():
                program.state_dict[name].copy_(weights)
        torch.export.save(program, path)


@contextmanager
def tracing(settings: ModelConfig, *, store: Path, version: str) -> Iterator[Tracer]:
    """The process, at work until it is asked or no longer needed; its file lies in the version's staging."""
    with staging_folder(store, version) as folder:
        tracer = Tracer(settings, folder)
        try:
            yield tracer
        finally:
            tracer.process.kill()
            tracer.process.communicate()


def main(settings: str, path: str) -> None:
    import torch

    from forecasting.model.forecaster import Forecaster

    said = json.loads(settings)
    model = ModelConfig(**{**said, "scaling": Scaling(said["scaling"])})
    torch.set_num_threads(1)
    export_program(Forecaster(model), Path(path))


if __name__ == "__main__":
    main(*sys.argv[1:])
