"""Judges the new days of every series of a database, by the version that forecasts them."""

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float

from forecasting.jobs.pages import LoadedVersion, SeriesLookup
from forecasting.monitoring.daily_judge import Judge, describe_changes
from forecasting.predictor import Windows
from forecasting.runtime.log import LOGGER
from forecasting.warehouse.connection import OwnConnection, translate_errors
from forecasting.warehouse.daily import read_keys
from forecasting.warehouse.pages import DailyQuery


async def judge_new_days(
    version: LoadedVersion, lookup: SeriesLookup, connection: OwnConnection, query: DailyQuery
) -> Counter[str]:
    """What Judge.judge counts, of all. Each batch of series is one transaction. Days that were judged before are judged
    again only if they changed.
    """
    predictor, loop = version.predictor, asyncio.get_running_loop()
    changes: Counter[str] = Counter()
    started = time.monotonic()
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as thread:

        async def predict(windows: Windows) -> Float[np.ndarray, "windows days levels"]:
            return await loop.run_in_executor(thread, predictor.predict, windows)

        judge = Judge(
            version.config, predictor.name, predictor.context_length, predictor.levels, predict, lookup.events
        )
        with translate_errors("judging the days of forecasting.daily"):
            async for keys in read_keys(connection, query, page_size=version.config.forecast.batch_size):
                places = lookup.find(keys)
                known = [place not in lookup.without_unit for place in places.tolist()]
                cards = [
                    lookup.cards[place] for place, is_known in zip(places.tolist(), known, strict=True) if is_known
                ]
                judged = [key for key, is_known in zip(keys, known, strict=True) if is_known]
                changes += await judge.judge(connection, judged, cards, today=query.today)
    if changes["series"]:
        LOGGER.info(
            "judged the new days of %s series in %.1f s: %s",
            f"{changes['series']:,}", time.monotonic() - started, describe_changes(changes),
        )  # fmt: skip
    return changes
