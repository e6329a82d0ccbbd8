"""Training in several processes (torchrun): what each must know of the others. One process alone is rank 0 of 1."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed

from forecasting.errors import SettingError
from forecasting.panel import Panel, Verdict
from forecasting.settings.schema import Accelerator, ProcessConfig

T = TypeVar("T")
TIMEOUT = timedelta(minutes=30)  # the others may wait for one that reads more


@contextmanager
def joined(process: ProcessConfig, accelerator: Accelerator) -> Iterator[None]:
    """Within it, the processes that torchrun has started know each other; nothing happens for one alone."""
    if process.world_size == 1:
        yield
        return
    gpus = accelerator is not Accelerator.cpu and torch.cuda.is_available()
    if gpus and process.local_world_size > torch.cuda.device_count():
        raise SettingError(
            f"There are {process.local_world_size} processes on this machine and {torch.cuda.device_count()} GPUs: "
            "each takes one. Start fewer, or say training.accelerator=cpu."
        )
    if gpus:
        torch.cuda.set_device(process.local_rank)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=TIMEOUT)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def refuse_several(process: ProcessConfig, what: str) -> None:
    """`what` begins a sentence: "Pretraining"."""
    if process.world_size > 1:
        raise SettingError(f"{what} runs in one process. Start it without torchrun.")


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def num_ranks() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """In place, and returned."""
    if num_ranks() > 1:
        distributed.all_reduce(tensor)
    return tensor


def gather_from_ranks(thing: T) -> list[T]:
    """What each rank has, in their order, on all of them."""
    if num_ranks() == 1:
        return [thing]
    things: list[Any] = [None] * num_ranks()  # Any: the call's own type of what it fills
    distributed.all_gather_object(things, thing)
    return things


def on_one_calendar(panel: Panel) -> Panel:
    """The panel from the first day that any rank's has, with the notes on all of them; all have the same last day."""
    first_day = min(gather_from_ranks(panel.first_day))
    notes = tuple(note for part in gather_from_ranks(panel.notes) for note in part)
    missing = ((0, 0), (panel.first_day - first_day, 0))
    return replace(
        panel,
        first_day=first_day,
        notes=tuple(dict.fromkeys(notes)),
        values=np.pad(panel.values, missing, constant_values=np.nan),
        verdicts=np.pad(panel.verdicts, missing, constant_values=Verdict.before),
    )
