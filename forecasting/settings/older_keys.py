"""Keys of settings as they once were: renamed ones still work, with a line that names the new one; fixed ones are
refused.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from forecasting.errors import SettingError

# The version was one setting for each command. A command reads its own older keys and ignores the others'.
VERSION_KEYS = ("training.model_version", "serving.model_version", "backtest.model", "forecast.model")
RENAMED = {"backtest.horizon": "backtest.days_ahead"}
FIXED = {
    "model.num_layers": "The network has two LSTM layers, as documented.",
    "verdicts.usual_share": "An hour is usual if it had traffic on 90% of the last 28 days.",
    "verdicts.bot_alone_factor": "Without another metric to compare with, a spike is 30 times the median of 28 days.",
    "verdicts.bot_days": "A spike lasts at most 2 days.",
    "guard.max_body_bytes": "A request's body may have 1 MiB.",
    "guard.header_seconds": "A request's headers must arrive within 10 s, or guard.request_seconds if that is less.",
    "forecast.num_threads": "torch uses one thread, since the other cores read and write meanwhile.",
}


@dataclass(frozen=True)
class Assignment:
    key: str
    value: Any  # Any: text, or yaml's own types
    origin: str  # for errors: a file, a variable or the command line


def renew(
    assignment: Assignment, *, version_from: Collection[str], notify: Callable[[str], None]
) -> Iterator[Assignment]:
    """The assignment under today's key, or nothing if it is another command's older key.

    Raises SettingError for what is fixed now.
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
    elif key in RENAMED:
        notify(f"{key} in {origin} is called {RENAMED[key]} now.")
        yield replace(assignment, key=RENAMED[key])
    else:
        yield assignment
