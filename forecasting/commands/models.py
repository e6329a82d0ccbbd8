"""The versions: which there are, which one is served, what they promised, and how they have done since."""

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence

from forecasting.errors import SettingError
from forecasting.invocation import show_command
from forecasting.runtime.log import LOGGER, start_log
from forecasting.settings.command_line import SOURCE, CommandLine
from forecasting.settings.schema import Config

WORDS = {
    "list": "every version, and which one is served",
    "show VERSION": "what it was trained on and what it promises",
    "promote VERSION": "serve it, now and after a restart",
    "rollback": "serve the version that was served before",
    "pin VERSION": "never delete it; `unpin VERSION` undoes that",
    "delete VERSION": "neither a served nor a pinned one",
    "prune": "delete old versions, as the daily job does",
    "accuracy": "what versions promised beside what came true",
    "compare A B": "on the days that both have forecast",
}
COMMAND = CommandLine(
    "models",
    about=__doc__,
    examples=(
        ("list", "every version in model_store/"),
        ("rollback", "the version before, within seconds"),
        ("accuracy --site shop --since 2024-05-01", "of one site, since a day"),
    ),
    words=WORDS,
    keys=("models.since", *SOURCE),
    section="models",
)


def main(argv: Sequence[str] | None = None) -> None:
    config, arguments = COMMAND.parse(argv)
    start_log(None, debug=config.debug)
    LOGGER.info("%s", act(config, arguments.words or ["list"]))


def act(config: Config, words: Sequence[str]) -> str:
    """What was done, or what was asked for. Raises SettingError for what is not among WORDS."""
    what, *names = words
    if what not in ACTIONS:
        raise SettingError(f"models does not know {what!r}. Write one of: {', '.join(ACTIONS)}.")
    action, num_names = ACTIONS[what]
    if len(names) != num_names:
        wanted = ("no version", "a version", "two versions")[num_names]
        raise SettingError(f"models {what} takes {wanted}, not {' '.join(names) or 'none'}.")
    return action(config, names)


def list_versions(config: Config, names: Sequence[str]) -> str:
    from forecasting.lifecycle.registry import Registry
    from forecasting.lifecycle.registry_report import describe_versions

    return describe_versions(Registry(config.model_dir))


def show(config: Config, names: Sequence[str]) -> str:
    from forecasting.lifecycle.registry import Registry
    from forecasting.lifecycle.registry_report import describe_version

    return describe_version(Registry(config.model_dir), names[0])


def promote(config: Config, names: Sequence[str]) -> str:
    from forecasting.lifecycle.registry import Registry

    Registry(config.model_dir).promote(names[0])
    return f"version {names[0]} is promoted; servers on {config.model_dir} switch to it within seconds"


def roll_back(config: Config, names: Sequence[str]) -> str:
    from forecasting.lifecycle.registry import Registry

    registry = Registry(config.model_dir)
    replaced, version = str(registry.served), registry.roll_back()
    return (
        f"version {version} is promoted again, in place of {replaced}; servers on {config.model_dir} switch to it "
        f"within seconds. Back: {show_command('models', 'promote', replaced)}"
    )


def pin(config: Config, names: Sequence[str]) -> str:
    from forecasting.lifecycle.registry import Registry

    Registry(config.model_dir).pin(names[0])
    return f"version {names[0]} is pinned: it is never deleted"


def unpin(config: Config, names: Sequence[str]) -> str:
    from forecasting.lifecycle.registry import Registry

    Registry(config.model_dir).unpin(names[0])
    return f"version {names[0]} is not pinned any more"


def delete(config: Config, names: Sequence[str]) -> str:
    from forecasting.lifecycle.registry import Registry

    Registry(config.model_dir).delete(names[0])
    return f"version {names[0]} is deleted; its forecasts and what became of them stay"


def prune(config: Config, names: Sequence[str]) -> str:
    from forecasting.lifecycle.registry import Registry

    pruned = Registry(config.model_dir).prune(dt.datetime.now(dt.UTC).date())
    return f"deleted {', '.join(pruned)}" if pruned else "no version is old enough to be deleted"


def show_accuracy(config: Config, names: Sequence[str]) -> str:
    from forecasting.monitoring.accuracy_report import show_accuracy as show_report

    return asyncio.run(show_report(config, since=config.models.since_date))


def compare(config: Config, names: Sequence[str]) -> str:
    from forecasting.monitoring.accuracy_report import show_comparison

    return asyncio.run(show_comparison(config, names[0], names[1], since=config.models.since_date))


ACTIONS: dict[str, tuple[Callable[[Config, Sequence[str]], str], int]] = {  # and the number of versions to name
    "list": (list_versions, 0),
    "show": (show, 1),
    "promote": (promote, 1),
    "rollback": (roll_back, 0),
    "pin": (pin, 1),
    "unpin": (unpin, 1),
    "delete": (delete, 1),
    "prune": (prune, 0),
    "accuracy": (show_accuracy, 0),
    "compare": (compare, 2),
}
