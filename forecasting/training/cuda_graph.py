"""Training steps as a replayed CUDA graph: launching kernels one by one limits the speed of such small steps."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

from forecasting.runtime.log import LOGGER
from forecasting.training.step_inputs import StepInputs

WARM_UP = 3  # steps before the capture, on a side stream, in which libraries initialise themselves


class GraphedStep:
    """A step with its backward pass and optimizer, captured once and replayed on inputs copied into its buffers.

    `step` may not read any number back to Python. A step smaller than the first is padded with windows of weight 0.
    If the capture fails, steps run kernel by kernel, and the log says so.
    Source: PyTorch's notes on CUDA semantics, "Whole-network capture".
    """

    def __init__(self, step: Callable[[StepInputs], Tensor], first: StepInputs) -> None:
        self._step = step
        self._buffers = first.map(torch.clone)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._loss = torch.empty(())
        self._num_warmed = 0
        self._failed = False

    def __call__(self, step: StepInputs) -> Tensor:
        """Takes the step and returns its loss."""
        if self._failed or len(step.target) > len(self._buffers.target):
            return self._step(step)
        self._buffers.fill(step)
        if self._graph is not None:
            self._graph.replay()
        elif self._num_warmed < WARM_UP:
            self._warm_up()
        else:
            self._capture()
        return self._loss.clone()

    def _warm_up(self) -> None:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._loss = self._step(self._buffers)
        torch.cuda.current_stream().wait_stream(stream)
        self._num_warmed += 1

    def _capture(self) -> None:
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph):
                self._loss = self._step(self._buffers)
        except RuntimeError as error:
            torch.cuda.set_stream(stream)  # a failed capture leaves its own stream current
            LOGGER.warning(
                "cannot capture training steps as a CUDA graph (%s): launching kernels one by one, which is slower and "
                "gives the same result",
                str(error.__context__ or error).partition("\n")[0],
            )
            self._failed = True
            self._loss = self._step(self._buffers)
            return
        self._graph = graph
        graph.replay()


def make_capturable(optimizer: Optimizer, device: torch.device) -> None:
    """Puts learning rates on the device, so that they can change between replays."""
    for group in optimizer.param_groups:
        group["lr"] = torch.as_tensor(group["lr"], device=device)
