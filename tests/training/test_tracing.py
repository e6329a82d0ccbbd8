"""The export done by another process, against the one done here."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from forecasting.config import ModelConfig, Scaling
from forecasting.model.forecaster import Forecaster
from forecasting.model.scaling import MinMaxScaling
from forecasting.training.tracing import tracing

SETTINGS = ModelConfig(hidden_size=8)


@pytest.mark.parametrize("scaling", [None, MinMaxScaling(3.0, 50.0)])
def test_traced_program_has_the_forecasters_weights(tmp_path: Path, scaling: MinMaxScaling | None) -> None:
    settings = replace(SETTINGS, scaling=Scaling.minmax) if scaling else SETTINGS
    torch.manual_seed(5)
    forecaster = Forecaster(settings, scaling).eval()
    with tracing(settings, store=tmp_path, version="v1") as tracer:
        tracer.write(forecaster, tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2").module()
    inputs = forecaster.example_inputs(5)
    with torch.no_grad():
        torch.testing.assert_close(program(*inputs), forecaster(*inputs), rtol=1e-6, atol=1e-6)


def test_a_process_that_failed_is_made_up_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    forecaster = Forecaster(SETTINGS).eval()
    with caplog.at_level(logging.WARNING), tracing(SETTINGS, store=tmp_path, version="v1") as tracer:
        tracer.process.kill()
        tracer.write(forecaster, tmp_path / "model.pt2")
    assert "exporting here, since the process that did it failed" in caplog.text
    assert torch.export.load(tmp_path / "model.pt2").module()(*forecaster.example_inputs()).shape == (2, 7, 7)


def test_an_error_elsewhere_ends_the_process(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="elsewhere"), tracing(SETTINGS, store=tmp_path, version="v1") as tracer:
        raise RuntimeError("elsewhere")
    assert tracer.process.returncode is not None
    assert list(tmp_path.iterdir()) == []
