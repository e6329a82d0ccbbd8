"""Lists the messages to people: sent, waiting and failed. With --test: sends one to each address, and says what came
back.
"""

import asyncio
from collections.abc import Sequence

from forecasting.errors import SettingError
from forecasting.runtime.log import LOGGER, start_log
from forecasting.settings.command_line import CommandLine
from forecasting.settings.schema import Config

COMMAND = CommandLine(
    "alerts",
    about=__doc__,
    examples=(
        ("", "the messages of the last 30 days, and what became of them"),
        ("--test", "a test message to each address of ALERT_URLS and ALERT_WEBHOOK"),
        ("--send", "what waits, and what is new; forecast.py and serve.py do so too"),
    ),
    switches={
        "--test": "send a test message to each address, and say what came back",
        "--send": "send messages that are new, or due for another attempt",
    },
    version_from=(),
)


def main(argv: Sequence[str] | None = None) -> int:
    config, arguments = COMMAND.parse(argv)
    start_log(None, debug=config.debug)
    if (arguments.test or arguments.send) and not config.addresses:
        raise SettingError(
            "There is nobody to tell: neither ALERT_URLS nor ALERT_WEBHOOK is set. env.example shows how to write them."
        )
    if arguments.test:
        return test_addresses(config)
    if arguments.send:
        return asyncio.run(send(config))
    from forecasting.alerts.listing import list_messages

    LOGGER.info("%s", asyncio.run(list_messages(config)))
    return 0


def test_addresses(config: Config) -> int:
    """1 if an address did not accept it."""
    from forecasting.alerts.testing import send_tests

    lines, num_failed = asyncio.run(send_tests(config))
    for line in lines:
        LOGGER.info("%s", line)
    return int(num_failed > 0)


async def send(config: Config) -> int:
    from forecasting.alerts.telling import describe_counts, tell_people
    from forecasting.warehouse.schema import open_own_schema

    async with open_own_schema(config) as own:
        database = own.database
    counts = await tell_people(config, database)
    if not any(counts.values()):
        LOGGER.info("nothing to send: %s", describe_counts(counts))
    return int(counts["failed"] > 0)
