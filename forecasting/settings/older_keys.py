"""Keys of settings as they once were: renamed ones still work, with a line that names the new one; fixed ones are
refused.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from forecasting.errors import SettingError
from forecasting.settings.schema import TORCHSERVE_PORTS

# The version was one setting for each command. A command reads its own older keys and ignores the others'.
VERSION_KEYS = ("training.model_version", "serving.model_version", "backtest.model", "forecast.model")
PORT_KEYS = tuple(f"serving.{name}_port" for name in TORCHSERVE_PORTS)
RENAMED = {"backtest.horizon": "backtest.days_ahead"}
FIXED = {
    "model.num_layers": "The network has two LSTM layers, as documented.",
    "verdicts.usual_share": "An hour is usual if it had traffic on 90% of the last 28 days.",
    "verdicts.bot_alone_factor": "Without another metric to compare with, a spike is 30 times the median of 28 days.",
    "verdicts.bot_days": "A spike lasts at most 2 days.",
    "guard.max_body_bytes": "A request's body may have 1 MiB.",
    "guard.header_seconds": "A request's headers must arrive within 10 s, or guard.request_seconds if that is less.",
    "serving.max_batch_delay_ms": "A request waits 1 ms for others to join its batch.",
    "training.num_threads": "torch uses one thread for small batches, else one a core.",
    "forecast.num_threads": "torch uses one thread, since the other cores read and write meanwhile.",
}


@dataclass(frozen=True)
class Assignment:
    key: str
    value: Any  # Any: text, or yaml's own types
    origin: str  # for errors: a file, a variable or the command line


def renew(
    assignment: Assignment, *, ports: Sequence[int], version_from: Collection[str], notify: Callable[[str], None]
) -> Iterator[Assignment]:
    """The assignment under today's key, or nothing if it is another command's older key.

    `ports` are TorchServe's so far; an older key sets one of them. Raises SettingError for what is fixed now.
    """
    key, origin = assignment.key, assignment.origin
    if key in FIXED:
        raise SettingError(f"{key} in {origin} is no longer a setting. {FIXED[key]} Remove it.")
    if key in VERSION_KEYS:
        applies = key in version_from
        ignored = "" if applies else " This command does not read the old key."
        notify(f"{key} in {origin} is called model_version now (--model-version).{ignored}")
        if applies:
            yield replace(assignment, key="model_version")
    elif key in PORT_KEYS:
        notify(f"{key} in {origin} is one of serving.torchserve_ports now.")
        each = list(ports) if len(ports) == len(PORT_KEYS) else [0] * len(PORT_KEYS)
        each[PORT_KEYS.index(key)] = assignment.value
        yield replace(assignment, key="serving.torchserve_ports", value=each)
    elif key in RENAMED:
        notify(f"{key} in {origin} is called {RENAMED[key]} now.")
        yield replace(assignment, key=RENAMED[key])
    else:
        yield assignment
