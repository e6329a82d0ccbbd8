"""Steps replayed as a CUDA graph come to what single kernels come to; here, without a GPU, what surrounds them does."""

from dataclasses import replace

import pytest
import torch

from forecasting.model.forecaster import Forecaster, Inputs
from forecasting.panel import Panel
from forecasting.settings.schema import Accelerator, Config, Precision
from forecasting.training.cuda_graph import GraphedStep, make_capturable
from forecasting.training.data_module import TrafficDataModule
from forecasting.training.fit import choose_precision, refit
from forecasting.training.lightning_module import ForecastModule, warmup_and_cosine
from forecasting.training.step_inputs import Prepared, prepare

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@needs_gpu
@pytest.mark.parametrize("cuda_graph", [True, False])
def test_fifty_steps_on_a_gpu_agree_with_the_cpu(
    panel: Panel, quick: Config, cuda_graph: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without dropout and in float32; the order of windows is drawn where they lie, so there is one step an epoch."""
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
    """However many steps an epoch has: the capture may be the first one of an epoch."""
    training = replace(quick.training, batch_size=batch_size, accelerator=Accelerator.gpu, epochs=8)
    refit(panel, replace(quick, training=training), epochs=8)
    assert "cannot be replayed" not in caplog.text


@needs_gpu
def test_what_cannot_be_captured_is_said_and_taken_step_by_step(caplog: pytest.LogCaptureFixture) -> None:
    part = Prepared(
        Inputs(torch.ones(4, 7, 3, device="cuda"), torch.ones(4, 14, device="cuda")),
        *torch.ones(2, 4, 7, device="cuda"),
    )
    graphed = GraphedStep(lambda one: one.target.sum() * one.weight.sum().item(), part)
    losses = [float(graphed(part)) for _ in range(6)]
    assert losses == [28.0 * 28.0] * 6
    assert "steps cannot be replayed as a CUDA graph here" in caplog.text


def test_smaller_step_in_the_place_of_a_larger_one_has_its_own_loss_alone(panel: Panel, quick: Config) -> None:
    """What replaying does with the last step of an epoch."""
    data = TrafficDataModule(panel, quick)
    module = ForecastModule(Forecaster(quick.model).eval(), learning_rate=1e-3, epochs=1, seed=0)
    (block,) = data.train_dataloader()
    large, *_, small = prepare(module.forecaster, block)
    assert len(small.target) < len(large.target)
    place = large.map(torch.clone)
    place.fill(small)
    torch.testing.assert_close(module.loss(place), module.loss(small))
    place.fill(large)
    torch.testing.assert_close(module.loss(place), module.loss(large))


def test_learning_rate_on_the_device_follows_its_schedule() -> None:
    """As a number it would stay in the graph what it was when that was captured."""
    rates = []
    for capturable in (False, True):
        optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(3))], lr=0.1)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_and_cosine(10))
        if capturable:
            make_capturable(optimizer, torch.device("cpu"))
            held = optimizer.param_groups[0]["lr"]
        said = []
        for _ in range(10):
            said.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            schedule.step()
        rates.append(said)
    assert optimizer.param_groups[0]["lr"] is held
    assert rates[0] == pytest.approx(rates[1])


def test_precision_said_is_the_precision_taken(quick: Config) -> None:
    for precision in (Precision.fp32, Precision.bf16):
        assert choose_precision(replace(quick.training, precision=precision)) is precision
    assert choose_precision(quick.training) in (Precision.fp32, Precision.bf16)
