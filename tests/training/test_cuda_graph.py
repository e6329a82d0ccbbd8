"""CUDA graph steps give the result of single kernels. Without a GPU, only the code around them is tested."""

from dataclasses import replace

import pytest
import torch

from forecasting.model.forecaster import Forecaster, Inputs
from forecasting.panel import Panel
from forecasting.settings.schema import Accelerator, Config, Precision
from forecasting.training.cuda_graph import GraphedStep, make_capturable
from forecasting.training.data_module import TrafficDataModule
from forecasting.training.fit import refit
from forecasting.training.lightning_module import ForecastModule, warmup_and_cosine
from forecasting.training.step_inputs import StepInputs, prepare_steps
from forecasting.training.trainer import choose_precision

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@needs_gpu
@pytest.mark.parametrize("cuda_graph", [True, False])
def test_fifty_steps_on_a_gpu_agree_with_the_cpu(
    panel: Panel, quick: Config, cuda_graph: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32 without dropout. One step an epoch, because CPU and GPU draw windows in different orders."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model = replace(quick.model, dropout=0.0)
    training = replace(quick.training, batch_size=4096, precision=Precision.fp32, cuda_graph=cuda_graph)
    config = replace(quick, model=model, training=replace(training, epochs=50))
    on_cpu = refit(panel, config, epochs=50)
    on_gpu = refit(panel, replace(config, training=replace(config.training, accelerator=Accelerator.gpu)), epochs=50)
    for name, weights in on_cpu.forecaster.state_dict().items():
        torch.testing.assert_close(on_gpu.forecaster.state_dict()[name], weights, rtol=1e-3, atol=1e-3)


@needs_gpu
@pytest.mark.parametrize("batch_size", [4096, 32])
def test_steps_with_dropout_are_replayed(
    panel: Panel, quick: Config, batch_size: int, caplog: pytest.LogCaptureFixture
) -> None:
    """With one step an epoch and with many, so the capture may fall on an epoch's first step."""
    training = replace(quick.training, batch_size=batch_size, accelerator=Accelerator.gpu, epochs=8)
    refit(panel, replace(quick, training=training), epochs=8)
    assert "cannot capture" not in caplog.text


@needs_gpu
def test_failed_capture_is_logged_and_steps_run_kernel_by_kernel(caplog: pytest.LogCaptureFixture) -> None:
    inputs = StepInputs(
        Inputs(torch.ones(4, 7, 3, device="cuda"), torch.ones(4, 14, device="cuda")),
        *torch.ones(2, 4, 7, device="cuda"),
    )
    graphed = GraphedStep(lambda step: step.target.sum() * step.weight.sum().item(), inputs)
    losses = [float(graphed(inputs)) for _ in range(6)]
    assert losses == [28.0 * 28.0] * 6
    assert "cannot capture training steps as a CUDA graph (" in caplog.text


def test_smaller_step_in_larger_buffers_has_its_own_loss(panel: Panel, quick: Config) -> None:
    """As when the last step of an epoch is replayed."""
    data = TrafficDataModule(panel, quick)
    module = ForecastModule(Forecaster(quick.model).eval(), learning_rate=1e-3, epochs=1, seed=0)
    (block,) = data.train_dataloader()
    large, *_, small = prepare_steps(module.forecaster, block)
    assert len(small.target) < len(large.target)
    buffers = large.map(torch.clone)
    buffers.fill(small)
    torch.testing.assert_close(module.loss(buffers), module.loss(small))
    buffers.fill(large)
    torch.testing.assert_close(module.loss(buffers), module.loss(large))


def test_learning_rate_on_the_device_follows_its_schedule() -> None:
    """A plain number would keep its value from the time of the capture."""
    rates = []
    for capturable in (False, True):
        optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(3))], lr=0.1)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_and_cosine(10))
        if capturable:
            make_capturable(optimizer, torch.device("cpu"))
            tensor = optimizer.param_groups[0]["lr"]
        run = []
        for _ in range(10):
            run.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            schedule.step()
        rates.append(run)
    assert optimizer.param_groups[0]["lr"] is tensor
    assert rates[0] == pytest.approx(rates[1])


def test_explicit_precision_is_used(quick: Config) -> None:
    for precision in (Precision.fp32, Precision.bf16):
        assert choose_precision(replace(quick.training, precision=precision)) is precision
    assert choose_precision(quick.training) in (Precision.fp32, Precision.bf16)
