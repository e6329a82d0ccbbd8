"""Training steps replayed as a CUDA graph: what bounds steps this small is the launching of their kernels."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

from forecasting.runtime import LOGGER
from forecasting.training.step_inputs import Prepared

WARM_UP = 3  # steps before the capture, on a stream of their own: libraries set themselves up in the first ones


class GraphedStep:
    """A step, its backward and its optimizer, captured once and replayed on what is copied into its place.

    `step` must do everything by kernels: no number of it comes back to Python. A smaller step than the first is filled
    up with windows of no weight. Where the capture fails, steps go on one kernel at a time, and a line says so.
    Source: PyTorch's notes on CUDA semantics, "Whole-network capture".
    """

    def __init__(self, step: Callable[[Prepared], Tensor], first: Prepared) -> None:
        self._step = step
        self._place = first.map(torch.clone)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._loss = torch.empty(())
        self._num_warmed = 0
        self._failed = False

    def __call__(self, part: Prepared) -> Tensor:
        """Takes the step, whose loss is returned."""
        if self._failed or len(part.target) > len(self._place.target):
            return self._step(part)
        self._place.fill(part)
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
            self._loss = self._step(self._place)
        torch.cuda.current_stream().wait_stream(stream)
        self._num_warmed += 1

    def _capture(self) -> None:
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph):
                self._loss = self._step(self._place)
        except RuntimeError as error:
            torch.cuda.set_stream(stream)  # which a capture that fails does not go back to by itself
            LOGGER.warning(
                "steps cannot be replayed as a CUDA graph here (%s): they are launched kernel by kernel, which is "
                "slower and comes to the same",
                str(error.__context__ or error).partition("\n")[0],
            )
            self._failed = True
            self._loss = self._step(self._place)
            return
        self._graph = graph
        graph.replay()


def make_capturable(optimizer: Optimizer, device: torch.device) -> None:
    """Lets learning rates change between replays: they lie on the device, also after a checkpoint was loaded."""
    for group in optimizer.param_groups:
        group["lr"] = torch.as_tensor(group["lr"], device=device)
